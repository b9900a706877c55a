//! What metrics say of a key result or an objective: the numbers of its status as it was written, nothing decided anew.
//! Whoever keeps objects makes it once for each version of one: it is asked for all of them at every scrape.

use std::collections::BTreeMap;

use crate::{
    api::{self, MeasuredStatus, ObjectiveRef, OkrKeyResult, OkrObjective, OkrStatus},
    domain::conditions::{self, FRESH, Truth},
};

use super::brief::Kind;

/// One key result or objective. A number is the double nearest to the decimal in the status, and None where that has none.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub kind: Kind,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// The objective that it counts for, whether or not that exists: `name`, or `namespace/name` in another namespace.
    pub parent: Option<Box<str>>,
    /// The values of the copied labels, in the order of [`CopiedLabels`]; empty for those that it does not have.
    pub copied: Box<[Box<str>]>,
    pub okr_status: Option<OkrStatus>,
    pub value: Option<f64>,
    /// When the value was read, in seconds since the epoch.
    pub value_seconds: Option<i64>,
    /// 1 is what it is to reach; not clamped.
    pub progress: Option<f64>,
    pub expected: Option<f64>,
    /// None where nothing is said of that: without a value, and at rest.
    pub fresh: Option<bool>,
}

impl Reading {
    pub fn of_key_result(key_result: &OkrKeyResult, labels: &CopiedLabels) -> Self {
        let OkrKeyResult { metadata, spec, status } = key_result;
        let copied = labels.of(metadata.labels.as_ref(), spec.owner.as_deref());
        let of = [metadata.namespace.as_deref(), metadata.name.as_deref()].map(Option::unwrap_or_default);
        Self::new(Kind::KeyResult, of, spec.objective_ref.as_ref(), copied, status.as_ref())
    }

    pub fn of_objective(objective: &OkrObjective, labels: &CopiedLabels) -> Self {
        let OkrObjective { metadata, spec, status } = objective;
        let copied = labels.of(metadata.labels.as_ref(), spec.owner.as_deref());
        let of = [metadata.namespace.as_deref(), metadata.name.as_deref()].map(Option::unwrap_or_default);
        let status = status.as_ref().map(|status| &status.measured);
        let reading = Self::new(Kind::Objective, of, spec.parent_ref.as_ref(), copied, status);
        match spec.measure {
            Some(_) => reading,
            // What is left in the status of one that was measured before is no value of a roll-up.
            None => Self { value: None, value_seconds: None, fresh: None, ..reading },
        }
    }

    fn new(
        kind: Kind,
        [namespace, name]: [&str; 2],
        parent: Option<&ObjectiveRef>,
        copied: Box<[Box<str>]>,
        status: Option<&MeasuredStatus>,
    ) -> Self {
        let value = status.and_then(|status| number(status.value.as_deref()?));
        let ratio = |percent: Option<&str>| number(&format!("{}e-2", percent?));
        let fresh = status.and_then(|status| conditions::find(&status.conditions, FRESH));
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
            parent: parent.map(|parent| match parent.namespace.as_deref() {
                Some(other) if other != namespace => format!("{other}/{}", parent.name).into(),
                _ => parent.name.as_str().into(),
            }),
            copied,
            okr_status: status.and_then(|status| status.okr_status),
            value,
            value_seconds: status.and_then(|status| Some(status.value_time.as_ref()?.0.as_second())),
            progress: status.and_then(|status| ratio(status.progress_percent.as_deref())),
            expected: status.and_then(|status| ratio(status.expected_progress_percent.as_deref())),
            fresh: fresh.and_then(|fresh| match fresh.status.as_str() {
                status if status == Truth::True.name() => Some(true),
                status if status == Truth::False.name() => Some(false),
                _ => None,
            }),
        }
    }
}

/// The nearest double. None where there is none: what others wrote into a status may be anything.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// What is asked of an object besides its own labels, in the place of a label's name.
const OWNER: &str = "spec.owner";

/// Which labels of the objects become labels of their series.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopiedLabels(Box<[CopiedLabel]>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct CopiedLabel {
    /// Of the object.
    from: String,
    /// Of the series.
    to: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopiedLabelsError {
    #[error("{0:?} is not the name of a Kubernetes label, such as team or example.com/team, nor {OWNER}")]
    NoLabel(String),
    #[error("{0:?} and {1:?} would both become the label {2}")]
    Same(String, String, String),
}

impl CopiedLabels {
    /// Takes names of Kubernetes labels, and `spec.owner`.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, CopiedLabelsError> {
        let mut labels: Vec<CopiedLabel> = Vec::new();
        for from in names {
            let to = if from == OWNER {
                "owner".to_owned()
            } else if is_label_name(from) {
                format!("label_{}", snake_case(from))
            } else {
                return Err(CopiedLabelsError::NoLabel(from.to_owned()));
            };
            match labels.iter().find(|label| label.to == to) {
                Some(same) if same.from == from => {}
                Some(same) => return Err(CopiedLabelsError::Same(same.from.clone(), from.to_owned(), to)),
                None => labels.push(CopiedLabel { from: from.to_owned(), to }),
            }
        }
        Ok(Self(labels.into()))
    }

    /// The names of the labels of the series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|label| label.to.as_str())
    }

    fn of(&self, labels: Option<&BTreeMap<String, String>>, owner: Option<&str>) -> Box<[Box<str>]> {
        let value = |label: &CopiedLabel| match label.from.as_str() {
            OWNER => owner.unwrap_or_default().into(),
            name => labels.and_then(|labels| labels.get(name)).map(String::as_str).unwrap_or_default().into(),
        };
        self.0.iter().map(value).collect()
    }
}

/// `name` or `prefix/name`, as Kubernetes has it but for the lengths of the prefix's parts.
fn is_label_name(text: &str) -> bool {
    let fits = |part: &str, longest: usize| part.len() <= longest && api::is_label_name(part);
    match text.split_once('/') {
        Some((prefix, name)) => fits(prefix, 253) && fits(name, 63),
        None => fits(text, 63),
    }
}

/// As kube-state-metrics names its labels: `app.kubernetes.io/partOf` becomes `app_kubernetes_io_part_of`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    let mut before = ' ';
    for c in name.chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            snake.push('_');
        }
        snake.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        before = c;
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key_result(spec: Value, status: Value) -> OkrKeyResult {
        let mut object = json!({
            "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult",
            "metadata": {"name": "kr", "namespace": "sales", "labels": {"team": "growth", "app.kubernetes.io/partOf": "a"}},
            "spec": {"measure": {"reach": {"target": 100}}},
            "status": status,
        });
        for (field, content) in spec.as_object().unwrap() {
            object["spec"][field] = content.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn reading(spec: Value, status: Value) -> Reading {
        Reading::of_key_result(&key_result(spec, status), &CopiedLabels::default())
    }

    #[test]
    fn what_a_status_does_not_say_is_no_number() {
        let nothing = reading(json!({}), json!({}));
        assert_eq!((nothing.value, nothing.progress, nothing.expected), (None, None, None));
        assert_eq!((nothing.value_seconds, nothing.fresh, nothing.okr_status), (None, None, None));
        for value in ["", "NaN", "inf", "1e999", "many"] {
            assert_eq!(reading(json!({}), json!({"value": value})).value, None, "{value}");
        }
    }

    #[test]
    fn a_number_is_the_nearest_double() {
        let check = |value: &str, want: f64| {
            assert_eq!(reading(json!({}), json!({"value": value})).value, Some(want), "{value}");
        };
        check("128400.5", 128_400.5);
        check("-0.1", -0.1);
        check("1e-3", 0.001);
        check("99999999999999999999999999999999999999", 1e38);
        let progress = |percent: &str| reading(json!({}), json!({"progressPercent": percent})).progress;
        assert_eq!(progress("13.33"), Some(0.1333), "not 13.33 / 100.0, which is another double");
        assert_eq!((progress("-10"), progress("100"), progress("0")), (Some(-0.1), Some(1.0), Some(0.0)));
    }

    #[test]
    fn an_objective_of_another_namespace_is_named_with_it() {
        let parent = |reference: Value| reading(json!({"objectiveRef": reference}), json!({})).parent;
        assert_eq!(parent(json!({"name": "grow"})).as_deref(), Some("grow"));
        assert_eq!(parent(json!({"name": "grow", "namespace": "sales"})).as_deref(), Some("grow"));
        assert_eq!(parent(json!({"name": "grow", "namespace": "company"})).as_deref(), Some("company/grow"));
        assert_eq!(reading(json!({}), json!({})).parent, None);
    }

    #[test]
    fn a_roll_up_has_no_value_of_its_own() {
        let status = json!({
            "value": "3", "valueTime": "2026-11-01T00:00:00Z", "progressPercent": "60", "childCount": 2, "okrStatus": "Behind",
        });
        let objective: OkrObjective = serde_json::from_value(json!({
            "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrObjective",
            "metadata": {"name": "grow", "namespace": "sales"},
            "spec": {"title": "Grow", "parentRef": {"name": "company"}}, "status": status,
        }))
        .unwrap();
        let reading = Reading::of_objective(&objective, &CopiedLabels::default());
        assert_eq!((reading.value, reading.value_seconds, reading.progress), (None, None, Some(0.6)));
        assert_eq!((reading.parent.as_deref(), reading.okr_status), (Some("company"), Some(OkrStatus::Behind)));
    }

    #[test]
    fn labels_are_copied_under_the_names_that_kube_state_metrics_gives_them() {
        let labels = CopiedLabels::new(["team", "app.kubernetes.io/partOf", "spec.owner", "absent", "team"]).unwrap();
        let names: Vec<&str> = labels.names().collect();
        assert_eq!(names, ["label_team", "label_app_kubernetes_io_part_of", "owner", "label_absent"]);
        let key_result = key_result(json!({"owner": "growth-team"}), json!({}));
        let copied = Reading::of_key_result(&key_result, &labels).copied;
        assert_eq!(copied.iter().map(|value| &**value).collect::<Vec<_>>(), ["growth", "a", "growth-team", ""]);
    }

    #[test]
    fn two_labels_that_would_become_one_and_what_is_no_label_are_refused() {
        let same = CopiedLabels::new(["cost-center", "cost.center"]).unwrap_err();
        assert_eq!(
            same.to_string(),
            r#""cost-center" and "cost.center" would both become the label label_cost_center"#
        );
        for wrong in ["", "-team", "te am", "/team", "a/b/c", "team{}", &"x".repeat(64)] {
            assert!(matches!(CopiedLabels::new([wrong]), Err(CopiedLabelsError::NoLabel(_))), "{wrong}");
        }
    }
}
