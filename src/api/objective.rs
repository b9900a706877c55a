//! `OkrObjective`: what a team wants, and how far its key results are.
// The lint takes the columns of one derive for one another.
#![allow(clippy::duplicated_attributes)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AllowedNamespaces, BigQuerySource, CheckIn, Duration, Expected, Lifecycle, Link, Manual, Measure, MeasuredStatus,
    ObjectiveRef, OkrStatus, Period, Thresholds,
};

/// One objective: rolled up from the key results and objectives that refer to it, or measured like a key result.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "okr-operator.dev",
    version = "v1alpha1",
    kind = "OkrObjective",
    plural = "okrobjectives",
    shortname = "okrobj",
    category = "okr",
    namespaced,
    status = "ObjectiveStatus",
    derive = "PartialEq",
    doc = "OkrObjective is one objective: rolled up from the key results and objectives that refer to it, or measured like a key result.",
    selectable = ".spec.owner",
    selectable = ".spec.parentRef.name",
    selectable = ".status.okrStatus",
    printcolumn(name = "Status", type_ = "string", json_path = ".status.okrStatus"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progressPercent"),
    printcolumn(name = "Expected", type_ = "string", json_path = ".status.expectedProgressPercent"),
    printcolumn(name = "Children", type_ = "integer", json_path = ".status.childCount"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Stale", type_ = "integer", priority = 1, json_path = ".status.staleChildren"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Parent", type_ = "string", priority = 1, json_path = ".spec.parentRef.name"),
    printcolumn(name = "Owner", type_ = "string", priority = 1, json_path = ".spec.owner")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.measure) ? has(self.bigQuery) != has(self.manual) : !has(self.bigQuery) && !has(self.manual)")
    .message("an objective with a measure of its own takes exactly one of bigQuery and manual; one without is rolled up and takes neither"))]
#[x_kube(validation = Rule::new("has(self.measure) || !(has(self.unit) || has(self.interval) || has(self.expected) || has(self.suspend))")
    .message("unit, interval, expected and suspend go with a measure of the objective's own: an objective that is rolled up sends no query"))]
#[x_kube(validation = Rule::new("!has(self.measure) || !has(self.statusFrom)")
    .message("statusFrom goes with objectives that are rolled up: one with a measure of its own is judged by that"))]
#[x_kube(validation = Rule::new("!has(self.measure) || has(self.period) || !(has(self.measure.percent) || has(self.measure.reach) || has(self.measure.increase) || has(self.measure.decrease))")
    .message("period {startDate, endDate} is required for the measures percent, reach, increase and decrease"))]
#[x_kube(validation = Rule::new("!has(self.expected) || !has(self.measure) || has(self.measure.reach) || has(self.measure.increase) || has(self.measure.decrease)")
    .message("expected.phases goes with the measures reach, increase and decrease only"))]
#[x_kube(validation = Rule::new("!has(self.expected) || !has(self.period) || self.expected.phases.all(p, p.date > self.period.startDate && p.date < self.period.endDate)")
    .message("the dates of expected.phases must lie between period.startDate and period.endDate, both excluded"))]
pub struct OkrObjectiveSpec {
    /// What is wanted, in one line, such as Grow the pipeline. Default: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub title: Option<String>,
    /// Anything a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// The person or team that answers for it, such as growth-team; kubectl get okrobj --field-selector spec.owner=growth-team lists theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub owner: Option<String>,
    /// The days this objective counts for, such as a quarter. Without one there is no progress, and the status is that of the worst child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// The OkrObjective that this objective counts for. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_ref: Option<ObjectiveRef>,
    /// This objective's share of its parent: an integer from 0 to 100, in percent. Default: an equal share of what the others leave of 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<u8>,
    /// How far progress may lie behind expected progress before the status is Behind or AtRisk, in percentage points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Thresholds>,
    /// Active; Closed: progress and the day are frozen; Postponed: not worked on. Key results are not touched by it. Default: Active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycle: Option<Lifecycle>,
    /// A manual check-in: this status counts in place of the computed one until a date.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "override")]
    pub check_in: Option<CheckIn>,
    /// Where to read more: a plan, a dashboard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub links: Vec<Link>,
    /// What the status of a roll-up is derived from: Progress (by expected progress) or KeyResults (that of the worst child). Default: Progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_from: Option<StatusFrom>,
    /// The namespaces whose key results and objectives may refer to this one. Default: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// A measure of the objective's own, with bigQuery or manual beside it: then the children count for nothing. Default: none, the children are rolled up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// The query that provides the measure's value. Exactly one of bigQuery and manual goes with measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub big_query: Option<BigQuerySource>,
    /// The measure's value, checked in by people through git. Exactly one of bigQuery and manual goes with measure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
    /// What the measure's value counts, such as leads or EUR; for people only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub unit: Option<String>,
    /// How often the query runs, in hours, minutes and seconds such as 1h30m; from 1m to 168h, and never below the connection's limits.minInterval. Default: 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')")
        .message("must be from 1m to 168h"))]
    pub interval: Option<Duration>,
    /// What progress is expected when, for the measures reach, increase and decrease. Default: a straight line from nothing on startDate to everything on endDate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
    /// True: no query is sent, and the last value stays. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What the status of a roll-up is derived from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StatusFrom {
    #[default]
    Progress,
    KeyResults,
}

/// What was measured or rolled up, and decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveStatus {
    /// As in a key result. The values in a roll-up's history are its progress in percent.
    #[serde(flatten)]
    pub measured: MeasuredStatus,
    /// How many key results and objectives refer to this one and are admitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child_count: Option<u32>,
    /// How many of them have a value that is not fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_children: Option<u32>,
    /// The children, with what each counts for; the worst first, at most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), extend("x-kubernetes-list-type" = "atomic"))]
    pub children: Vec<ChildStatus>,
}

/// A key result or objective that refers to this objective.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChildStatus {
    /// OkrKeyResult or OkrObjective.
    pub kind: String,
    /// The child's namespace.
    pub namespace: String,
    /// The child's name.
    pub name: String,
    /// How the child stands; absent until that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub okr_status: Option<OkrStatus>,
    /// The child's share of this objective in percent, rounded half-even to two places for show. Absent where it does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_percent: Option<String>,
    /// The child's progress in percent as it counts, from 0 to 100, rounded half-even to two places for show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_percent: Option<String>,
    /// What the child adds to this objective's progress, in percentage points, rounded half-even to two places for show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contribution: Option<String>,
    /// Why the child does not count, in words. Absent where it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_counted: Option<String>,
}
