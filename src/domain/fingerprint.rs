//! What a value came from, as one short text: another fingerprint means another query.

use crate::api::{BigQueryConnectionSpec, BigQuerySource, Period};

use super::{hash, parameters};

/// A hash of query, parameters, the connection's uid, project, location and dataset; of the period's dates if the query
/// mentions them, and of its time zone if it mentions @today. 32 hexadecimal digits.
pub fn of(
    source: &BigQuerySource,
    period: Option<&Period>,
    connection_uid: &str,
    connection: &BigQueryConnectionSpec,
) -> String {
    let mentioned = parameters::mentioned(&source.query);
    let date = |name: &str, pick: fn(&Period) -> String| {
        period.filter(|_| mentioned.contains(name)).map(pick).unwrap_or_default()
    };
    let mut parts: Vec<String> = vec![
        connection_uid.to_owned(),
        connection.project_id.clone(),
        connection.location.clone().unwrap_or_default(),
        connection.default_dataset.clone().unwrap_or_default(),
        date("period_start", |period| period.start_date.to_string()),
        date("period_end", |period| period.end_date.to_string()),
        date("today", |period| period.time_zone.clone().unwrap_or_else(|| "UTC".to_owned())),
        source.query.clone(),
    ];
    for parameter in &source.parameters {
        parts.extend([parameter.name.clone(), parameter.kind.name().to_owned(), parameter.value.clone()]);
    }
    hash::hex(&parts.iter().map(String::as_str).collect::<Vec<_>>(), 32)
}
