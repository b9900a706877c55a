//! One view of "something measured", whatever kind of object it is.

use kube::{Resource, ResourceExt};

use crate::api::{
    BigQuerySource, CheckIn, Duration, Expected, Lifecycle, Manual, Measure, MeasuredStatus, OkrKeyResult, Period,
    RECONCILE_AT_ANNOTATION, REFRESH_ANNOTATION, Thresholds,
};

/// What the decisions about a value, its progress and its status are made from.
///
/// A key result is one caller; an objective with a query of its own will be a second.
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

/// Why an object cannot be decided: the API server would refuse it today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither bigQuery nor manual is set: set exactly one of them")]
pub struct NoSource;

/// SPEC 2: a query runs every hour unless told otherwise.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(3600);

/// The status of an object that has none.
static NO_STATUS: std::sync::LazyLock<MeasuredStatus> = std::sync::LazyLock::new(MeasuredStatus::default);

impl<'a> TryFrom<&'a OkrKeyResult> for Measured<'a> {
    type Error = NoSource;

    fn try_from(key_result: &'a OkrKeyResult) -> Result<Self, NoSource> {
        let spec = &key_result.spec;
        let annotation = |name: &str| key_result.annotations().get(name).map(String::as_str);
        let source = match (&spec.big_query, &spec.manual) {
            (Some(big_query), _) => Source::BigQuery(big_query),
            (None, Some(manual)) => Source::Manual(manual),
            (None, None) => return Err(NoSource),
        };
        Ok(Self {
            namespace: key_result.meta().namespace.as_deref().unwrap_or_default(),
            name: key_result.meta().name.as_deref().unwrap_or_default(),
            uid: key_result.meta().uid.as_deref().unwrap_or_default(),
            generation: key_result.meta().generation.unwrap_or_default(),
            refresh: annotation(REFRESH_ANNOTATION),
            reconcile_at: annotation(RECONCILE_AT_ANNOTATION),
            measure: &spec.measure,
            unit: spec.unit.as_deref(),
            source,
            period: spec.period.as_ref(),
            interval: spec.interval.unwrap_or(DEFAULT_INTERVAL),
            expected: spec.expected.as_ref(),
            thresholds: spec.thresholds.as_ref(),
            lifecycle: spec.lifecycle.unwrap_or_default(),
            check_in: spec.check_in.as_ref(),
            suspended: spec.suspend == Some(true),
            status: key_result.status.as_ref().unwrap_or(&NO_STATUS),
        })
    }
}
