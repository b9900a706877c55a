//! The shape of BigQuery's answers, and which of them is one finite number.

use std::time::Duration;

use reqwest::Response;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::{Error, ErrorKind, ErrorProto};

/// One number is asked for; an answer with two rows of it is below a kilobyte.
const LARGEST_BODY: usize = 1024 * 1024;

/// The body of an answer; None where it is larger than 1 MiB: the rest is not waited for.
pub(super) async fn read(mut response: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > LARGEST_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// What a dry run promises: one numeric column, within the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DryRun {
    pub bytes_processed: u64,
}

/// One finite number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Exactly as BigQuery wrote it: `-?D(.D)?`, for FLOAT64 also with an exponent.
    pub value: String,
    /// The column's type as BigQuery names it, such as `INTEGER` or `FLOAT`.
    pub kind: String,
    pub job: Job,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub job_id: String,
    pub location: Option<String>,
    pub bytes_processed: u64,
    pub cache_hit: bool,
    /// From the request to the answer, polls included.
    pub duration: Duration,
}

/// The answer of jobs.query and of jobs.getQueryResults.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryAnswer {
    pub job_reference: JobReference,
    pub job_complete: bool,
    location: Option<String>,
    /// Given by the service, though not in its reference of getQueryResults.
    statement_type: Option<String>,
    schema: Option<Schema>,
    #[serde(default, deserialize_with = "count")]
    total_rows: u64,
    #[serde(default)]
    rows: Vec<Row>,
    #[serde(default, deserialize_with = "count")]
    total_bytes_processed: u64,
    #[serde(default)]
    cache_hit: bool,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobReference {
    pub job_id: String,
    pub location: Option<String>,
}

/// The answer of jobs.insert to a dry run.
#[derive(Deserialize)]
pub(super) struct DryRunAnswer {
    statistics: Statistics,
    status: Option<JobStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    #[serde(default, deserialize_with = "count")]
    total_bytes_processed: u64,
    query: Option<QueryStatistics>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueryStatistics {
    statement_type: Option<String>,
    schema: Option<Schema>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JobStatus {
    error_result: Option<ErrorProto>,
}

/// `{}` where a statement has no result.
#[derive(Deserialize)]
struct Schema {
    #[serde(default)]
    fields: Vec<Field>,
}

#[derive(Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    mode: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    f: Vec<Cell>,
}

/// A text, null, or for nested types an object or a list.
#[derive(Deserialize)]
struct Cell {
    v: Value,
}

/// The only types whose value is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Integer,
    Decimal,
    Float,
}

impl DryRunAnswer {
    pub(super) fn judge(self, maximum_bytes: u64) -> Result<DryRun, Error> {
        if let Some(error) = self.status.and_then(|status| status.error_result) {
            return Err(Error::from_job(&error));
        }
        let bytes_processed = self.statistics.total_bytes_processed;
        let QueryStatistics { statement_type, schema } = self.statistics.query.unwrap_or_default();
        column(statement_type.as_deref(), schema)?;
        if bytes_processed > maximum_bytes {
            let detail = format!("it would read {bytes_processed} bytes, its limit is {maximum_bytes}");
            return Err(Error::new(ErrorKind::OverByteLimit, &detail));
        }
        Ok(DryRun { bytes_processed })
    }
}

impl QueryAnswer {
    /// Judges the schema too: a routine run had no dry run before it, and a table may have changed since.
    pub(super) fn judge(self, duration: Duration) -> Result<Answer, Error> {
        let job = self.job(duration);
        match number(self.statement_type.as_deref(), self.schema, self.total_rows, self.rows) {
            Ok((kind, value)) => Ok(Answer { value, kind, job }),
            Err(error) => Err(Error { job: Some(Box::new(job)), ..error }),
        }
    }

    /// What is left of it where the query was given up while it ran.
    pub(super) fn unwanted(&self, duration: Duration) -> Error {
        Error { job: Some(Box::new(self.job(duration))), ..ErrorKind::Cancelled.into() }
    }

    fn job(&self, duration: Duration) -> Job {
        let JobReference { job_id, location } = self.job_reference.clone();
        Job {
            job_id,
            location: location.or_else(|| self.location.clone()),
            bytes_processed: self.total_bytes_processed,
            cache_hit: self.cache_hit,
            duration,
        }
    }
}

/// The column's type and the one value in it.
fn number(
    statement_type: Option<&str>,
    schema: Option<Schema>,
    total_rows: u64,
    rows: Vec<Row>,
) -> Result<(String, String), Error> {
    let (kind, number) = column(statement_type, schema)?;
    let value = single_value(total_rows, rows)?;
    check_number(number, &value)?;
    Ok((kind, value))
}

/// The one column's type, in words and as a kind of number. Without a statement type (an emulator may give none)
/// the schema alone is judged.
fn column(statement_type: Option<&str>, schema: Option<Schema>) -> Result<(String, Number), Error> {
    if let Some(other) = statement_type.filter(|kind| *kind != "SELECT") {
        let detail = format!("its statement type is {other}");
        return Err(Error::new(ErrorKind::NotSelect, &detail));
    }
    let mut fields = schema.map(|schema| schema.fields).unwrap_or_default();
    let Some(field) = fields.pop() else {
        // Every SELECT has a column.
        return Err(ErrorKind::NotSelect.into());
    };
    if !fields.is_empty() {
        let detail = format!("it has {} columns", fields.len() + 1);
        return Err(Error::new(ErrorKind::TooManyColumns, &detail));
    }
    field.numeric()
}

impl Field {
    fn numeric(self) -> Result<(String, Number), Error> {
        let Self { name, kind, mode } = self;
        let repeated = mode.as_deref() == Some("REPEATED");
        match Number::named(&kind) {
            Some(number) if !repeated => Ok((kind, number)),
            Some(_) | None => {
                let array = if repeated { "ARRAY of " } else { "" };
                let detail = format!("the type of column {name} is {array}{kind}");
                Err(Error::new(ErrorKind::NotNumeric, &detail))
            }
        }
    }
}

impl Number {
    /// REST answers use the names of legacy SQL, and accept those of GoogleSQL as the same.
    fn named(kind: &str) -> Option<Self> {
        match kind {
            "INTEGER" | "INT64" => Some(Self::Integer),
            "NUMERIC" | "BIGNUMERIC" => Some(Self::Decimal),
            "FLOAT" | "FLOAT64" => Some(Self::Float),
            _ => None,
        }
    }
}

fn single_value(total_rows: u64, mut rows: Vec<Row>) -> Result<String, Error> {
    if total_rows > 1 || rows.len() > 1 {
        return Err(ErrorKind::TooManyRows.into());
    }
    // The key `rows` is absent when there is none.
    let Some(mut row) = rows.pop() else {
        return Err(ErrorKind::NoRows.into());
    };
    match (row.f.pop().map(|cell| cell.v), row.f.is_empty()) {
        (Some(Value::String(text)), true) => Ok(text),
        (Some(Value::Null), true) => Err(ErrorKind::NullValue.into()),
        (Some(_) | None, _) => Err(Error::undecodable("the row does not fit its schema")),
    }
}

/// Refuses what BigQuery does not write. Whoever computes with the text exactly may then rely on its size:
/// an exponent of a billion would make a number of a billion digits.
fn check_number(number: Number, text: &str) -> Result<(), Error> {
    let valid = match number {
        Number::Integer => is_decimal(text) && text.parse::<i64>().is_ok(),
        Number::Decimal => is_decimal(text),
        Number::Float if matches!(text, "NaN" | "Infinity" | "-Infinity") => {
            return Err(ErrorKind::NotFinite.into());
        }
        Number::Float => is_float(text),
    };
    if !valid {
        return Err(Error::undecodable("the value is not a number as BigQuery writes one"));
    }
    Ok(())
}

/// 39 digits before the point and 38 after it: what BIGNUMERIC holds, the widest type.
fn is_decimal(text: &str) -> bool {
    let digits = |text: &str, most: usize| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole, 39) && digits(fraction, 38),
        None => digits(text, 39),
    }
}

fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    // Three digits of exponent and a finite value: what fits a double.
    is_decimal(mantissa)
        && (1..=3).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && text.parse().is_ok_and(f64::is_finite)
}

/// REST writes an int64 as a text, and leaves it out where there is nothing to count.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map_or(Ok(0), |text| text.parse().map_err(serde::de::Error::custom))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(kind: &str, text: &str, want: Result<(), ErrorKind>) {
        let number = Number::named(kind).unwrap();
        assert_eq!(check_number(number, text).map_err(|error| error.kind), want, "{kind} {text}");
    }

    #[test]
    fn integers_are_those_of_64_bits() {
        check("INT64", "42", Ok(()));
        check("INTEGER", "-9223372036854775808", Ok(()));
        check("INT64", "9223372036854775808", Err(ErrorKind::Undecodable));
        for text in ["1.9", "", "-", "+1", "1e3", "0x10", " 1", "1_000", "٣"] {
            check("INT64", text, Err(ErrorKind::Undecodable));
        }
    }

    #[test]
    fn decimals_are_plain() {
        check("NUMERIC", "99.95", Ok(()));
        check("NUMERIC", "-0.000000001", Ok(()));
        check("BIGNUMERIC", "578960446186580977117854925043439539266.34992332820282019728792003956564819967", Ok(()));
        for text in ["1e3", ".5", "5.", "1.2.3", "--1", "NaN", "", "1,5"] {
            check("NUMERIC", text, Err(ErrorKind::Undecodable));
        }
        check("BIGNUMERIC", &"9".repeat(40), Err(ErrorKind::Undecodable));
    }

    #[test]
    fn floats_may_have_an_exponent_but_must_be_finite() {
        for text in ["0.1", "-0.0", "42", "1.0E300", "1e+300", "1.5e-07", "4.9E-324"] {
            check("FLOAT64", text, Ok(()));
        }
        for text in ["NaN", "Infinity", "-Infinity"] {
            check("FLOAT", text, Err(ErrorKind::NotFinite));
        }
        for text in ["1e999", "1e-999999999", "1e", "e5", "1e+", "inf", "nan", "+Infinity", "1e5e5", "1.e5"] {
            check("FLOAT64", text, Err(ErrorKind::Undecodable));
        }
    }

    #[track_caller]
    fn judged(answer: Value) -> Result<String, ErrorKind> {
        let mut whole = json!({"jobReference": {"jobId": "j"}, "jobComplete": true});
        whole.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
        let answer: QueryAnswer = serde_json::from_value(whole).unwrap();
        answer.judge(Duration::ZERO).map(|answer| answer.value).map_err(|error| error.kind)
    }

    #[test]
    fn an_answer_is_one_row_of_one_number() {
        let schema = json!({"fields": [{"name": "a", "type": "INTEGER", "mode": "NULLABLE"}]});
        let judged = |rows| judged(json!({"schema": schema, "rows": rows}));
        assert_eq!(judged(json!([{"f": [{"v": "42"}]}])), Ok("42".to_owned()));
        assert_eq!(judged(json!([])), Err(ErrorKind::NoRows));
        assert_eq!(judged(json!([{"f": [{"v": null}]}])), Err(ErrorKind::NullValue));
        assert_eq!(judged(json!([{"f": [{"v": "1"}]}, {"f": [{"v": "2"}]}])), Err(ErrorKind::TooManyRows));
        assert_eq!(judged(json!([{"f": [{"v": "1"}, {"v": "2"}]}])), Err(ErrorKind::Undecodable));
        assert_eq!(judged(json!([{"f": []}])), Err(ErrorKind::Undecodable));
        assert_eq!(judged(json!([{"f": [{"v": {"f": []}}]}])), Err(ErrorKind::Undecodable));
        assert_eq!(judged(json!([{"f": [{"v": 42}]}])), Err(ErrorKind::Undecodable));
    }

    #[test]
    fn more_rows_than_were_sent_are_counted_too() {
        let schema = json!({"fields": [{"name": "a", "type": "INTEGER"}]});
        assert_eq!(
            judged(json!({"schema": schema, "totalRows": "7", "rows": [{"f": [{"v": "1"}]}]})),
            Err(ErrorKind::TooManyRows)
        );
        assert_eq!(judged(json!({"schema": schema, "totalRows": "0"})), Err(ErrorKind::NoRows));
    }

    #[test]
    fn what_was_read_counts_where_no_number_came_of_it_too() {
        let answer = |rows: Value| {
            let whole = json!({
                "jobReference": {"jobId": "j", "location": "EU"}, "jobComplete": true, "totalBytesProcessed": "7",
                "schema": {"fields": [{"name": "a", "type": "FLOAT"}]}, "rows": rows,
            });
            serde_json::from_value::<QueryAnswer>(whole).unwrap().judge(Duration::from_secs(1))
        };
        for rows in [json!([]), json!([{"f": [{"v": null}]}]), json!([{"f": [{"v": "NaN"}]}])] {
            let job = answer(rows.clone()).unwrap_err().job.unwrap();
            assert_eq!((job.bytes_processed, job.job_id.as_str()), (7, "j"), "{rows}");
        }
    }

    #[test]
    fn only_one_numeric_column_of_a_select_will_do() {
        let one = |kind: &str, mode: &str| json!({"schema": {"fields": [{"name": "a", "type": kind, "mode": mode}]}});
        for kind in [
            "STRING",
            "BOOL",
            "DATE",
            "TIMESTAMP",
            "RANGE",
            "RECORD",
            "STRUCT",
            "JSON",
            "GEOGRAPHY",
            "INTERVAL",
            "BYTES",
        ] {
            assert_eq!(judged(one(kind, "NULLABLE")), Err(ErrorKind::NotNumeric), "{kind}");
        }
        assert_eq!(judged(one("INTEGER", "REPEATED")), Err(ErrorKind::NotNumeric));
        let two = json!({"schema": {"fields": [{"name": "a", "type": "STRING"}, {"name": "b", "type": "INTEGER"}]}});
        assert_eq!(judged(two), Err(ErrorKind::TooManyColumns));
        assert_eq!(judged(json!({})), Err(ErrorKind::NotSelect));
        assert_eq!(judged(json!({"schema": {}})), Err(ErrorKind::NotSelect));
        let dml = json!({"statementType": "INSERT", "schema": {"fields": [{"name": "a", "type": "INTEGER"}]}});
        assert_eq!(judged(dml), Err(ErrorKind::NotSelect));
    }

    #[track_caller]
    fn dry_run(statistics: Value, maximum_bytes: u64) -> Result<u64, ErrorKind> {
        let answer: DryRunAnswer =
            serde_json::from_value(json!({"statistics": statistics, "status": {"state": "DONE"}})).unwrap();
        answer.judge(maximum_bytes).map(|dry_run| dry_run.bytes_processed).map_err(|error| error.kind)
    }

    #[test]
    fn a_dry_run_is_held_to_the_limit() {
        let schema = json!({"fields": [{"name": "a", "type": "INTEGER"}]});
        let statistics = json!({"totalBytesProcessed": "1000", "query": {"statementType": "SELECT", "schema": schema}});
        assert_eq!(dry_run(statistics.clone(), 1000), Ok(1000));
        assert_eq!(dry_run(statistics, 999), Err(ErrorKind::OverByteLimit));
        assert_eq!(dry_run(json!({"query": {"schema": schema}}), 0), Ok(0));
        assert_eq!(dry_run(json!({"query": {"statementType": "SCRIPT"}}), 0), Err(ErrorKind::NotSelect));
        assert_eq!(dry_run(json!({}), 0), Err(ErrorKind::NotSelect));
    }
}
