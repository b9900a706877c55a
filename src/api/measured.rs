//! What key results and objectives have in common: a measure, where its number comes from, and what was decided about it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, Date, Decimal, Duration, Time, form};

/// The objective that a key result or another objective belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ObjectiveRef {
    /// The name of the OkrObjective.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The objective's namespace. Default: that of the object that refers to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// The days a key result or an objective counts for.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.startDate < self.endDate").message("endDate must be after startDate"))]
pub struct Period {
    /// The first day, such as 2026-10-01; nothing is expected yet.
    pub start_date: Date,
    /// The last day, such as 2026-12-31; everything is expected. Must be after startDate.
    pub end_date: Date,
    /// The IANA time zone in which days begin and end, such as Europe/Paris. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
}

/// How the value is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// The value is the progress: 75 means 75 %, 100 is the target. Judged by expected progress. Write percent: {}.
    Percent(Percent),
    /// From 0 up to a target: progress is value / target. Judged by expected progress. Such as reach: {target: 5000}.
    Reach(Reach),
    /// From one value up to another. Judged by expected progress. Such as increase: {from: 100000, target: 150000}.
    Increase(Increase),
    /// From one value down to another. Judged by expected progress. Such as decrease: {from: "8.0", target: "5.0"}.
    Decrease(Decrease),
    /// OnTrack while below the target, else AtRisk; with a riskThreshold, Behind until that is reached. Such as stayBelow: {target: 250, riskThreshold: 400}.
    StayBelow(StayBelow),
    /// OnTrack while above the target, else AtRisk; with a riskThreshold, Behind until that is reached. Such as stayAbove: {target: "99.9", riskThreshold: "99.5"}.
    StayAbove(StayAbove),
    /// OnTrack while between two bounds, both included, else AtRisk. Such as stayBetween: {lower: 20, upper: 30}.
    StayBetween(StayBetween),
    /// Only observed, to learn what a good target would be: InProgress from the first value on. Write baseline: {}.
    Baseline(Baseline),
}

/// The value is the progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Percent {}

/// From nothing to a target.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("double(self.target) > 0.0")
    .message("reach: target must be above 0; to go down use decrease"))]
pub struct Reach {
    /// The value to reach, above 0: an integer or a quoted decimal, such as 5000 or "99.95".
    pub target: Decimal,
}

/// From one value up to another.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("double(self.target) > double(self.from)")
    .message("increase: target must be above from (compared as doubles: values that agree in their first 15 digits count as equal); to go down use decrease"))]
pub struct Increase {
    /// The value at the start: an integer or a quoted decimal, such as 5000 or "99.95".
    pub from: Decimal,
    /// The value to reach, above from: an integer or a quoted decimal.
    pub target: Decimal,
}

/// From one value down to another.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("double(self.target) < double(self.from)")
    .message("decrease: target must be below from (compared as doubles: values that agree in their first 15 digits count as equal); to go up use increase"))]
pub struct Decrease {
    /// The value at the start: an integer or a quoted decimal, such as 5000 or "99.95".
    pub from: Decimal,
    /// The value to reach, below from: an integer or a quoted decimal.
    pub target: Decimal,
}

/// On track while below the target.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.riskThreshold) || double(self.riskThreshold) > double(self.target)")
    .message("stayBelow: riskThreshold must be above target (compared as doubles: values that agree in their first 15 digits count as equal)"))]
pub struct StayBelow {
    /// OnTrack below this value: an integer or a quoted decimal, such as 250 or "99.95".
    pub target: Decimal,
    /// Behind from the target up to below this value, AtRisk from it on; above target: an integer or a quoted decimal. Default: AtRisk from the target on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_threshold: Option<Decimal>,
}

/// On track while above the target.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.riskThreshold) || double(self.riskThreshold) < double(self.target)")
    .message("stayAbove: riskThreshold must be below target (compared as doubles: values that agree in their first 15 digits count as equal)"))]
pub struct StayAbove {
    /// OnTrack above this value: an integer or a quoted decimal, such as 250 or "99.95".
    pub target: Decimal,
    /// Behind from the target down to above this value, AtRisk from it down; below target: an integer or a quoted decimal. Default: AtRisk from the target down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk_threshold: Option<Decimal>,
}

/// On track while between two bounds, both included.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("double(self.lower) < double(self.upper) || string(self.lower) == string(self.upper)")
    .message("stayBetween: lower must not be above upper (compared as doubles: write equal bounds alike, values that agree in their first 15 digits count as equal)"))]
pub struct StayBetween {
    /// The lowest value that is OnTrack: an integer or a quoted decimal, such as 20 or "99.95".
    pub lower: Decimal,
    /// The highest value that is OnTrack, not below lower: an integer or a quoted decimal.
    pub upper: Decimal,
}

/// Only observed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {}

/// The query that provides the value.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BigQuerySource {
    /// The BigQueryConnection to use. Default: the only one of this namespace, or the only one with default: true; if it has none, the same among those shared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionRef>,
    /// One GoogleSQL SELECT that returns one row with one number, at most 32 KiB. It may use @period_start, @period_end and @today (DATE), @now (TIMESTAMP) and the names in parameters.
    #[schemars(length(min = 1, max = 32768))]
    // maxLength counts characters.
    #[x_kube(validation = Rule::new("size(bytes(self)) <= 32768").message("query must be at most 32 KiB (32768 bytes)"))]
    #[x_kube(validation = Rule::new("self.trim() != ''").message("query is empty: write one GoogleSQL SELECT"))]
    pub query: String,
    /// Values that the query uses by name, such as {name: kind, type: STRING, value: PARTNER} for @kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    // BigQuery does not tell upper from lower case.
    #[x_kube(validation = Rule::new("self.all(p, self.exists_one(q, q.name.lowerAscii() == p.name.lowerAscii()))")
        .message("names must differ by more than upper and lower case"))]
    pub parameters: Vec<Parameter>,
}

/// A `BigQueryConnection`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionRef {
    /// The connection's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The connection's namespace. Default: that of the key result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// A named parameter of the query: @name.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("!(self.name.lowerAscii() in ['period_start', 'period_end', 'today', 'now'])")
    .message("period_start, period_end, today and now are built in: choose another parameter name"))]
pub struct Parameter {
    /// The name, without @: letters, digits and underscores. period_start, period_end, today and now are built in.
    #[schemars(length(min = 1, max = 128), regex(pattern = form::PARAMETER.pattern))]
    pub name: String,
    /// The BigQuery type: STRING, INT64, FLOAT64, NUMERIC, BIGNUMERIC, BOOL, DATE, DATETIME or TIMESTAMP.
    #[serde(rename = "type")]
    pub kind: ParameterType,
    /// The value as BigQuery writes it; always a string, so quote numbers: "42".
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// The BigQuery type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParameterType {
    #[serde(rename = "STRING")]
    String,
    #[serde(rename = "INT64")]
    Int64,
    #[serde(rename = "FLOAT64")]
    Float64,
    #[serde(rename = "NUMERIC")]
    Numeric,
    #[serde(rename = "BIGNUMERIC")]
    BigNumeric,
    #[serde(rename = "BOOL")]
    Bool,
    #[serde(rename = "DATE")]
    Date,
    #[serde(rename = "DATETIME")]
    DateTime,
    #[serde(rename = "TIMESTAMP")]
    Timestamp,
}

impl ParameterType {
    /// The type's name in GoogleSQL.
    pub fn name(self) -> &'static str {
        match self {
            ParameterType::String => "STRING",
            ParameterType::Int64 => "INT64",
            ParameterType::Float64 => "FLOAT64",
            ParameterType::Numeric => "NUMERIC",
            ParameterType::BigNumeric => "BIGNUMERIC",
            ParameterType::Bool => "BOOL",
            ParameterType::Date => "DATE",
            ParameterType::DateTime => "DATETIME",
            ParameterType::Timestamp => "TIMESTAMP",
        }
    }
}

/// A value checked in by people.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manual {
    /// The value: an integer or a quoted decimal, such as 5000 or "99.95".
    pub value: Decimal,
    /// The day on which the value was true, such as 2026-11-15; it counts from 00:00 in the period's time zone.
    pub as_of: Date,
    /// Where the value comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub note: Option<String>,
    /// How long the value counts as fresh after 00:00 of asOf, in hours, minutes and seconds such as 720h; at least 1m. Default: 336h (two weeks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("must be at least 1m"))]
    pub valid_for: Option<Duration>,
}

/// What progress is expected when.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("self.phases.map(p, p.date).isSorted() && self.phases.all(p, self.phases.exists_one(q, q.date == p.date))")
    .message("the dates of expected.phases must be strictly ascending"))]
pub struct Expected {
    /// Values expected on days between startDate and endDate, 1 to 24, in the order of their dates; straight lines join them with the start and the target.
    #[schemars(length(min = 1, max = 24))]
    pub phases: Vec<Phase>,
}

/// A value expected on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// The day, after the period's startDate and before its endDate, such as 2026-11-15.
    pub date: Date,
    /// The value (no percentage) expected on that day: an integer or a quoted decimal, such as 30 or "99.95".
    pub target: Decimal,
}

/// Gaps between expected and actual progress, in percentage points.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.behind) || !has(self.atRisk) || double(self.behind) < double(self.atRisk) || string(self.behind) == string(self.atRisk)")
    .message("thresholds.behind must not be above thresholds.atRisk (compared as doubles: write equal ones alike, values that agree in their first 15 digits count as equal)"))]
pub struct Thresholds {
    /// Behind when progress lies further than this behind expected progress, in percentage points, at least 0: an integer or a quoted decimal. Default: the operator's --behind-threshold, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("double(self) >= 0.0").message("must not be below 0"))]
    pub behind: Option<Decimal>,
    /// AtRisk when progress lies further than this behind expected progress, in percentage points, not below behind: an integer or a quoted decimal. Default: the operator's --at-risk-threshold, else 25.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("double(self) >= 0.0").message("must not be below 0"))]
    pub at_risk: Option<Decimal>,
}

/// Whether a key result or an objective is worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Lifecycle {
    #[default]
    Active,
    Closed,
    Postponed,
}

/// A manual check-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckIn {
    /// The status that counts: OnTrack, Behind or AtRisk.
    pub okr_status: OverrideStatus,
    /// Why a person knows better than the numbers.
    #[schemars(length(min = 1, max = 1024))]
    pub note: String,
    /// The last day on which the override counts, such as 2026-11-15.
    pub until: Date,
}

/// The statuses that a person may check in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OverrideStatus {
    OnTrack,
    Behind,
    AtRisk,
}

/// A link for readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// What the link leads to.
    #[schemars(length(min = 1, max = 253))]
    pub title: String,
    /// An https address, such as https://example.com/plan.
    #[schemars(length(max = 2048), regex(pattern = form::HTTPS.pattern))]
    pub url: String,
}

/// How a key result or an objective stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OkrStatus {
    NotStarted,
    InProgress,
    OnTrack,
    Behind,
    AtRisk,
    Postponed,
    Closed,
}

impl OkrStatus {
    /// The name in status, events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            OkrStatus::NotStarted => "NotStarted",
            OkrStatus::InProgress => "InProgress",
            OkrStatus::OnTrack => "OnTrack",
            OkrStatus::Behind => "Behind",
            OkrStatus::AtRisk => "AtRisk",
            OkrStatus::Postponed => "Postponed",
            OkrStatus::Closed => "Closed",
        }
    }
}

impl From<OverrideStatus> for OkrStatus {
    fn from(status: OverrideStatus) -> Self {
        match status {
            OverrideStatus::OnTrack => OkrStatus::OnTrack,
            OverrideStatus::Behind => OkrStatus::Behind,
            OverrideStatus::AtRisk => OkrStatus::AtRisk,
        }
    }
}

/// What was measured and decided.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How it stands: NotStarted, InProgress, OnTrack, Behind, AtRisk, Postponed or Closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub okr_status: Option<OkrStatus>,
    /// Since when it stands so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub okr_status_since: Option<Time>,
    /// How it stands by its numbers alone, whatever a check-in or the lifecycle say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_status: Option<OkrStatus>,
    /// The last good value, exactly as BigQuery wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// When the value was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_time: Option<Time>,
    /// The target in words, such as 5000, 10 to 20 or 100 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_text: Option<String>,
    /// Progress in percent, rounded half-even to two places for show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_percent: Option<String>,
    /// The progress expected today, in percent, rounded half-even to two places for show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_progress_percent: Option<String>,
    /// Progress from 0 to 1, rounded half-even to two places for show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<String>,
    /// How the status follows from the numbers, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// The connection in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionChoice>,
    /// What the value came from: a hash of query, parameters, connection and, where the query mentions it, period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_fingerprint: Option<String>,
    /// The queryFingerprint of the last attempt, good or bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted_fingerprint: Option<String>,
    /// The end of the last attempt, good or bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    /// When the next attempt is planned; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_sync_time: Option<Time>,
    /// The okr-operator.dev/refresh annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_refresh: Option<String>,
    /// The reconcile.fluxcd.io/requestedAt annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// How many attempts have failed since the last good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_failures: Option<u32>,
    /// The BigQuery job that gave the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_query: Option<LastQuery>,
    /// Past values, oldest first; the last is the present one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 120), extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryPoint>,
    /// The kind of measure, start value and unit that the history was recorded for; another clears it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_of: Option<String>,
    /// Where the history leads if it goes on as it did; absent where that would be a guess. It is never part of the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// Ready, OnTrack and Fresh, and Stalled or Reconciling while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The connection in use. It is kept while it stays usable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionChoice {
    /// The connection's namespace.
    pub namespace: String,
    /// The connection's name.
    pub name: String,
    /// The connection's uid: another object of the same name is another connection.
    pub uid: String,
}

/// The BigQuery job that gave the value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastQuery {
    /// The job's id, as BigQuery's console shows it. Absent where BigQuery made no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,
    /// Where the job ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Bytes that the query read.
    pub bytes_processed: u64,
    /// Whether the answer came from BigQuery's query cache.
    pub cache_hit: bool,
    /// From sending the query to its answer, in milliseconds.
    pub duration_ms: u64,
}

/// A past value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryPoint {
    /// When the value was read.
    pub time: Time,
    /// The value, exactly as BigQuery wrote it.
    pub value: String,
}

/// Where the history leads if it goes on as it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// The value to expect at the end of the period's last day, rounded for show.
    pub end_value: String,
    /// endValue as progress in percent, rounded half-even to two places for show. Absent for measures that have no way to a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_progress_percent: Option<String>,
    /// The day on which the target is reached. Absent where that is not before the end of the period, or where there is no way to a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaches_target_on: Option<Date>,
    /// How it was computed: TheilSen, the median of the slopes between all pairs of points.
    pub method: ForecastMethod,
}

/// How a forecast is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForecastMethod {
    TheilSen,
}
