//! A row as a page shows it: cut to size, with its bar, its times and its words.

use jiff::Timestamp;

use crate::{
    api::{OkrStatus, Time},
    view::{
        row::{Row, Source, TroubleKind},
        words,
    },
};

/// Characters of a title, an explanation and a message in a list: two lines, and a paragraph.
const TITLE: usize = 160;
const PARAGRAPH: usize = 600;

/// A moment in words and in full.
pub struct When {
    pub words: String,
    pub exact: String,
}

impl When {
    pub fn new(time: &Time, now: Timestamp) -> Self {
        Self { words: words::relative(time.0, now), exact: time.0.to_string() }
    }
}

/// Progress as a bar of 100 units.
pub struct Bar {
    /// From 0 to 100, as SVG wants it.
    pub filled: String,
    pub expected: Option<String>,
    pub label: String,
}

/// What the template shows of a row.
pub struct Shown<'a> {
    pub row: &'a Row,
    pub title: String,
    pub owner: Option<String>,
    pub word: &'static str,
    pub class: &'static str,
    pub progress: Option<String>,
    pub expected: Option<String>,
    pub bar: Option<Bar>,
    pub value: Option<String>,
    pub target: Option<String>,
    pub unit: String,
    pub explanation: Option<String>,
    /// The name of the connection in use.
    pub connection: Option<String>,
    pub is_manual: bool,
    pub is_big_query: bool,
    /// The last attempt, the next one, and the reading where it is older than the last attempt.
    pub last: Option<When>,
    pub next: Option<When>,
    pub read: Option<When>,
    pub troubles: Vec<ShownTrouble<'a>>,
}

pub struct ShownTrouble<'a> {
    pub word: &'static str,
    pub class: &'static str,
    pub reason: &'a str,
    pub message: String,
}

impl<'a> Shown<'a> {
    pub fn new(row: &'a Row, now: Timestamp) -> Self {
        let connection = match &row.source {
            Source::BigQuery { connection } => connection.as_ref().map(|connection| &connection.display_name),
            Source::Manual | Source::Children | Source::Unknown => None,
        };
        let older = match (&row.value_time, &row.last_sync_time) {
            (Some(read), Some(last)) => read.0 < last.0,
            (Some(_), None) => true,
            (None, _) => false,
        };
        Self {
            title: words::cut(&row.title, TITLE),
            owner: row.owner.as_deref().map(|owner| words::cut(owner, TITLE)),
            word: if row.is_unreadable() { "Unreadable" } else { words::status(row.okr_status) },
            class: super::address::class(row.okr_status),
            progress: row.progress_percent.as_deref().map(words::number),
            expected: row.expected_progress_percent.as_deref().map(words::number),
            bar: bar(row),
            value: row.value.as_deref().map(|value| words::cut(&words::number(value), TITLE)),
            target: row.target_text.as_deref().map(|target| words::cut(&words::number(target), TITLE)),
            unit: row.unit.as_deref().map(|unit| words::cut(unit, TITLE)).unwrap_or_default(),
            explanation: explanation(row),
            connection: connection.map(|name| words::cut(name, TITLE)),
            is_manual: row.source == Source::Manual,
            is_big_query: matches!(row.source, Source::BigQuery { .. }),
            last: row.last_sync_time.as_ref().map(|time| When::new(time, now)),
            next: row.next_sync_time.as_ref().map(|time| {
                let mut when = When::new(time, now);
                // Late by its slot's jitter, or by a queue: it is under way.
                if time.0 <= now {
                    "due now".clone_into(&mut when.words);
                }
                when
            }),
            read: row.value_time.as_ref().filter(|_| older).map(|time| When::new(time, now)),
            troubles: row
                .troubles
                .iter()
                .map(|trouble| ShownTrouble {
                    word: trouble.kind.word(),
                    class: match trouble.kind {
                        TroubleKind::Unreadable | TroubleKind::Failing => "failing",
                        TroubleKind::Stale => "stale",
                    },
                    reason: &trouble.reason,
                    message: words::cut(&trouble.message, PARAGRAPH),
                })
                .collect(),
            row,
        }
    }
}

fn bar(row: &Row) -> Option<Bar> {
    let progress = row.progress_percent.as_deref();
    let expected = row.expected_progress_percent.as_deref();
    if progress.is_none() && expected.is_none() {
        return None;
    }
    let clamped = |text: &str| text.parse::<f64>().map(|percent| format!("{:.1}", percent.clamp(0.0, 100.0))).ok();
    // Nobody expects anything of what is put off.
    let expected = expected.filter(|_| row.okr_status != OkrStatus::Postponed);
    let said = progress.map_or_else(|| "No progress yet".to_owned(), |progress| format!("Progress {progress} %"));
    let label = match expected {
        Some(expected) => format!("{said}, expected {expected} %"),
        None => said,
    };
    Some(Bar {
        filled: progress.and_then(clamped).unwrap_or_else(|| "0".to_owned()),
        expected: expected.and_then(clamped),
        label,
    })
}

fn explanation(row: &Row) -> Option<String> {
    match &row.explanation {
        // As it stands: it may quote people, and their 2026 is no 2,026.
        Some(text) => Some(words::cut(text, PARAGRAPH)),
        None if row.troubles.is_empty() && row.last_sync_time.is_none() => {
            Some("The operator has not looked at it yet.".to_owned())
        }
        None => None,
    }
}
