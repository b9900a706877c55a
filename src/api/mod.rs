//! The custom resources: what people write and read, and nothing else. No decision is made here.
//!
//! The Rust types are the one source of the CRDs in `crds/` (see [`crd`]).

mod connection;
mod form;
mod key_result;
mod measured;
mod name;
mod objective;
mod value;

pub mod crd;

pub use connection::{
    AllowedNamespaces, BigQueryConnection, BigQueryConnectionSpec, BigQueryConnectionStatus, Credentials,
    ExternalAccount, Impersonate, Limits, NamespacesFrom, NoCredentials, Scope, SecretKeyRef, ServiceAccountKey,
    WorkloadIdentity,
};
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
pub use key_result::{OkrKeyResult, OkrKeyResultSpec};
pub use measured::{
    Baseline, BigQuerySource, CheckIn, ConnectionChoice, ConnectionRef, Decrease, Expected, Forecast, ForecastMethod,
    HistoryPoint, Increase, LastQuery, Lifecycle, Link, Manual, Measure, MeasuredStatus, ObjectiveRef, OkrStatus,
    OverrideStatus, Parameter, ParameterType, Percent, Period, Phase, Reach, StayAbove, StayBelow, StayBetween,
    Thresholds,
};
pub use name::{is_dns_label, is_label_name};
pub use objective::{ChildStatus, ObjectiveStatus, OkrObjective, OkrObjectiveSpec, StatusFrom};
pub use value::{Bytes, Date, Decimal, Duration, ValueError};

/// The API group of every kind.
pub const GROUP: &str = "okr-operator.dev";

/// Asks for one sync when its value differs from `status.lastHandledRefresh`.
pub const REFRESH_ANNOTATION: &str = "okr-operator.dev/refresh";

/// Flux's request for one sync, echoed in `status.lastHandledReconcileAt`.
pub const RECONCILE_AT_ANNOTATION: &str = "reconcile.fluxcd.io/requestedAt";
