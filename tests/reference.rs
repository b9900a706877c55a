//! docs/reference.md says what the CRDs and the reasons say: it is made of them, by `make docs`.

#[path = "support/markdown.rs"]
mod markdown;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
};

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use markdown::anchor;
use okr_operator::{
    api::{BigQueryConnection, Bytes, Decimal, Duration, GROUP, RECONCILE_AT_ANNOTATION, REFRESH_ANNOTATION, crd},
    domain::{
        Reason, conditions,
        connection::{Checks, ConnectionReason, Known, SaturatedReason, Verdict, next},
        objective::ObjectiveProblem,
        reason::Class,
    },
};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::json;

#[test]
fn the_reference_is_made_of_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference.md");
    let wanted = reference();
    if std::env::var("OKR_WRITE_DOCS").is_ok() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == wanted, "docs/reference.md is not what the types say: make docs");
}

#[test]
fn every_condition_is_explained() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain/conditions.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let constants =
        source.lines().filter(|line| line.starts_with("pub const ")).filter_map(|line| line.split('"').nth(1));
    let there: BTreeSet<&str> = constants.collect();
    assert_eq!(CONDITIONS.iter().map(|condition| condition.name).collect::<BTreeSet<_>>(), there);
}

fn reference() -> String {
    let mut page = format!(
        "# API reference\n\n\
        Every field, rule, condition and reason of `{GROUP}/v1alpha1`. This page is generated from the types in `src/api`, of which \
        the CRDs are made too: `make docs` writes it. At the terminal, `kubectl explain okrkr.spec.bigQuery` says the same. \
        How to use it all is in the [README](../README.md); what may change from version to version in [versions.md](versions.md).\n\n"
    );
    let kinds = crd::all();
    let contents = kinds.iter().map(|crd| format!("[{0}](#{1})", crd.spec.names.kind, anchor(&crd.spec.names.kind)));
    let more =
        ["Forms of text", "Conditions", "Reasons", "Annotations"].map(|title| format!("[{title}](#{})", anchor(title)));
    page += &contents.chain(more).collect::<Vec<_>>().join(" · ");
    page.push_str("\n\n");
    for crd in &kinds {
        page += &kind(crd);
    }
    page += &forms_of_text(&kinds);
    page += &conditions_page();
    page += &reasons_page();
    page += &annotations_page();
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn kind(crd: &CustomResourceDefinition) -> String {
    let names = &crd.spec.names;
    let [version] = crd.spec.versions.as_slice() else { panic!("one version") };
    let description = schema_of(crd).description.as_deref().unwrap_or_default();
    let mut text = format!("## {}\n\n{description}\n\n", names.kind);
    let list = |texts: &[String]| texts.iter().map(code).collect::<Vec<_>>().join(", ");
    let selectors: Vec<String> = version
        .selectable_fields
        .iter()
        .flatten()
        .map(|field| field.json_path.trim_start_matches('.').to_owned())
        .collect();
    let _ =
        writeln!(text, "- **apiVersion**: `{}/{}`, {}", crd.spec.group, version.name, crd.spec.scope.to_lowercase());
    let short = list(names.short_names.as_deref().unwrap_or_default());
    let categories = list(names.categories.as_deref().unwrap_or_default());
    let _ =
        writeln!(text, "- **For kubectl**: `{}`, short {short}; with the other kinds as {categories}", names.plural);
    if !selectors.is_empty() {
        let _ = writeln!(text, "- **Field selectors**: {}", list(&selectors));
    }
    let columns = version.additional_printer_columns.iter().flatten();
    let column = |wide: bool| {
        let those = columns.clone().filter(move |column| column.priority.is_some_and(|priority| priority > 0) == wide);
        those.map(|column| {
            format!("{} ({})", column.name.to_uppercase(), code(column.json_path.trim_start_matches('.')))
        })
    };
    let _ = writeln!(text, "- **Columns**: NAME, {}", column(false).collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "- **Also with `-o wide`**: {}\n", column(true).collect::<Vec<_>>().join(", "));

    let spec = fields(part_of(crd, "spec"));
    let _ = writeln!(text, "### {}: spec\n\n| field | type | default | meaning |\n|---|---|---|---|", names.kind);
    for field in &spec {
        let default = if field.is_required { "**required**" } else { &field.default };
        row(&mut text, &[&code(format!("spec.{}", field.path)), &field.kind, default, &field.description]);
    }
    let _ = writeln!(
        text,
        "\n### {}: rules\n\nWhat the API server refuses beyond the types above, and in which words. A rule that reads text as a number or a duration \
        lets other text pass, as its [form](#forms-of-text) refuses that.\n\n| of | rule (CEL) | message |\n|---|---|---|",
        names.kind
    );
    let of_spec = rules(part_of(crd, "spec"), "");
    for rule in of_spec.iter().chain(spec.iter().flat_map(|field| &field.rules)) {
        let path = format!("spec.{}", rule.path);
        row(&mut text, &[&code(path.trim_end_matches('.')), &code(&rule.expression), &rule.message]);
    }
    let _ = writeln!(
        text,
        "\n### {}: status\n\nWritten by the operator alone. What is unknown is absent; a new object has `observedGeneration: -1`.\n\n| field | type | meaning |\n|---|---|---|",
        names.kind
    );
    for field in fields(part_of(crd, "status")) {
        row(&mut text, &[&code(format!("status.{}", field.path)), &field.kind, &field.description]);
    }
    text.push('\n');
    text
}

fn schema_of(crd: &CustomResourceDefinition) -> &JSONSchemaProps {
    let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    schema.expect("every version has a schema")
}

fn part_of<'a>(crd: &'a CustomResourceDefinition, part: &str) -> &'a JSONSchemaProps {
    &schema_of(crd).properties.as_ref().expect("a kind has fields")[part]
}

/// A field as a row of a table.
struct Field {
    /// From the spec or the status on: `links[].url`, `selector.matchLabels.*`.
    path: String,
    /// The type, with its limits.
    kind: String,
    is_required: bool,
    default: String,
    description: String,
    /// Of the field and, for a list, of its items.
    rules: Vec<Rule>,
}

struct Rule {
    path: String,
    expression: String,
    message: String,
}

/// Every field below `schema`, each followed by its own.
fn fields(schema: &JSONSchemaProps) -> Vec<Field> {
    let mut found = Vec::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &JSONSchemaProps, path: &str, found: &mut Vec<Field>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}{name}");
        let (default, description) = default_and_description(field);
        let mut of_field = rules(field, &path);
        of_field.extend(items(field).into_iter().flat_map(|items| rules(items, &format!("{path}[]"))));
        found.push(Field {
            kind: kind_of(field),
            is_required: schema.required.iter().flatten().any(|required| required == name),
            default,
            description,
            rules: of_field,
            path: path.clone(),
        });
        // Those of every condition of Kubernetes, see "Conditions".
        if name == "conditions" {
            continue;
        }
        collect(field, &format!("{path}."), found);
        if let Some(items) = items(field) {
            collect(items, &format!("{path}[]."), found);
        }
    }
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items),
        _ => None,
    }
}

/// The default that the description's last words name, and the description without them. No default is written into
/// objects (a manifest in git stays what it was), so the schemas hold none.
fn default_and_description(schema: &JSONSchemaProps) -> (String, String) {
    let description = schema.description.as_deref().unwrap_or_default().replace('\n', " ");
    match description.rsplit_once("Default: ") {
        Some((meaning, default)) => (default.trim_end_matches('.').to_owned(), meaning.trim_end().to_owned()),
        None => (String::new(), description),
    }
}

fn kind_of(schema: &JSONSchemaProps) -> String {
    let number = |number: &f64| number.to_string();
    if let Some(values) = &schema.enum_ {
        let names: Vec<String> = values.iter().filter_map(|value| value.0.as_str()).map(code).collect();
        return names.join(", ");
    }
    let mut limits = Vec::new();
    let mut range = |least: Option<String>, most: Option<String>, of: &str| match (least, most) {
        (Some(least), Some(most)) => limits.push(format!("{least} to {most}{of}")),
        (Some(least), None) => limits.push(format!("at least {least}{of}")),
        (None, Some(most)) => limits.push(format!("at most {most}{of}")),
        (None, None) => {}
    };
    let form = schema.pattern.as_deref().map(form_name);
    let count = |count: Option<i64>| count.map(|count| count.to_string());
    range(schema.minimum.as_ref().map(number), schema.maximum.as_ref().map(number), "");
    range(count(schema.min_items), count(schema.max_items), " items");
    // How long a decimal may be is part of its form.
    if !form.is_some_and(|(_, is_type)| is_type) {
        range(count(schema.min_length), count(schema.max_length), " characters");
    }
    let base = match (form, schema.format.as_deref()) {
        (Some((form, _)), _) => format!("[{form}](#forms-of-text)"),
        (None, Some("date")) => "date".to_owned(),
        (None, Some("date-time")) => "time".to_owned(),
        (None, _) => match (items(schema), &schema.additional_properties) {
            (Some(items), _) => format!("list of {}", plural(&kind_of(items))),
            (None, Some(JSONSchemaPropsOrBool::Schema(values))) => format!("map of {}", plural(&kind_of(values))),
            _ => schema.type_.clone().expect("every field has a type"),
        },
    };
    std::iter::once(base).chain(limits).collect::<Vec<_>>().join(", ")
}

fn plural(kind: &str) -> String {
    match kind {
        "object" | "string" => format!("{kind}s"),
        other => other.to_owned(),
    }
}

/// What a pattern is called here, and whether it is a type of its own rather than a rule for a string.
fn form_name(pattern: &str) -> (&'static str, bool) {
    let of_types = [
        (pattern_of::<Decimal>(), ("decimal", true)),
        (pattern_of::<Duration>(), ("duration", true)),
        (pattern_of::<Bytes>(), ("bytes", true)),
    ];
    if let Some((_, name)) = of_types.into_iter().find(|(of_type, _)| of_type == pattern) {
        return name;
    }
    let sample = |text: &str| regex::Regex::new(pattern).expect("patterns are expressions of regex too").is_match(text);
    // From the narrowest: each of these fits only its own form and wider ones.
    let name = if sample("http://127.0.0.1:9050") {
        "endpoint"
    } else if sample("https://example.com/plan") {
        "https address"
    } else if sample("okr-reader@my-project.iam.gserviceaccount.com") {
        "account"
    } else if sample("example.com:my-project.Sales_1") {
        "dataset"
    } else if sample("example.com:my-project") {
        "project"
    } else if sample("europe-west1") {
        "location"
    } else if sample("_kind") {
        "parameter name"
    } else {
        panic!("give the form {pattern} a name")
    };
    (name, false)
}

fn pattern_of<T: JsonSchema>() -> String {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    schema.get("pattern").and_then(|pattern| pattern.as_str()).expect("a type of text has a pattern").to_owned()
}

/// The rules of a schema, without those that say a pattern in words: they are one table for all.
fn rules(schema: &JSONSchemaProps, path: &str) -> Vec<Rule> {
    let says_form = |expression: &str| {
        schema.pattern.as_ref().is_some_and(|pattern| expression.ends_with(&format!("matches(r'{pattern}')")))
    };
    let all = schema.x_kubernetes_validations.iter().flatten();
    all.filter(|rule| !says_form(&rule.rule))
        .map(|rule| Rule {
            path: path.to_owned(),
            expression: bare(&rule.rule),
            message: rule.message.clone().unwrap_or_default(),
        })
        .collect()
}

/// A rule that reads text as a number begins by letting text of another form pass, which the form's own rule refuses.
fn bare(rule: &str) -> String {
    match rule.rsplit_once("$') || (") {
        Some((_, rest)) => rest.strip_suffix(')').expect("what was opened is closed").to_owned(),
        None => rule.to_owned(),
    }
}

fn forms_of_text(kinds: &[CustomResourceDefinition]) -> String {
    let mut text =
        "## Forms of text\n\nNo default is ever written into an object, and what is typed is kept as it was typed. \
        Dates are `2026-10-01`, times `2026-10-01T08:00:00Z`. Decimals are never floats, which YAML would already have \
        rounded: quote them.\n\n| form | refused with | pattern |\n|---|---|---|\n"
            .to_owned();
    let mut forms = BTreeMap::new();
    for crd in kinds {
        forms_of(part_of(crd, "spec"), &mut forms);
    }
    for (name, (words, pattern)) in forms {
        row(&mut text, &[name, &words, &code(&pattern)]);
    }
    text.push('\n');
    text
}

fn forms_of(schema: &JSONSchemaProps, forms: &mut BTreeMap<&'static str, (String, String)>) {
    if let Some(pattern) = &schema.pattern {
        let rules = schema.x_kubernetes_validations.iter().flatten();
        let mut words = rules.filter(|rule| rule.rule.ends_with(&format!("matches(r'{pattern}')")));
        let words = words.next().and_then(|rule| rule.message.clone()).expect("every pattern is said in words");
        let form = (words, pattern.clone());
        let before = forms.insert(form_name(pattern).0, form.clone());
        assert!(before.is_none_or(|before| before == form), "two patterns are called {}", form_name(pattern).0);
    }
    schema.properties.iter().flat_map(BTreeMap::values).for_each(|field| forms_of(field, forms));
    items(schema).into_iter().for_each(|items| forms_of(items, forms));
}

/// A type of condition.
struct ConditionType {
    name: &'static str,
    /// The kinds that have it.
    of: &'static str,
    meaning: &'static str,
    reasons: &'static str,
}

const CONDITIONS: [ConditionType; 6] = [
    ConditionType {
        name: conditions::READY,
        of: "all",
        meaning: "The pipeline works: the value comes, or nothing is to come. It never says whether the OKR is on track.",
        reasons: "those below",
    },
    ConditionType {
        name: conditions::STALLED,
        of: "all",
        meaning: "Present only when True: a person must act. As in kstatus.",
        reasons: "that of `Ready`",
    },
    ConditionType {
        name: conditions::RECONCILING,
        of: "all",
        meaning: "Present only when True: something is under way or waited for. As in kstatus. Never beside `Stalled`.",
        reasons: "that of `Ready`, or `QueryChanged` or `Resumed` while a sync is outstanding",
    },
    ConditionType {
        name: conditions::ON_TRACK,
        of: "key results, objectives",
        meaning: "True for OnTrack, False for Behind and AtRisk, else Unknown: for `kubectl wait --for=condition=OnTrack`.",
        reasons: "the `okrStatus`",
    },
    ConditionType {
        name: conditions::FRESH,
        of: "key results, objectives with a measure",
        meaning: "The value is that of the present query and not older than two intervals, or than `manual.validFor`. Absent without a value, and where nothing is sent because somebody wanted it so.",
        reasons: "`Current`, `Stale`, `QueryChanged`",
    },
    ConditionType {
        name: conditions::SATURATED,
        of: "connections",
        meaning: "Present only when True: more is due than gets through, and queries begin more than a minute late.",
        reasons: "see [connections](#reasons-of-a-connection)",
    },
];

fn conditions_page() -> String {
    let mut text = "## Conditions\n\nEach has `type`, `status` (`True`, `False`, `Unknown`), `reason`, `message`, \
        `lastTransitionTime` and `observedGeneration`, as all conditions of Kubernetes.\n\n\
        | type | of | meaning | reasons |\n|---|---|---|---|\n"
        .to_owned();
    for condition in &CONDITIONS {
        row(&mut text, &[&code(condition.name), condition.of, condition.meaning, condition.reasons]);
    }
    text.push('\n');
    text
}

/// In the order in which they are shown, with what a reason of each means for the conditions and the next attempt.
const CLASSES: [(Class, &str, &str); 7] = [
    (Class::Good, "All is well", "Ready is True."),
    (
        Class::PersonMustAct,
        "A person must act",
        "Ready is False and Stalled True. Tried again at once when the object or its connection changes, else after 1, 5 and 15 minutes and then at every slot, by a free dry run first.",
    ),
    (Class::Data, "The data", "Ready is False. The query runs again at its next slot."),
    (
        Class::Passing,
        "Likely to pass by itself",
        "Tried again after 1, 4 and 15 minutes. Ready stays True until the third in a row; where the query has given no value yet it is False, with Reconciling.",
    ),
    (
        Class::Waiting,
        "Waiting for something else",
        "Ready is False and Reconciling True. It goes on when the cause changes.",
    ),
    (Class::UnderWay, "Under way", "Of Reconciling, with Ready as it was: a sync is outstanding."),
    (Class::Rest, "At rest", "Ready is True; nothing is sent, as somebody wanted."),
];

fn reasons_page() -> String {
    let mut text = "## Reasons\n\nOne name each in conditions, events and the metric `okr_operator_syncs_total`. What to do in more words: \
        [README](../README.md#reasons-what-is-wrong-and-what-to-do).\n\n### Reasons of a key result or an objective\n\n"
        .to_owned();
    let shown = |reason: &Reason| CLASSES.iter().any(|(class, ..)| *class == reason.class());
    assert!(Reason::ALL.iter().all(shown), "every class of reasons has a table");
    for (class, title, meaning) in CLASSES {
        let _ = writeln!(text, "**{title}.** {meaning}\n\n| reason | meaning |\n|---|---|");
        for reason in Reason::ALL.iter().filter(|reason| reason.class() == class) {
            let of = if reason.is_of_a_roll_up() { " (Of an objective without a measure of its own.)" } else { "" };
            row(&mut text, &[&code(reason.name()), &format!("{}{of}", reason.sentence())]);
        }
        text.push('\n');
    }
    text += "**In the explanation.** Where a reference to an objective leads nowhere, `status.explanation` says so, and Ready is \
        untouched.\n\n| reason | meaning |\n|---|---|\n";
    for problem in ObjectiveProblem::ALL {
        let meaning = match problem {
            ObjectiveProblem::ObjectiveNotFound => "There is no objective of that name in this namespace.",
            ObjectiveProblem::ObjectiveNotShared => {
                "Another namespace's objective does not exist, or does not admit this namespace by allowedNamespaces."
            }
        };
        row(&mut text, &[&code(problem.name()), meaning]);
    }
    text += "\n### Reasons of a connection\n\nThe message names the acting service account and the command that mends it.\n\n\
        | reason | Ready | beside it | meaning |\n|---|---|---|---|\n";
    for reason in ConnectionReason::ALL {
        let (ready, beside) = ready_and_beside(reason);
        row(&mut text, &[&code(reason.name()), &ready, &beside, of_a_connection(reason)]);
    }
    text += "\nOf Saturated:\n\n| reason | meaning |\n|---|---|\n";
    for reason in SaturatedReason::ALL {
        let meaning = match reason {
            SaturatedReason::DueWorkWaits => {
                "More is due than limits.maxConcurrentQueries, or the operator's --max-concurrent-syncs, lets through."
            }
            SaturatedReason::RateLimited => "BigQuery asked for fewer requests.",
        };
        row(&mut text, &[&code(reason.name()), meaning]);
    }
    text.push('\n');
    text
}

fn of_a_connection(reason: ConnectionReason) -> &'static str {
    match reason {
        ConnectionReason::Connected => "A dry run, or a query, proved identity, project and bigquery.jobs.create.",
        ConnectionReason::Suspended => "spec.suspend is true: nothing is sent.",
        ConnectionReason::SecretNotFound => {
            "There is no such Secret in the connection's namespace. It is looked for every 15 seconds."
        }
        ConnectionReason::SecretKeyMissing => "The Secret has no such key. It is looked for every 15 seconds.",
        ConnectionReason::SecretNotReadable => "The operator may not get Secrets in that namespace.",
        ConnectionReason::CredentialsInvalid => "The Secret holds no credential of the kind that the connection names.",
        ConnectionReason::CredentialsRefused => {
            "Google refused the credential: the key or the account is disabled or gone."
        }
        ConnectionReason::EndpointNotAllowed => {
            "The host is not among the operator's --allowed-endpoints, or may never be one."
        }
        ConnectionReason::AmbientIdentityNotAllowed => {
            "The operator's own identity may not be used in this namespace: see --ambient-identity-namespaces."
        }
        ConnectionReason::ProjectNotFound => "Google knows no such project.",
        ConnectionReason::ApiDisabled => "The BigQuery API is not enabled in the project.",
        ConnectionReason::PermissionDenied => "The account may not run jobs in the billing project.",
        ConnectionReason::Unavailable => {
            "Google could not be reached or failed by itself; a connection that worked shows it from the third time in a row on."
        }
    }
}

/// The status of Ready, and the condition beside it, as the operator would write them.
fn ready_and_beside(reason: ConnectionReason) -> (String, String) {
    let spec = json!({ "projectId": "my-project", "credentials": { "workloadIdentity": {} } });
    let connection = BigQueryConnection::new("warehouse", serde_json::from_value(spec).unwrap());
    let verdict = Verdict::new(reason, String::new());
    let status = next(&connection, Some(&verdict), &Known::default(), Checks::default(), Timestamp::UNIX_EPOCH);
    let [ready, beside @ ..] = status.conditions.as_slice() else { panic!("every verdict is shown") };
    (ready.status.clone(), beside.iter().map(|condition| code(&condition.type_)).collect())
}

fn annotations_page() -> String {
    format!(
        "## Annotations\n\n| annotation | meaning |\n|---|---|\n\
        | `{REFRESH_ANNOTATION}` | Asks for one sync (of a connection: one check) when its value differs from `status.lastHandledRefresh`, which echoes it once that is done. |\n\
        | `{RECONCILE_AT_ANNOTATION}` | The same as Flux writes it, echoed in `status.lastHandledReconcileAt`. |\n"
    )
}

/// A row of a table; a bar within a cell would end it.
fn row(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn code(text: impl AsRef<str>) -> String {
    format!("`{}`", text.as_ref())
}
