//! Values that make no sense are refused, in words that name the key.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{read, render, yaml};

/// `settings` as `--set-json` takes them, one for each word; all of `words` are in the refusal.
#[track_caller]
fn check_refused(settings: &[&str], words: &[&str]) {
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set-json", *setting]).collect();
    let Err(said) = render(&arguments) else { panic!("{settings:?} is taken") };
    for word in words {
        assert!(said.contains(word), "{settings:?} is refused without {word:?}:\n{said}");
    }
}

#[test]
fn wrong_types_are_refused() {
    check_refused(&[r#"replicas="two""#], &["/replicas", "got string, want integer"]);
    check_refused(&["replicas=0"], &["/replicas", "minimum"]);
    check_refused(&[r#"crds.enabled="yes""#], &["/crds/enabled", "got string, want boolean"]);
    check_refused(&[r#"watchNamespaces="sales""#], &["/watchNamespaces", "got string, want array"]);
    check_refused(&["commonLabels={\"team\":1}"], &["/commonLabels/team", "got number, want string"]);
    check_refused(&["dashboard=true"], &["/dashboard", "got boolean, want object"]);
    check_refused(&[r#"log.format="xml""#], &["/log/format", "'json', 'text'"]);
    check_refused(&[r#"image.digest="latest""#], &["/image/digest"]);
    check_refused(&[r#"watchNamespaces=["Sales"]"#, r#"scope="Namespaces""#], &["/watchNamespaces/0"]);
}

#[test]
fn unknown_keys_are_refused() {
    check_refused(&["replicaCount=2"], &["replicaCount", "not allowed"]);
    check_refused(&["metrics.serviceMonitor.enable=true"], &["/metrics/serviceMonitor", "enable", "not allowed"]);
    check_refused(&[r#"image.name="x""#], &["/image", "name", "not allowed"]);
}

#[test]
fn contradictions_are_refused() {
    check_refused(&[r#"watchNamespaces=["sales"]"#], &["/watchNamespaces", "maxItems"]);
    check_refused(&[r#"scope="Namespaces""#], &["/watchNamespaces", "minItems"]);
    let scoped = [r#"scope="Namespaces""#, r#"watchNamespaces=["sales"]"#];
    check_refused(&[scoped[0], scoped[1], "dashboard.expose.enabled=true"], &["/dashboard/expose/enabled"]);
    check_refused(&["dashboard.enabled=false", "dashboard.expose.enabled=true"], &["/dashboard/expose/enabled"]);
    check_refused(&["dashboard.expose.enabled=true"], &["/dashboard/expose/hosts", "minItems"]);
    let elsewhere = r#"secrets.namespaces=["finance"]"#;
    check_refused(&[scoped[0], scoped[1], elsewhere], &["secrets.namespaces: finance is not among watchNamespaces"]);
    check_refused(&["serviceAccount.create=false"], &["/serviceAccount/name"]);
    check_refused(&[r#"commonLabels={"app.kubernetes.io/name":"x"}"#], &["/commonLabels/app.kubernetes.io~1name"]);
    // The role for connections, which nothing is to aggregate, has them too.
    let aggregated = r#"commonLabels={"rbac.authorization.k8s.io/aggregate-to-edit":"true"}"#;
    check_refused(&[aggregated], &["/commonLabels/rbac.authorization.k8s.io~1aggregate-to-edit"]);
    check_refused(&[r#"fullnameOverride="1okr""#], &["fullnameOverride"]);
    check_refused(&["secrets=null"], &["missing property 'secrets'"]);
}

/// Null takes a default away: what is left would be a setting that nobody wrote, such as a threshold of 0.
#[test]
fn no_default_can_be_taken_away() {
    let schema: Value = serde_json::from_str(&read("charts/okr-operator/values.schema.json")).unwrap();
    let mut keys = BTreeSet::new();
    leaves(&schema, "", &mut keys);
    // Not set at first; null is a value of user's; and whoever wants no limit takes it away so.
    keys.retain(|path| !matches!(path.as_str(), ".global" | ".enabled" | ".user") && !path.starts_with(".resources."));
    assert!(keys.len() > 50, "{keys:?}");
    for path in keys {
        let (_, key) = path.rsplit_once('.').unwrap();
        check_refused(&[&format!("{}=null", &path[1..])], &[&format!("missing property '{key}'")]);
    }
    for path in ["resources.limits", "user"] {
        let setting = format!("{path}=null");
        render(&["--set-json", &setting]).unwrap_or_else(|said| panic!("{setting}: {said}"));
    }
}

#[test]
fn thresholds_that_cannot_be_are_refused() {
    check_refused(&["thresholds.behind=-5"], &["/thresholds/behind", "minimum"]);
    check_refused(&[r#"thresholds.atRisk="-5""#], &["/thresholds/atRisk"]);
    check_refused(&["thresholds.atRisk=2.5"], &["/thresholds/atRisk", "want integer or string"]);
    check_refused(&["thresholds.behind=30"], &["thresholds.behind (30) must not be above thresholds.atRisk (25)"]);
}

#[test]
fn what_fits_is_taken() {
    for setting in [
        r#"thresholds.behind="2.5""#,
        "thresholds.atRisk=1000000",
        r#"global={"x":1}"#,
        "enabled=true",
        "resources.limits.cpu=1",
    ] {
        render(&["--set-json", setting]).unwrap_or_else(|said| panic!("{setting}: {said}"));
    }
}

/// The keys of values.yaml as paths; what is a map of the user's own is no more than a key.
fn keys(of: &Value, schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    let known = schema["properties"].as_object();
    for (key, value) in of.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        match known.and_then(|known| known.get(key)) {
            Some(schema) if schema["properties"].is_object() => keys(value, schema, &path, into),
            Some(_) | None => drop(into.insert(path)),
        }
    }
}

#[test]
fn the_schema_knows_the_keys_of_the_values_and_no_others() {
    let schema: Value = serde_json::from_str(&read("charts/okr-operator/values.schema.json")).unwrap();
    let values = yaml(&read("charts/okr-operator/values.yaml"));
    let mut there = BTreeSet::new();
    keys(&values, &schema, "", &mut there);
    let mut known = BTreeSet::new();
    leaves(&schema, "", &mut known);
    // Helm gives the first two to a chart that is part of another; the other is for who needs it, and has no default.
    known.retain(|path| path != ".global" && path != ".enabled" && path != ".resources.claims");
    assert_eq!(there, known);
}

fn leaves(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) => {
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{path} takes whatever is written");
            properties.iter().for_each(|(key, schema)| leaves(schema, &format!("{path}.{key}"), into));
        }
        None => drop(into.insert(path.to_owned())),
    }
}
