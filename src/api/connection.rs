//! `BigQueryConnection`: a named way to BigQuery, with whom it may be shared and what it may cost.
// The lint takes the columns of one derive for one another.
#![allow(clippy::duplicated_attributes)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Condition, Duration, Time, form};

/// A named connection to BigQuery: the project, the identity that queries run as, who may use it and what it may cost.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "okr-operator.dev",
    version = "v1alpha1",
    kind = "BigQueryConnection",
    plural = "bigqueryconnections",
    shortname = "bqc",
    category = "okr",
    namespaced,
    status = "BigQueryConnectionStatus",
    derive = "PartialEq",
    doc = "BigQueryConnection names a way to BigQuery: the project, the identity that queries run as, who may use it and what it may cost.",
    printcolumn(name = "Display Name", type_ = "string", json_path = ".spec.displayName"),
    printcolumn(name = "Project", type_ = "string", json_path = ".spec.projectId"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Linked", type_ = "integer", json_path = ".status.linkedKeyResults"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Principal", type_ = "string", priority = 1, json_path = ".status.principal"),
    printcolumn(name = "Bytes Today", type_ = "integer", priority = 1, json_path = ".status.bytesToday")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.credentials.none) || (has(self.endpoint) && self.endpoint.startsWith('http://'))")
    .message("credentials.none is for plain-http endpoints only: set endpoint to http://HOST:PORT, or give credentials"))]
#[x_kube(validation = Rule::new("!has(self.impersonate) || !has(self.credentials.none)")
    .message("impersonate needs credentials that may act as the account: it does not go with credentials.none"))]
pub struct BigQueryConnectionSpec {
    /// The name people see. Default: the object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub display_name: Option<String>,
    /// What this connection is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
    /// The id of the Google Cloud project that holds the data, such as my-project-123.
    #[schemars(length(min = 1, max = 64), regex(pattern = form::PROJECT.pattern))]
    pub project_id: String,
    /// The id of the project in which jobs run and are paid; the identity needs roles/bigquery.jobUser there. Default: projectId.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = form::PROJECT.pattern))]
    pub billing_project_id: Option<String>,
    /// Where jobs run, such as EU or europe-west1. Default: BigQuery finds it from the tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = form::LOCATION.pattern))]
    pub location: Option<String>,
    /// The dataset of tables named without one: DATASET (in projectId) or PROJECT.DATASET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1090), regex(pattern = form::DATASET.pattern))]
    pub default_dataset: Option<String>,
    /// The identity that queries run as: exactly one of serviceAccountKey, workloadIdentity, externalAccount and none. Such as serviceAccountKey: {secretRef: {name: warehouse, key: key.json}}.
    pub credentials: Credentials,
    /// Act as another service account, on top of the credentials; their identity needs roles/iam.serviceAccountTokenCreator on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impersonate: Option<Impersonate>,
    /// OAuth scopes beside that of BigQuery: drive.readonly for tables over Google Sheets. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub scopes: Vec<Scope>,
    /// Another BigQuery endpoint: scheme, host and port only, such as http://127.0.0.1:9050. Its host must be among the operator's --allowed-endpoints. Default: Google's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300), regex(pattern = form::ENDPOINT.pattern))]
    pub endpoint: Option<String>,
    /// Whose key results may use this connection; they may read what its account reads. Default: only those of its own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// True: preferred where several connections would do. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// What one query, one day and one moment may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// True: nothing is sent through this connection. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// The identity that queries run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Credentials {
    /// A Google service account's JSON key, kept in a Secret of the connection's namespace.
    ServiceAccountKey(ServiceAccountKey),
    /// The operator's own identity, from Google's metadata server. Only in namespaces of the operator's --ambient-identity-namespaces. Write workloadIdentity: {}.
    WorkloadIdentity(WorkloadIdentity),
    /// The operator's own identity in another cloud or cluster, by workload identity federation. Only in namespaces of the operator's --ambient-identity-namespaces.
    ExternalAccount(ExternalAccount),
    /// No credentials at all: for emulators behind a plain-http endpoint. Write none: {}.
    None(NoCredentials),
}

/// A Google service account's JSON key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountKey {
    /// The Secret and the key in its data that hold the JSON file.
    pub secret_ref: SecretKeyRef,
}

/// The operator's own identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkloadIdentity {}

/// Workload identity federation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAccount {
    /// The Secret and the key in its data that hold the JSON configuration that gcloud iam workload-identity-pools
    /// create-cred-config made. Its credential source must be a file in the operator's --external-account-folder.
    pub secret_ref: SecretKeyRef,
}

/// Another service account to act as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Impersonate {
    /// The account's e-mail address, such as okr-reader@my-project.iam.gserviceaccount.com.
    #[schemars(length(min = 3, max = 254), regex(pattern = form::ACCOUNT.pattern))]
    pub service_account: String,
}

/// No credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NoCredentials {}

/// One entry of a Secret in the connection's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// The name of the Secret, in the connection's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in the Secret's data that holds the credential, such as key.json.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// An OAuth scope beside that of BigQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    #[serde(rename = "drive.readonly")]
    DriveReadonly,
}

/// The namespaces whose key results may use a connection.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[x_kube(validation = Rule::new("(has(self.from) && self.from == 'Selector') == has(self.selector)")
    .message("selector goes with from: Selector, and only with it"))]
#[x_kube(validation = Rule::new("!has(self.selector) || !has(self.selector.matchExpressions) || self.selector.matchExpressions.all(e, \
    e.operator in ['In', 'NotIn'] ? has(e.values) && size(e.values) > 0 : e.operator in ['Exists', 'DoesNotExist'] && !(has(e.values) && size(e.values) > 0))")
    .message("selector.matchExpressions: operator must be In or NotIn, with values, or Exists or DoesNotExist, without"))]
pub struct AllowedNamespaces {
    /// Same (the object's own namespace), All, or Selector (namespaces whose labels match selector). Default: Same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<NamespacesFrom>,
    /// The labels of the namespaces admitted, with from: Selector and only then, such as {matchLabels: {team: sales}}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Where admitted namespaces are taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NamespacesFrom {
    #[default]
    Same,
    All,
    Selector,
}

/// What one query, one day and one moment may take.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// A query that would bill more bytes fails without cost: a quantity above 0, such as 500M, 10Gi or 1.5Ti. Default: 10Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("string(self).matches('[1-9]')").message("must be above 0 bytes; to send no query set suspend: true"))]
    pub maximum_bytes_billed: Option<Bytes>,
    /// Once the queries of a day (UTC) have billed this many bytes, none is sent until the next day: a quantity above 0, such as 100Gi. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("string(self).matches('[1-9]')").message("must be above 0 bytes; to send no query set suspend: true"))]
    pub maximum_bytes_per_day: Option<Bytes>,
    /// How many queries may run at the same time; from 1 to 1000. Default: 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent_queries: Option<u32>,
    /// How long a query may run before it is cancelled, such as 90s; from 1s to 10m. Default: 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('10m')")
        .message("must be from 1s to 10m"))]
    pub query_timeout: Option<Duration>,
    /// The shortest interval of a key result; a shorter one is raised to this. From 1m to 168h, such as 15m. Default: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')")
        .message("must be from 1m to 168h"))]
    pub min_interval: Option<Duration>,
}

/// What the operator found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BigQueryConnectionStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, and Stalled or Reconciling while they are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The service account that queries run as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// How many key results use this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linked_key_results: Option<u32>,
    /// Bytes billed since 00:00 UTC of the day of lastCheckTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_today: Option<u64>,
    /// When the connection was last proven, by its own check or by a query that worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check_time: Option<Time>,
    /// The okr-operator.dev/refresh annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_refresh: Option<String>,
    /// The reconcile.fluxcd.io/requestedAt annotation that was last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

impl BigQueryConnectionSpec {
    /// `limits`, with SPEC's defaults for what is not set.
    pub fn maximum_bytes_billed(&self) -> Bytes {
        self.limit(|limits| limits.maximum_bytes_billed).unwrap_or(Bytes(10 << 30))
    }

    pub fn maximum_bytes_per_day(&self) -> Option<Bytes> {
        self.limit(|limits| limits.maximum_bytes_per_day)
    }

    pub fn max_concurrent_queries(&self) -> usize {
        self.limit(|limits| limits.max_concurrent_queries).unwrap_or(8) as usize
    }

    pub fn query_timeout(&self) -> Duration {
        self.limit(|limits| limits.query_timeout).unwrap_or(Duration::from_secs(60))
    }

    pub fn min_interval(&self) -> Duration {
        self.limit(|limits| limits.min_interval).unwrap_or(Duration::from_secs(300))
    }

    pub fn is_suspended(&self) -> bool {
        self.suspend == Some(true)
    }

    fn limit<T>(&self, pick: impl Fn(&Limits) -> Option<T>) -> Option<T> {
        self.limits.as_ref().and_then(pick)
    }
}
