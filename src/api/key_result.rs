//! `OkrKeyResult`: one key result, and where the number behind it comes from.
// The lint takes the columns of one derive for one another.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::{
    BigQuerySource, CheckIn, Duration, Expected, Lifecycle, Link, Manual, Measure, MeasuredStatus, ObjectiveRef,
    Period, Thresholds,
};

/// One key result: a measure, the BigQuery query (or a person) that provides its number, and the period it counts for.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "okr-operator.dev",
    version = "v1alpha1",
    kind = "OkrKeyResult",
    plural = "okrkeyresults",
    shortname = "okrkr",
    category = "okr",
    namespaced,
    status = "MeasuredStatus",
    derive = "PartialEq",
    doc = "OkrKeyResult is one key result: a measure, the BigQuery query (or a person) that provides its number, and the period it counts for.",
    selectable = ".spec.owner",
    selectable = ".spec.objectiveRef.name",
    selectable = ".status.okrStatus",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.okrStatus"),
    printcolumn(name = "Value", type_ = "string", json_path = ".status.value"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.targetText"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progressPercent"),
    printcolumn(name = "Expected", type_ = "string", json_path = ".status.expectedProgressPercent"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Last Sync", type_ = "date", json_path = ".status.lastSyncTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Connection", type_ = "string", priority = 1, json_path = ".status.connection.name"),
    // A string: kubectl shows a date in the future as <invalid>.
    printcolumn(name = "Next Sync", type_ = "string", priority = 1, json_path = ".status.nextSyncTime"),
    printcolumn(name = "Bytes", type_ = "integer", priority = 1, json_path = ".status.lastQuery.bytesProcessed"),
    printcolumn(name = "Reason", type_ = "string", priority = 1, json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Owner", type_ = "string", priority = 1, json_path = ".spec.owner")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.bigQuery) != has(self.manual)")
    .message("set exactly one of bigQuery (a query provides the value) and manual (a person does)"))]
#[x_kube(validation = Rule::new("has(self.period) || !(has(self.measure.percent) || has(self.measure.reach) || has(self.measure.increase) || has(self.measure.decrease))")
    .message("period {startDate, endDate} is required for the measures percent, reach, increase and decrease"))]
#[x_kube(validation = Rule::new("!has(self.expected) || has(self.measure.reach) || has(self.measure.increase) || has(self.measure.decrease)")
    .message("expected.phases goes with the measures reach, increase and decrease only"))]
#[x_kube(validation = Rule::new("!has(self.expected) || !has(self.period) || self.expected.phases.all(p, p.date > self.period.startDate && p.date < self.period.endDate)")
    .message("the dates of expected.phases must lie between period.startDate and period.endDate, both excluded"))]
pub struct OkrKeyResultSpec {
    /// What is to be achieved, in one line, such as Convert 5,000 leads. Default: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub title: Option<String>,
    /// Anything a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// The person or team that answers for it, such as growth-team; kubectl get okrkr --field-selector spec.owner=growth-team lists theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub owner: Option<String>,
    /// The OkrObjective that this key result belongs to. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective_ref: Option<ObjectiveRef>,
    /// This key result's share of its objective: an integer from 0 to 100, in percent. Default: an equal share of what the others leave of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<u8>,
    /// The days this key result counts for, such as a quarter. Required for the measures percent, reach, increase and decrease, optional for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// How the value is judged: exactly one of percent, reach, increase, decrease, stayBelow, stayAbove, stayBetween and baseline. Such as reach: {target: 5000}.
    pub measure: Measure,
    /// What the value counts, such as leads or EUR; for people only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub unit: Option<String>,
    /// The query that provides the value. Exactly one of bigQuery and manual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub big_query: Option<BigQuerySource>,
    /// A value checked in by people through git. Exactly one of bigQuery and manual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
    /// How often the query runs, in hours, minutes and seconds such as 1h30m; from 1m to 168h, and never below the connection's limits.minInterval. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')")
        .message("must be from 1m to 168h"))]
    pub interval: Option<Duration>,
    /// What progress is expected when, for the measures reach, increase and decrease. Default: a straight line from nothing on startDate to everything on endDate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// How far progress may lie behind expected progress before the status is Behind or AtRisk, in percentage points; for the measures percent, reach, increase and decrease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// Active; Closed: the value and the day are frozen; Postponed: not worked on. The last two send no query. Default: Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// A manual check-in: this status counts in place of the computed one until a date.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "override")]
    pub check_in: Option<CheckIn>,
    /// True: no query is sent, and the last value stays. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Where to read more: a plan, a dashboard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub links: Vec<Link>,
}
