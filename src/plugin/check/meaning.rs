//! What the API server takes and the operator then cannot work with, as far as that is seen without a cluster.

use crate::{
    api::{BigQuerySource, OkrKeyResult, OkrObjective, Period},
    domain::{calendar, parameters},
};

use super::{manifest::Manifest, schema::Problem, schema::locate, words};

/// The findings of one object.
pub fn check(manifest: &Manifest) -> Vec<Problem> {
    let (period, source) = match manifest.kind.as_str() {
        "OkrKeyResult" => match manifest.read::<OkrKeyResult>() {
            Some(object) => (object.spec.period, object.spec.big_query),
            None => return Vec::new(),
        },
        "OkrObjective" => match manifest.read::<OkrObjective>() {
            Some(object) => (object.spec.period, object.spec.big_query),
            None => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let time_zone = period.as_ref().and_then(|period| time_zone(period, manifest));
    let query = source.iter().flat_map(|source| query(source, period.as_ref(), manifest));
    time_zone.into_iter().chain(query).collect()
}

fn at(manifest: &Manifest, field: &str, message: String) -> Problem {
    Problem::new(field, locate(&manifest.root, field).1, message)
}

fn time_zone(period: &Period, manifest: &Manifest) -> Option<Problem> {
    if calendar::zone(Some(period)).is_some() {
        return None;
    }
    let typed = period.time_zone.as_deref().unwrap_or_default();
    let message = match words::zone(typed) {
        Some(name) => format!("there is no time zone {typed:?}: write {name} (InvalidTimeZone)"),
        None => format!("there is no time zone {typed:?}: write its IANA name, such as Europe/Paris (InvalidTimeZone)"),
    };
    Some(at(manifest, "spec.period.timeZone", message))
}

/// Statements that are surely no SELECT, by their first word.
const OTHERS: [&str; 24] = [
    "ALTER", "ASSERT", "BEGIN", "CALL", "COMMIT", "CREATE", "DECLARE", "DELETE", "DESCRIBE", "DROP", "EXECUTE",
    "EXPLAIN", "EXPORT", "GRANT", "INSERT", "LOAD", "MERGE", "REVOKE", "ROLLBACK", "SET", "SHOW", "TRUNCATE", "UPDATE",
    "USE",
];

fn query(source: &BigQuerySource, period: Option<&Period>, manifest: &Manifest) -> Vec<Problem> {
    const FIELD: &str = "spec.bigQuery.query";
    let say = |message: String| at(manifest, FIELD, message);
    let mut problems = Vec::new();
    let code = parameters::code(&source.query);
    let code = code.trim();
    let first: String =
        code.trim_start_matches(['(', ' ', '\n']).chars().take_while(char::is_ascii_alphabetic).collect();
    let first = first.to_ascii_uppercase();
    if code.trim_matches([';', ' ', '\n', '\r', '\t']).is_empty() {
        problems.push(say("holds comments only: write one GoogleSQL SELECT (QueryInvalid)".to_owned()));
    } else if OTHERS.contains(&first.as_str()) {
        problems.push(say(format!("begins with {first}: write one SELECT, nothing else is run (QueryNotSelect)")));
    } else if code.contains("{{") || code.contains("${") {
        let message = "holds a template's braces, which nobody fills in: write @name, and name, type and value in spec.bigQuery.parameters";
        problems.push(say(message.to_owned()));
    } else if code.trim_end_matches([';', ' ', '\n', '\r', '\t']).contains(';') {
        let message = "holds several statements: write one SELECT, with WITH for what comes before it (QueryNotSelect)";
        problems.push(say(message.to_owned()));
    }
    let declared: Vec<String> = source.parameters.iter().map(|parameter| parameter.name.to_ascii_lowercase()).collect();
    for name in parameters::mentioned(&source.query) {
        if declared.contains(&name) || matches!(name.as_str(), "today" | "now") {
            continue;
        }
        if matches!(name.as_str(), "period_start" | "period_end") {
            if period.is_none() {
                problems
                    .push(say(format!("uses @{name}, but there is no spec.period: write startDate and endDate there")));
            }
            continue;
        }
        let built_in = ["period_start", "period_end", "today", "now"];
        let known = declared.iter().map(String::as_str).chain(built_in);
        problems.push(say(match words::close(&name, known) {
            Some(close) => format!("uses @{name}, which is not declared: write @{close} (QueryInvalid)"),
            None => format!(
                "uses @{name}, which is not declared: add {{name: {name}, type: STRING, value: ...}} to spec.bigQuery.parameters (QueryInvalid)"
            ),
        }));
    }
    problems
}
