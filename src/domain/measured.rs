//! One view of "something measured", whatever kind of object it is.

use kube::{Resource, ResourceExt};

use crate::api::{
    BigQuerySource, CheckIn, Duration, Expected, Lifecycle, Manual, Measure, MeasuredStatus, ObjectiveRef,
    OkrKeyResult, OkrObjective, Period, RECONCILE_AT_ANNOTATION, REFRESH_ANNOTATION, Thresholds,
};

use super::objective::ObjectiveProblem;

/// What the decisions about a value, its progress and its status are made from: a key result, or an objective with a
/// measure of its own.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub generation: i64,
    /// The `okr-operator.dev/refresh` annotation.
    pub refresh: Option<&'a str>,
    /// The `reconcile.fluxcd.io/requestedAt` annotation.
    pub reconcile_at: Option<&'a str>,
    /// The objective it counts for: `objectiveRef` of a key result, `parentRef` of an objective.
    pub objective: Option<&'a ObjectiveRef>,
    /// What is wrong with that reference. None as built from the object: who knows the objectives sets it.
    pub objective_problem: Option<ObjectiveProblem>,
    /// How many key results and objectives refer to it without counting, because it has a measure of its own. 0 as built
    /// from the object: who knows them sets it.
    pub idle_children: usize,
    pub measure: &'a Measure,
    pub unit: Option<&'a str>,
    pub source: Source<'a>,
    pub period: Option<&'a Period>,
    pub interval: Duration,
    pub expected: Option<&'a Expected>,
    pub thresholds: Option<&'a Thresholds>,
    pub lifecycle: Lifecycle,
    pub check_in: Option<&'a CheckIn>,
    pub suspended: bool,
    /// As it was last written. Others may write into it, so nothing in it is trusted to be well formed.
    pub status: &'a MeasuredStatus,
}

/// Where the value comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    BigQuery(&'a BigQuerySource),
    Manual(&'a Manual),
}

/// Why an object has no value of its own to decide about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotMeasured {
    /// The API server would refuse it today.
    #[error("neither bigQuery nor manual is set: set exactly one of them")]
    NoSource,
    /// An objective that is rolled up.
    #[error("the objective has no measure of its own")]
    RolledUp,
}

/// SPEC 2: a query runs every hour unless told otherwise.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(3600);

/// The status of an object that has none.
static NO_STATUS: std::sync::LazyLock<MeasuredStatus> = std::sync::LazyLock::new(MeasuredStatus::default);

/// Both kinds name their fields alike, but are two types.
macro_rules! measured {
    ($object:expr, $measure:expr, $objective:expr, $status:expr) => {{
        let (meta, spec) = ($object.meta(), &$object.spec);
        let annotation = |name: &str| $object.annotations().get(name).map(String::as_str);
        let source = match (&spec.big_query, &spec.manual) {
            (Some(big_query), _) => Source::BigQuery(big_query),
            (None, Some(manual)) => Source::Manual(manual),
            (None, None) => return Err(NotMeasured::NoSource),
        };
        Ok(Self {
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            name: meta.name.as_deref().unwrap_or_default(),
            uid: meta.uid.as_deref().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            refresh: annotation(REFRESH_ANNOTATION),
            reconcile_at: annotation(RECONCILE_AT_ANNOTATION),
            objective: $objective.as_ref(),
            objective_problem: None,
            idle_children: 0,
            measure: $measure,
            unit: spec.unit.as_deref(),
            source,
            period: spec.period.as_ref(),
            interval: spec.interval.unwrap_or(DEFAULT_INTERVAL),
            expected: spec.expected.as_ref(),
            thresholds: spec.thresholds.as_ref(),
            lifecycle: spec.lifecycle.unwrap_or_default(),
            check_in: spec.check_in.as_ref(),
            suspended: spec.suspend == Some(true),
            status: $status.unwrap_or(&NO_STATUS),
        })
    }};
}

impl<'a> TryFrom<&'a OkrKeyResult> for Measured<'a> {
    type Error = NotMeasured;

    fn try_from(key_result: &'a OkrKeyResult) -> Result<Self, NotMeasured> {
        measured!(key_result, &key_result.spec.measure, key_result.spec.objective_ref, key_result.status.as_ref())
    }
}

impl<'a> TryFrom<&'a OkrObjective> for Measured<'a> {
    type Error = NotMeasured;

    fn try_from(objective: &'a OkrObjective) -> Result<Self, NotMeasured> {
        let measure = objective.spec.measure.as_ref().ok_or(NotMeasured::RolledUp)?;
        let status = objective.status.as_ref().map(|status| &status.measured);
        measured!(objective, measure, objective.spec.parent_ref, status)
    }
}
