//! Where `domain` and `bigquery` meet: what a key result asks as BigQuery is asked it, and what came back as the decisions
//! take it. Sends nothing. For the operator, and for `kubectl okr check --run`, which is to say the same without a cluster.

use jiff::Timestamp;

use crate::{
    api::{BigQueryConnection, BigQueryConnectionSpec, BigQuerySource, Credentials, LastQuery, Scope, Time},
    bigquery::{self, Destination, Endpoint},
    domain::{
        Measured, calendar,
        connection::{ConnectionReason, Verdict},
        labels, parameters,
        status::Outcome,
    },
};

pub mod reasons;

/// The query of `measured` at `now`. None where its time zone does not exist.
pub fn query<'a>(
    measured: &Measured<'_>,
    source: &'a BigQuerySource,
    connection: &BigQueryConnection,
    now: Timestamp,
) -> Option<bigquery::Query<'a>> {
    let zone = calendar::zone(measured.period)?;
    // Whole seconds are enough for anybody, and give the query cache a chance within one.
    let Time(now_in_seconds) = calendar::whole_seconds(now);
    let parameters = parameters::bind(source, measured.period, calendar::day(now, &zone), now_in_seconds);
    let parameter = |bound: parameters::Bound| bigquery::Parameter {
        name: bound.name,
        kind: bound.kind.name(),
        value: bound.value,
    };
    Some(bigquery::Query {
        sql: &source.query,
        parameters: parameters.into_iter().map(parameter).collect(),
        labels: labels::of(measured.namespace, measured.name),
        maximum_bytes_billed: connection.spec.maximum_bytes_billed().0,
        timeout: connection.spec.query_timeout().into(),
    })
}

/// The outcome of a query that was answered.
pub fn measured(answer: bigquery::Answer) -> Outcome {
    let bigquery::Answer { value, kind: _, job } = answer;
    let bigquery::Job { job_id, location, bytes_processed, cache_hit, duration } = job;
    Outcome::Measured {
        value,
        query: LastQuery {
            job_id: Some(job_id).filter(|id| !id.is_empty()),
            location,
            bytes_processed,
            cache_hit,
            duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        },
    }
}

/// The server of a connection. Which hosts are allowed is for the caller to say, in `allow`.
pub fn destination(
    spec: &BigQueryConnectionSpec,
    allow: impl FnOnce(&str, &Endpoint) -> Result<(), Verdict>,
) -> Result<Destination, Verdict> {
    let refused = |message: String| Verdict::new(ConnectionReason::EndpointNotAllowed, message);
    let endpoint = match &spec.endpoint {
        None => Endpoint::google(),
        Some(text) => {
            let endpoint =
                Endpoint::parse(text).map_err(|error| refused(format!("spec.endpoint cannot be used: {error}.")))?;
            allow(text, &endpoint)?;
            if endpoint.is_exposed() && !matches!(spec.credentials, Credentials::None(_)) {
                return Err(refused(format!(
                    "spec.endpoint {text} is plain http: credentials are sent over https only, but to this very machine."
                )));
            }
            endpoint
        }
    };
    let dataset = spec.default_dataset.as_deref().map(|text| bigquery::DatasetRef::parse(text, &spec.project_id));
    let default_dataset = dataset.transpose().map_err(|error| {
        Verdict::new(ConnectionReason::ProjectNotFound, format!("spec.defaultDataset cannot be used: {error}."))
    })?;
    Ok(Destination {
        endpoint,
        project_id: spec.project_id.clone(),
        billing_project_id: spec.billing_project_id.clone().unwrap_or_else(|| spec.project_id.clone()),
        location: spec.location.clone(),
        default_dataset,
    })
}

/// What a connection's tokens are good for.
pub fn scopes(more: &[Scope]) -> Vec<String> {
    let more = more.iter().map(|scope| match scope {
        Scope::DriveReadonly => bigquery::SCOPE_DRIVE,
    });
    std::iter::once(bigquery::SCOPE).chain(more).map(str::to_owned).collect()
}
