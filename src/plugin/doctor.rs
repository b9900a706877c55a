//! `kubectl okr doctor`: from the cluster to BigQuery, whether everything that a sync needs is there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        authorization::v1::{
            LocalSubjectAccessReview, ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
            SubjectAccessReview, SubjectAccessReviewSpec,
        },
        coordination::v1::Lease,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Resource, ResourceExt,
    api::{ObjectMeta, PostParams},
};

use crate::{
    api::{BigQueryConnection, GROUP, OkrKeyResult, OkrObjective, crd},
    causes::chain,
    view::{
        Gaps, Visible, connections,
        overview::{self, Asking, Filter},
        row::{Row, TroubleKind},
        words,
    },
};

use super::{
    Session, Verdict,
    cluster::{Cluster, ClusterError},
    objects::{self, Objects},
    operator::{self, Operator},
    output::Output,
    paint::{self, Paint},
};

/// Finds out what keeps numbers from coming: cluster, definitions, operator, rights, connections, key results.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is fine, 1 something is not, 2 nothing is known to be wrong, but not everything could be looked at."
)]
pub struct DoctorArguments {
    /// The namespace of the operator. Default: wherever its Deployment is found.
    #[arg(long, value_name = "NAME")]
    pub operator_namespace: Option<String>,
    /// The name of the operator's Deployment. Default: all that are found.
    #[arg(long, value_name = "NAME")]
    pub operator_name: Option<String>,
}

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Somebody at a terminal.
    Person,
    /// The installation itself, with rights and a program that the chart gave it.
    Installation,
}

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Good,
    Bad,
    Unknown,
    /// Worth to be known, and no fault.
    Note,
}

/// What was found, in the order in which it was looked at.
struct Findings<'a> {
    output: &'a mut Output,
    paint: Paint,
    all: BTreeSet<Verdict>,
}

impl Findings<'_> {
    fn tell(&mut self, health: Health, subject: &str, text: &str) {
        let (sign, style, verdict) = match health {
            Health::Good => ("✔", paint::GOOD, Verdict::Fine),
            Health::Note => ("•", paint::DIM, Verdict::Fine),
            Health::Bad => ("✘", paint::BAD, Verdict::Findings),
            Health::Unknown => ("?", paint::DIM, Verdict::CouldNotCheck),
        };
        self.all.insert(verdict);
        let sign = self.paint.styled(style, sign);
        self.output.text(&format!("{sign} {}: {}\n", paint::plain(subject), paint::plain(text)));
    }

    /// What is not allowed to be seen is not known; everything else that cannot be answered is bad.
    fn fail(&mut self, subject: &str, error: &ClusterError) {
        let health = if matches!(error, ClusterError::Forbidden { .. }) { Health::Unknown } else { Health::Bad };
        self.tell(health, subject, &chain(error));
    }

    /// What is wrong weighs more than what is not known.
    fn verdict(&self) -> Verdict {
        [Verdict::Findings, Verdict::CouldNotCheck]
            .into_iter()
            .find(|verdict| self.all.contains(verdict))
            .unwrap_or(Verdict::Fine)
    }
}

pub async fn run(
    arguments: &DoctorArguments,
    Session { cluster, paint, output, now }: Session<'_>,
) -> Result<Verdict, ClusterError> {
    let mut findings = Findings { output, paint, all: BTreeSet::new() };
    answers(&cluster, &mut findings).await?;
    definitions(&cluster, Asker::Person, &mut findings).await;
    let operators = operators(&cluster, arguments, Asker::Person, &mut findings, now).await;
    own_rights(&cluster, &mut findings).await;
    rights(&cluster, &operators, &mut findings).await;
    if let Some((objects, is_all)) = objects(&cluster, &[&cluster.namespace], &mut findings).await {
        connections(&objects, is_all, &mut findings);
        numbers(&objects, now, &mut findings);
    }
    Ok(findings.verdict())
}

/// The same for an installation that looks at itself. What connections and key results lack is told too, and is no fault of
/// it: anybody who may write one could fail the installation with it.
pub async fn examine(
    arguments: &DoctorArguments,
    Session { cluster, paint, output, now }: Session<'_>,
) -> Result<Verdict, ClusterError> {
    let mut findings = Findings { output, paint, all: BTreeSet::new() };
    answers(&cluster, &mut findings).await?;
    definitions(&cluster, Asker::Installation, &mut findings).await;
    let operators = operators(&cluster, arguments, Asker::Installation, &mut findings, now).await;
    rights(&cluster, &operators, &mut findings).await;
    let watched: BTreeSet<&str> = operators.iter().filter_map(Operator::namespaces).flatten().collect();
    let objects = objects(&cluster, &Vec::from_iter(watched), &mut findings).await;
    let verdict = findings.verdict();
    if let Some((objects, _)) = objects {
        connections(&objects, true, &mut findings);
        numbers(&objects, now, &mut findings);
    }
    Ok(verdict)
}

/// Without a cluster there is nothing else to say.
async fn answers(cluster: &Cluster, findings: &mut Findings<'_>) -> Result<(), ClusterError> {
    let version = cluster.ask::<OkrKeyResult, _>("get", None, cluster.client.apiserver_version()).await?;
    findings.tell(Health::Good, "cluster", &format!("{} answers, Kubernetes {}", cluster.server, version.git_version));
    Ok(())
}

/// What exists in all namespaces, or in `narrower` where no more may be listed; and whether that is all of the cluster.
async fn objects(cluster: &Cluster, narrower: &[&str], findings: &mut Findings<'_>) -> Option<(Objects, bool)> {
    let (objects, is_all) = match objects::list(cluster, None, None).await {
        Err(ClusterError::Forbidden { .. }) if !narrower.is_empty() => {
            (objects::list_in(cluster, narrower).await, false)
        }
        objects => (objects, true),
    };
    match objects {
        Ok(objects) => Some((objects, is_all)),
        Err(error) => {
            findings.fail("objects", &error);
            None
        }
    }
}

async fn rights(cluster: &Cluster, operators: &[Operator], findings: &mut Findings<'_>) {
    for operator in operators {
        operator_rights(cluster, operator, findings).await;
    }
}

async fn definitions(cluster: &Cluster, asker: Asker, findings: &mut Findings<'_>) {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    for wanted in crd::all() {
        let (name, kind) = (wanted.name_any(), wanted.spec.names.kind.clone());
        let subject = format!("definition {kind}");
        let there = match cluster.ask::<CustomResourceDefinition, _>("get", None, api.get_opt(&name)).await {
            // Which kinds are served is for everybody to know.
            Err(forbidden @ ClusterError::Forbidden { .. }) => {
                match served(cluster).await {
                    Err(error) => findings.fail(&subject, &error),
                    Ok(kinds) if !kinds.contains(&kind) => {
                        findings.fail(&subject, &ClusterError::NoDefinition(kind));
                    }
                    // An installation without rights to the cluster cannot know more.
                    Ok(_) if asker == Asker::Installation => {
                        let text = "it is there; whether it is that of this version, only an administrator may see";
                        findings.tell(Health::Note, &subject, text);
                    }
                    Ok(_) => findings.fail(&subject, &forbidden),
                }
                continue;
            }
            Err(error) => {
                findings.fail(&subject, &error);
                continue;
            }
            Ok(None) => {
                findings.fail(&subject, &ClusterError::NoDefinition(kind));
                continue;
            }
            Ok(Some(there)) => there,
        };
        let is_established =
            there.status.as_ref().and_then(|status| status.conditions.as_ref()).is_some_and(|conditions| {
                conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
            });
        if !is_established {
            findings.tell(
                Health::Bad,
                &subject,
                "it is there, but the API server does not serve it: look at its conditions",
            );
        } else if schemas(&there) == schemas(&wanted) {
            findings.tell(Health::Good, &subject, "it is there, and that of this version");
        } else if skew(there.labels().get(VERSION_LABEL).map_or("", String::as_str)) == Some(1) {
            findings.tell(
                Health::Note,
                &subject,
                "it is that of the next minor version, which knows all that this one does",
            );
        } else {
            let text = format!(
                "it is not that of this version ({}): upgrade it, the operator or this plugin, so that all three are of one version",
                env!("CARGO_PKG_VERSION")
            );
            findings.tell(Health::Bad, &subject, &text);
        }
    }
}

/// Our kinds as the API server serves them.
async fn served(cluster: &Cluster) -> Result<BTreeSet<String>, ClusterError> {
    let version = OkrKeyResult::api_version(&());
    let answer = cluster.ask::<OkrKeyResult, _>("get", None, cluster.client.list_api_group_resources(&version)).await;
    match answer {
        Ok(list) => Ok(list.resources.into_iter().map(|resource| resource.kind).collect()),
        Err(ClusterError::NoDefinition(_)) => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// As the chart sets it, on definitions too.
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// By how many minor versions `version` is newer than this program; None where that cannot be said, as between majors.
fn skew(version: &str) -> Option<i64> {
    let minor = |version: &str| {
        let mut numbers = version.split('.').map(|number| number.parse::<i64>().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    let ((major, newer), (own_major, own)) = (minor(version)?, minor(env!("CARGO_PKG_VERSION"))?);
    (major == own_major).then_some(newer - own)
}

/// What a definition says of objects, by version.
fn schemas(crd: &CustomResourceDefinition) -> BTreeMap<&str, Option<serde_json::Value>> {
    let versions = crd.spec.versions.iter();
    versions.map(|version| (version.name.as_str(), serde_json::to_value(&version.schema).ok())).collect()
}

async fn operators(
    cluster: &Cluster,
    arguments: &DoctorArguments,
    asker: Asker,
    findings: &mut Findings<'_>,
    now: Timestamp,
) -> Vec<Operator> {
    let found = match operator::find(cluster, arguments.operator_namespace.as_deref()).await {
        Err(error) => {
            findings.fail("operator", &error);
            return Vec::new();
        }
        Ok(mut found) => {
            found.retain(|operator| arguments.operator_name.as_ref().is_none_or(|name| *name == operator.name));
            found
        }
    };
    if found.is_empty() {
        let health = if asker == Asker::Installation { Health::Bad } else { Health::Unknown };
        findings.tell(health, "operator", operator::NOT_FOUND);
    }
    for operator in &found {
        let Operator { namespace, name, version, wanted, ready, .. } = operator;
        let subject = format!("operator {namespace}/{name}");
        let own = env!("CARGO_PKG_VERSION");
        // An installation looks at itself with the program that it runs, whatever its image's tag is.
        if let Some(version) = version.as_deref().filter(|version| asker == Asker::Person && *version != own) {
            let is_near = skew(version).is_some_and(|skew| skew.abs() <= 1);
            let text = format!("it is of version {version}, and this plugin of {own}: what they say may differ");
            findings.tell(if is_near { Health::Note } else { Health::Bad }, &subject, &text);
        }
        let health = if ready >= wanted && *wanted > 0 { Health::Good } else { Health::Bad };
        findings.tell(health, &subject, &format!("{ready} of {wanted} replicas are ready"));
        lease(cluster, operator, findings, now).await;
    }
    found
}

/// Who leads, where there is an election.
async fn lease(cluster: &Cluster, operator: &Operator, findings: &mut Findings<'_>, now: Timestamp) {
    let namespace = &operator.namespace;
    let name = operator.flag("lease-name").unwrap_or("okr-operator");
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let subject = format!("lease {namespace}/{name}");
    let spec = match cluster.ask::<Lease, _>("get", Some(namespace), api.get_opt(name)).await {
        Err(error) => return findings.fail(&subject, &error),
        // Without an election nobody makes one.
        Ok(None) if !operator.elects() => return,
        Ok(None) => return findings.tell(Health::Bad, &subject, "there is none: nobody leads"),
        Ok(Some(lease)) => lease.spec.unwrap_or_default(),
    };
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(15).into());
    match (spec.holder_identity.filter(|holder| !holder.is_empty()), spec.renew_time) {
        (Some(holder), Some(renewed)) if now.duration_since(renewed.0) <= lasts => {
            findings.tell(Health::Good, &subject, &format!("{holder} leads"));
        }
        (Some(holder), Some(renewed)) => findings.tell(
            Health::Bad,
            &subject,
            &format!("{holder} renewed it last {}: nobody leads", words::relative(renewed.0, now)),
        ),
        (_, _) => findings.tell(Health::Bad, &subject, "nobody holds it: nobody leads"),
    }
}

/// What this person may do with key results and objectives.
async fn own_rights(cluster: &Cluster, findings: &mut Findings<'_>) {
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut missing = Vec::new();
    for (plural, verb) in own_verbs() {
        let attributes = attributes(GROUP, &plural, None, verb, Some(&cluster.namespace));
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
            ..Default::default()
        };
        let parameters = PostParams::default();
        match cluster.ask::<SelfSubjectAccessReview, _>("create", None, api.create(&parameters, &review)).await {
            Err(error) => return findings.fail("your rights", &error),
            Ok(review) if review.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => missing.push(format!("{verb} {plural}")),
        }
    }
    let place = format!("in namespace {}", cluster.namespace);
    if missing.is_empty() {
        findings.tell(Health::Good, "your rights", &format!("you may list everything and ask for refreshes {place}"));
    } else {
        findings.tell(Health::Unknown, "your rights", &format!("you may not {} {place}", missing.join(", ")));
    }
}

fn own_verbs() -> [(String, &'static str); 5] {
    let key_results = OkrKeyResult::plural(&()).into_owned();
    let objectives = OkrObjective::plural(&()).into_owned();
    [
        (key_results.clone(), "list"),
        (objectives.clone(), "list"),
        (BigQueryConnection::plural(&()).into_owned(), "list"),
        (key_results, "patch"),
        (objectives, "patch"),
    ]
}

fn attributes(
    group: &str,
    resource: &str,
    subresource: Option<&str>,
    verb: &str,
    namespace: Option<&str>,
) -> ResourceAttributes {
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

/// What the operator does to every namespace it works in: group, resource, subresource, verb.
fn operator_verbs() -> Vec<(&'static str, String, Option<&'static str>, &'static str)> {
    let kinds = [OkrKeyResult::plural(&()), OkrObjective::plural(&()), BigQueryConnection::plural(&())];
    let of_kind = |plural: &str| {
        [
            (GROUP, plural.to_owned(), None, "list"),
            (GROUP, plural.to_owned(), None, "watch"),
            (GROUP, plural.to_owned(), Some("status"), "update"),
        ]
    };
    let mut verbs: Vec<_> = kinds.iter().flat_map(|plural| of_kind(plural)).collect();
    verbs.push(("events.k8s.io", "events".to_owned(), None, "create"));
    verbs
}

/// What the operator's ServiceAccount may do wherever the operator works.
async fn operator_rights(cluster: &Cluster, operator: &Operator, findings: &mut Findings<'_>) {
    let subject = format!("rights of {}/{}", operator.namespace, operator.service_account);
    let places = match operator.namespaces() {
        Some(namespaces) => namespaces.into_iter().map(Some).collect(),
        None => vec![None],
    };
    let mut missing = Vec::new();
    for place in places {
        for (group, resource, subresource, verb) in operator_verbs() {
            match may(cluster, operator, attributes(group, &resource, subresource, verb, place)).await {
                Err(error) => return findings.fail(&subject, &error),
                Ok(true) => {}
                Ok(false) => {
                    let of_it = subresource.map(|part| format!("/{part}")).unwrap_or_default();
                    let place = place.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
                    missing.push(format!("{verb} {resource}{of_it}{place}"));
                }
            }
        }
    }
    if missing.is_empty() {
        let place = operator.namespaces().map(|namespaces| format!(" in {}", namespaces.join(", ")));
        let text =
            format!("it may read the three kinds, write their status and tell events{}", place.unwrap_or_default());
        findings.tell(Health::Good, &subject, &text);
    } else {
        findings.tell(Health::Bad, &subject, &format!("it may not {}", missing.join(", ")));
    }
}

/// In one namespace this may be asked by whoever administers that.
async fn may(cluster: &Cluster, operator: &Operator, attributes: ResourceAttributes) -> Result<bool, ClusterError> {
    let Operator { namespace, service_account, .. } = operator;
    let place = attributes.namespace.clone();
    let spec = SubjectAccessReviewSpec {
        user: Some(format!("system:serviceaccount:{namespace}:{service_account}")),
        groups: Some(vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ]),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let (client, parameters) = (cluster.client.clone(), PostParams::default());
    let status = match place {
        Some(place) => {
            let review = LocalSubjectAccessReview {
                metadata: ObjectMeta { namespace: Some(place.clone()), ..ObjectMeta::default() },
                spec,
                status: None,
            };
            let api = Api::<LocalSubjectAccessReview>::namespaced(client, &place);
            let call = api.create(&parameters, &review);
            cluster.ask::<LocalSubjectAccessReview, _>("create", Some(&place), call).await?.status
        }
        None => {
            let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
            let api = Api::<SubjectAccessReview>::all(client);
            cluster.ask::<SubjectAccessReview, _>("create", None, api.create(&parameters, &review)).await?.status
        }
    };
    Ok(status.is_some_and(|status| status.allowed))
}

/// Each connection as its own last check found it: credentials, IAM, the project.
fn connections(objects: &Objects, is_all: bool, findings: &mut Findings<'_>) {
    let all = connections::connections(objects, &Visible::All);
    if !objects.knows_connections() {
        findings.tell(Health::Unknown, "connections", "they may not be listed");
    } else if all.is_empty() && is_all {
        findings.tell(Health::Good, "connections", "there are none yet");
    } else if all.is_empty() {
        findings.tell(
            Health::Unknown,
            "connections",
            "there are none in this namespace; those of others may not be listed",
        );
    }
    for row in all {
        let subject = format!("connection {}/{}", row.namespace, row.name);
        let reason = row.reason.as_deref().unwrap_or("not checked yet");
        let message = row.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        let health = match (row.ready.as_str(), reason) {
            ("True", _) => Health::Good,
            ("False", "Suspended") => Health::Good,
            ("False", _) => Health::Bad,
            (_, _) => Health::Unknown,
        };
        let principal = row.principal.filter(|_| health == Health::Good).map(|name| format!(", as {name}"));
        findings.tell(health, &subject, &format!("{reason}{}{message}", principal.unwrap_or_default()));
    }
}

/// Everything that has a status, worst first.
fn rows(objects: &Objects, now: Timestamp) -> Vec<Row> {
    let filter = Filter::default();
    let asking = Asking { filter: &filter, visible: &Visible::All, gaps: &Gaps::default(), now };
    overview::overview(objects, &asking, 1, usize::MAX).lines.into_iter().map(|line| line.row).collect()
}

/// A sync that is later than this has nobody who does it, or too little room.
const LATE: SignedDuration = SignedDuration::from_mins(5);

fn numbers(objects: &Objects, now: Timestamp, findings: &mut Findings<'_>) {
    /// Names of one reason; the others are counted.
    const MOST: usize = 5;
    let rows = rows(objects, now);
    let mut wrong: BTreeMap<(TroubleKind, &str), Vec<String>> = BTreeMap::new();
    let mut late = Vec::new();
    for row in &rows {
        let name = format!("{}/{}", row.namespace, row.name);
        if let Some(trouble) = row.troubles.first() {
            wrong.entry((trouble.kind, &trouble.reason)).or_default().push(name);
        } else if row.next_sync_time.as_ref().is_some_and(|next| now.duration_since(next.0) > LATE) {
            late.push(name);
        }
    }
    let named = |names: &[String]| {
        let more = names.len().saturating_sub(MOST);
        let shown = names[..names.len().min(MOST)].join(", ");
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    for ((trouble, reason), names) in &wrong {
        findings.tell(Health::Bad, &format!("{} because of {reason}", trouble.word()), &named(names));
    }
    if !late.is_empty() {
        let text = format!("{}: the operator is away, or its limits are too low", named(&late));
        findings.tell(Health::Bad, "due for over five minutes", &text);
    }
    if wrong.is_empty() && late.is_empty() {
        let count = words::counted(rows.len() as u64, "object");
        findings.tell(Health::Good, "numbers", &format!("{count}, all read in time"));
    }
}
