//! `kubectl okr refresh`: asks for a sync now, as the refresh annotation does, and waits for it.
//!
//! It is the one command that writes, and it writes nothing but that annotation.

use std::{collections::BTreeSet, time::Duration};

use futures::{StreamExt, stream};
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
    core::PartialObjectMeta,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    api::{Condition, MeasuredStatus, OkrKeyResult, OkrObjective, OkrStatus, REFRESH_ANNOTATION},
    causes::chain,
    view::{
        brief::Kind,
        row::{Name, sends_nothing},
        words,
    },
};

use super::{
    Session, Verdict,
    cluster::{AT_ONCE, Cluster, ClusterError},
    named::{self, Named},
    objects::{self, Objects},
    paint::{self, Paint},
};

/// How often to look whether a sync was done: a query takes a second or more.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Asks for a sync now.
///
/// Queries that were asked for are at least 10 s apart per key result, and wait their turn behind new ones.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes with --wait: 0 every sync succeeded, 1 one failed or is at rest, 2 it could not be found out in time."
)]
pub struct RefreshArguments {
    /// NAME, or objective/NAME or keyresult/NAME where both kinds have one of that name.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<Named>,
    /// Everything with a query in the namespace.
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Waits for the syncs, and says what came of each.
    #[arg(short, long)]
    pub wait: bool,
    /// How long to wait, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "wait")]
    pub timeout: u32,
}

pub async fn run(
    arguments: &RefreshArguments,
    Session { cluster, paint, output, now }: Session<'_>,
) -> Result<Verdict, ClusterError> {
    let wanted = if arguments.all {
        with_query(&objects::list(&cluster, Some(&cluster.namespace), None).await?)
    } else {
        named::find(&cluster, &arguments.names).await?.1
    };
    if wanted.is_empty() {
        output.note(&format!("Nothing in namespace {} has a query.", cluster.namespace));
        return Ok(Verdict::Fine);
    }
    let token = now.to_string();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(arguments.timeout.into());
    let mut ends = stream::iter(wanted)
        .map(|(kind, name)| {
            let (cluster, token) = (&cluster, token.as_str());
            async move {
                let end = match kind {
                    Kind::KeyResult => refresh::<OkrKeyResult>(cluster, &name, token, deadline, arguments.wait).await,
                    Kind::Objective => refresh::<OkrObjective>(cluster, &name, token, deadline, arguments.wait).await,
                };
                (kind, name, end)
            }
        })
        .buffer_unordered(AT_ONCE);
    let mut verdict = Verdict::Fine;
    while let Some((kind, name, end)) = ends.next().await {
        let subject = format!("{}/{}", kind.name().to_lowercase(), name.name);
        let end = match end {
            // Deleted in the meantime, say: the others are asked all the same.
            Err(error @ ClusterError::Refused { .. }) => {
                output.note(&format!("kubectl okr: {subject}: {}", paint::plain(&chain(&error))));
                verdict = Verdict::CouldNotCheck;
                continue;
            }
            end => end?,
        };
        verdict = verdict.max(end.verdict());
        output.text(&format!("{subject} {}\n", end.sentence(paint)));
    }
    Ok(verdict)
}

/// What reads BigQuery.
fn with_query(objects: &Objects) -> Vec<(Kind, Name)> {
    let mut wanted: Vec<(Kind, Name)> = [Kind::KeyResult, Kind::Objective]
        .into_iter()
        .flat_map(|kind| objects.names(kind).map(move |name| (kind, name.clone())))
        .filter(|(kind, name)| objects.has_query(*kind, name))
        .collect();
    wanted.sort();
    wanted
}

/// What came of one request.
enum End {
    Asked,
    Synced {
        value: Option<String>,
        okr_status: Option<OkrStatus>,
    },
    Failed {
        reason: String,
        message: String,
    },
    /// BigQuery was away or slow, say, and is asked again soon; the value is that of before.
    FailedForNow {
        value: Option<String>,
    },
    /// It is not asked as long as this lasts.
    AtRest {
        reason: String,
        message: String,
    },
    NotInTime,
}

impl End {
    fn verdict(&self) -> Verdict {
        match self {
            End::Asked | End::Synced { .. } => Verdict::Fine,
            End::Failed { .. } | End::FailedForNow { .. } | End::AtRest { .. } => Verdict::Findings,
            End::NotInTime => Verdict::CouldNotCheck,
        }
    }

    fn sentence(&self, paint: Paint) -> String {
        match self {
            End::Asked => "refresh asked for".to_owned(),
            End::Synced { value, okr_status } => {
                let value = value.as_deref().map(words::number).unwrap_or_else(|| "no value".to_owned());
                let status = okr_status
                    .map(|status| format!(", {}", paint.styled(paint::of_status(status), words::status(status))));
                format!("synced: {}{}", paint::plain(&value), status.unwrap_or_default())
            }
            End::Failed { reason, message } => format!("failed: {reason}: {}", paint::plain(message)),
            End::FailedForNow { value } => {
                let value = value.as_deref().map(words::number).unwrap_or_else(|| "none".to_owned());
                format!(
                    "failed for now: BigQuery gave no answer, the value of before stays ({}); it is tried again in some minutes",
                    paint::plain(&value)
                )
            }
            End::AtRest { reason, message } => format!("at rest: {reason}: {}", paint::plain(message)),
            End::NotInTime => {
                "not synced in time: the operator may be away (kubectl okr doctor), or its queue long".to_owned()
            }
        }
    }
}

/// A kind that can be asked to sync.
trait Refreshed:
    Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug
{
    fn status(&self) -> Option<&MeasuredStatus>;
}

impl Refreshed for OkrKeyResult {
    fn status(&self) -> Option<&MeasuredStatus> {
        self.status.as_ref()
    }
}

impl Refreshed for OkrObjective {
    fn status(&self) -> Option<&MeasuredStatus> {
        self.status.as_ref().map(|status| &status.measured)
    }
}

async fn refresh<K: Refreshed>(
    cluster: &Cluster,
    Name { namespace, name }: &Name,
    token: &str,
    deadline: tokio::time::Instant,
    wait: bool,
) -> Result<End, ClusterError> {
    let scope = Some(namespace.as_str());
    let metadata: Api<PartialObjectMeta<K>> = Api::namespaced(cluster.client.clone(), namespace);
    let patch = json!({"metadata": {"annotations": {REFRESH_ANNOTATION: token}}});
    let parameters = PatchParams::default();
    let patch = Patch::Merge(&patch);
    let ask = metadata.patch_metadata(name, &parameters, &patch);
    cluster.ask::<K, _>("patch", scope, async { ask.await.map(drop) }).await?;
    if !wait {
        return Ok(End::Asked);
    }
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    let mut tokens = BTreeSet::from([token.to_owned()]);
    loop {
        let object = cluster.ask::<K, _>("get", scope, api.get(name)).await?;
        // Somebody else may ask before this is served: what serves that serves this.
        tokens.extend(
            object.meta().annotations.as_ref().and_then(|annotations| annotations.get(REFRESH_ANNOTATION)).cloned(),
        );
        if let Some(end) = object.status().and_then(|status| end(status, &tokens)) {
            return Ok(end);
        }
        if tokio::time::Instant::now() + LOOK_AGAIN > deadline {
            return Ok(End::NotInTime);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// None while no request of `tokens` is served yet. What sends nothing echoes at once, so what is said before the echo is of an
/// earlier time.
fn end(status: &MeasuredStatus, tokens: &BTreeSet<String>) -> Option<End> {
    status.last_handled_refresh.as_ref().filter(|served| tokens.contains(*served))?;
    let Condition { status: truth, reason, message, .. } =
        status.conditions.iter().find(|condition| condition.type_ == "Ready")?;
    let (reason, message) = (reason.clone(), message.clone());
    Some(match (truth.as_str(), status.consecutive_failures.unwrap_or_default()) {
        _ if sends_nothing(&reason) => End::AtRest { reason, message },
        ("True", 0) => End::Synced { value: status.value.clone(), okr_status: status.okr_status },
        // Ready holds until the third failure in a row that may pass by itself.
        ("True", _) => End::FailedForNow { value: status.value.clone() },
        _ => End::Failed { reason, message },
    })
}
