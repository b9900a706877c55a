//! What a row says about one object.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    api::{BigQueryConnection, OkrKeyResult, OkrStatus, StatusFrom, Time},
    domain::{
        Measured, calendar,
        conditions::{FRESH, READY, Truth},
        explanation::{self, Facts},
        judgement::{self, Gaps},
        number, progress,
        reason::{Class, Reason},
    },
};

use super::{
    Visible,
    brief::{Brief, Broken, Kind, Status, decode, time},
    standing::{Moment, Standing, standing},
    words,
};

/// An object by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Name {
    pub namespace: String,
    pub name: String,
}

/// The display names of the connections that may be seen.
pub type Connections = BTreeMap<Name, String>;

/// A key result or an objective as a list shows it, at the moment of asking.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
    pub title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The objective that it belongs to, whether or not that exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<Name>,
    pub okr_status: OkrStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub okr_status_since: Option<Time>,
    /// In percent, a decimal of at most two places; not clamped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_percent: Option<String>,
    /// In percent, a decimal of at most two places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_progress_percent: Option<String>,
    /// The last good value, exactly as BigQuery wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// How the status follows from the numbers, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// Where its number comes from.
    pub source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sync_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_sync_time: Option<Time>,
    /// Why nothing is sent although nothing is wrong, such as Suspended or PeriodEnded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<String>,
    /// What is wrong with it, the worst first.
    pub troubles: Vec<Trouble>,
    /// Whether its written texts are not for these eyes.
    #[serde(skip)]
    pub is_veiled: bool,
}

/// Where a number comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Source {
    /// From BigQuery.
    BigQuery {
        /// The connection in use, or the one asked for. Absent until one is chosen.
        #[serde(skip_serializing_if = "Option::is_none")]
        connection: Option<ConnectionName>,
    },
    /// From people.
    Manual,
    /// From the objective's children.
    Children,
    /// It cannot be read.
    Unknown,
}

/// A connection and what people call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionName {
    pub namespace: String,
    pub name: String,
    /// The connection's name where it has no display name, or where it may not be seen.
    pub display_name: String,
}

/// Something wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Trouble {
    pub kind: TroubleKind,
    /// The condition's reason, such as TableNotFound.
    pub reason: String,
    pub message: String,
}

/// What sort of thing is wrong; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum TroubleKind {
    /// The object does not fit its kind.
    Unreadable,
    /// It is not Ready: its number is not read.
    Failing,
    /// Its number is older than it should be, or that of another query.
    Stale,
}

impl TroubleKind {
    pub fn word(self) -> &'static str {
        match self {
            TroubleKind::Unreadable => "Unreadable",
            TroubleKind::Failing => "Failing",
            TroubleKind::Stale => "Stale",
        }
    }
}

/// The worst that is wrong, if anything.
pub fn worst_trouble(status: &Status<'_>) -> Option<TroubleKind> {
    let is = |kind: &str, truth: Truth| status.condition(kind).is_some_and(|found| &*found.status == truth.name());
    if is(READY, Truth::False) {
        Some(TroubleKind::Failing)
    } else if is(FRESH, Truth::False) {
        Some(TroubleKind::Stale)
    } else {
        None
    }
}

const HIDDEN: &str = "It depends on objects in namespaces that you may not list.";

/// Whether the texts of a status may name objects that are not `visible`: the worst child, or those of a cycle, which are
/// no children of it.
fn names_hidden(brief: &Brief<'_>, visible: &Visible) -> bool {
    let (Visible::Namespaces(_), Some(status)) = (visible, &brief.status) else { return false };
    status.children.iter().any(|child| !visible.shows(&child.namespace))
        || status.child_count.is_some_and(|count| count as usize > status.children.len())
        || status.conditions.iter().any(|condition| &*condition.reason == Reason::Cycle.name())
}

/// The message of a condition without the names in it.
pub fn veiled(reason: &str) -> &'static str {
    Reason::from_name(reason).map_or(HIDDEN, Reason::sentence)
}

fn troubles(status: &Status<'_>) -> Vec<Trouble> {
    let of = |kind: &str, trouble: TroubleKind| {
        let found = status.condition(kind).filter(|found| &*found.status == Truth::False.name())?;
        Some(Trouble { kind: trouble, reason: found.reason.to_string(), message: found.message.to_string() })
    };
    of(READY, TroubleKind::Failing).into_iter().chain(of(FRESH, TroubleKind::Stale)).collect()
}

impl Row {
    /// What `json` says at `now` to somebody who may see what is `visible`; an object that cannot be read is a row too.
    pub fn of(
        kind: Kind,
        json: &[u8],
        connections: &Connections,
        visible: &Visible,
        gaps: &Gaps,
        now: Timestamp,
    ) -> Self {
        match decode(kind, json) {
            Ok(brief) => {
                let standing = standing(&brief, gaps, &mut Moment::new(now));
                // That of an objective by its worst child says nothing that a new day changes.
                let by_worst = brief.spec.measure.is_none() && brief.spec.status_from == Some(StatusFrom::KeyResults);
                let explanation = if standing.is_as_written || (kind == Kind::Objective && by_worst) {
                    brief.status.as_ref().and_then(|status| status.explanation.as_deref()).map(str::to_owned)
                } else {
                    explained(kind, json, gaps, &standing, now)
                };
                let mut row = Self::new(kind, &brief, standing, explanation, connections);
                if names_hidden(&brief, visible) {
                    row.veil();
                }
                row
            }
            Err(broken) => Self::broken(kind, broken),
        }
    }

    fn new(
        kind: Kind,
        brief: &Brief<'_>,
        standing: Standing,
        explanation: Option<String>,
        connections: &Connections,
    ) -> Self {
        let Brief { metadata, spec, status } = brief;
        let no_status = Status::default();
        let status = status.as_ref().unwrap_or(&no_status);
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let namespace = metadata.namespace.to_string();
        Self {
            kind,
            title: spec.title.as_deref().filter(|title| !title.trim().is_empty()).unwrap_or(&metadata.name).to_owned(),
            owner: owned(spec.owner.as_deref()),
            objective: brief.objective(),
            okr_status: standing.okr_status,
            okr_status_since: time(status.okr_status_since.as_ref()).filter(|_| standing.is_as_written),
            progress_percent: standing.progress,
            expected_progress_percent: standing.expected,
            value: owned(status.value.as_deref()).filter(|_| spec.measure.is_some()),
            value_time: time(status.value_time.as_ref()),
            target_text: owned(status.target_text.as_deref()).or_else(|| progress::target_text(spec.measure.as_ref()?)),
            unit: owned(spec.unit.as_deref()),
            explanation,
            source: source(brief, &namespace, connections),
            last_sync_time: time(status.last_sync_time.as_ref()),
            next_sync_time: time(status.next_sync_time.as_ref()),
            rest: status.condition(READY).and_then(|ready| rest(&ready.reason)),
            troubles: troubles(status),
            is_veiled: false,
            name: metadata.name.to_string(),
            namespace,
        }
    }

    fn broken(kind: Kind, broken: Broken) -> Self {
        let Broken { namespace, name, problem } = broken;
        let message = format!(
            "This object does not fit the kind {}, so nothing else can be said about it: {problem}",
            kind.name()
        );
        let trouble = Trouble { kind: TroubleKind::Unreadable, reason: "InvalidObject".to_owned(), message };
        Self {
            kind,
            title: if name.is_empty() { "(without a name)".to_owned() } else { name.clone() },
            namespace,
            name,
            owner: None,
            objective: None,
            okr_status: OkrStatus::NotStarted,
            okr_status_since: None,
            progress_percent: None,
            expected_progress_percent: None,
            value: None,
            value_time: None,
            target_text: None,
            unit: None,
            explanation: None,
            source: Source::Unknown,
            last_sync_time: None,
            next_sync_time: None,
            rest: None,
            troubles: vec![trouble],
            is_veiled: false,
        }
    }

    /// Takes out what may name objects that are not for these eyes.
    fn veil(&mut self) {
        self.is_veiled = true;
        self.explanation = Some(match (&self.progress_percent, &self.expected_progress_percent) {
            (Some(progress), Some(expected)) => {
                format!("{} {HIDDEN}", words::far(progress, expected, self.okr_status))
            }
            (Some(progress), None) => format!("{progress} % progress: {}. {HIDDEN}", words::status(self.okr_status)),
            (None, _) => HIDDEN.to_owned(),
        });
        for trouble in &mut self.troubles {
            veiled(&trouble.reason).clone_into(&mut trouble.message);
        }
    }

    /// Whether a number of its own is measured, by a query or by people.
    pub fn measured(&self) -> bool {
        matches!(self.source, Source::BigQuery { .. } | Source::Manual)
    }

    pub fn is_unreadable(&self) -> bool {
        self.troubles.iter().any(|trouble| trouble.kind == TroubleKind::Unreadable)
    }
}

impl Brief<'_> {
    /// The objective that it refers to, in the object's own namespace where none is named.
    pub fn objective(&self) -> Option<Name> {
        let reference = self.spec.objective_ref.as_ref()?;
        let namespace = reference.namespace.as_deref().unwrap_or(&self.metadata.namespace).to_owned();
        Some(Name { namespace, name: reference.name.clone() })
    }

    /// The connection in use, else the one asked for.
    pub fn connection(&self) -> Option<Name> {
        let source = self.spec.big_query.as_ref()?;
        if let Some(chosen) = self.status.as_ref().and_then(|status| status.connection.as_ref()) {
            return Some(Name { namespace: chosen.namespace.clone(), name: chosen.name.clone() });
        }
        let asked = source.connection_ref.as_ref()?;
        let namespace = asked.namespace.as_deref().unwrap_or(&self.metadata.namespace).to_owned();
        Some(Name { namespace, name: asked.name.clone() })
    }
}

fn source(brief: &Brief<'_>, own_namespace: &str, connections: &Connections) -> Source {
    if brief.spec.big_query.is_none() {
        return if brief.spec.measure.is_some() { Source::Manual } else { Source::Children };
    }
    let connection = brief.connection().map(|name| {
        let display_name = connections.get(&name).cloned().unwrap_or_else(|| {
            let Name { namespace, name } = &name;
            if namespace == own_namespace { name.clone() } else { format!("{namespace}/{name}") }
        });
        ConnectionName { namespace: name.namespace, name: name.name, display_name }
    });
    Source::BigQuery { connection }
}

/// Why nothing is sent, where somebody wanted that.
fn rest(reason: &str) -> Option<String> {
    let reason = Reason::from_name(reason)?;
    // The status says the others itself.
    let told =
        matches!(reason, Reason::Manual | Reason::NotStarted | Reason::Closed | Reason::Postponed | Reason::RolledUp);
    (reason.class() == Class::Rest && !told).then(|| reason.sentence().to_owned())
}

/// Whether something with this reason sends nothing for now, however often it is asked.
pub fn sends_nothing(reason: &str) -> bool {
    Reason::from_name(reason).is_some_and(|reason| {
        matches!(
            reason,
            Reason::Closed
                | Reason::Postponed
                | Reason::Suspended
                | Reason::ConnectionSuspended
                | Reason::ConnectionNotFound
                | Reason::ConnectionNotShared
                | Reason::AmbiguousConnection
                | Reason::Manual
                | Reason::RolledUp
                | Reason::NotStarted
                | Reason::BudgetExhausted
                | Reason::InvalidTimeZone
        )
    })
}

/// The sentence for a day that the status has not seen yet.
fn explained(kind: Kind, json: &[u8], gaps: &Gaps, standing: &Standing, now: Timestamp) -> Option<String> {
    if kind == Kind::Objective {
        let Standing { okr_status, progress, expected, is_as_written: _ } = standing;
        return Some(words::far(progress.as_deref()?, expected.as_deref()?, *okr_status));
    }
    let key_result: OkrKeyResult = serde_json::from_slice(json).ok()?;
    let measured = Measured::try_from(&key_result).ok()?;
    let status = measured.status;
    let today = calendar::zone(measured.period).map(|zone| calendar::day(now, &zone))?;
    let value = status.value.as_deref().and_then(number::parse);
    let gone = value.as_ref().and_then(|value| progress::progress(measured.measure, value));
    let expected =
        measured.period.and_then(|period| progress::expected(measured.measure, period, measured.expected, today));
    let gaps = Gaps::of(measured.thresholds, gaps);
    // The last attempt gave no newer value, or nobody has tried since.
    let value_of = status.value_time.as_ref().filter(|_| value.is_some()).map(|time| calendar::text(time.0));
    Some(explanation::sentence(&Facts {
        measured: &measured,
        value: status.value.as_deref().filter(|_| value.is_some()),
        progress: gone.as_ref(),
        expected: expected.as_ref(),
        computed: judgement::computed(measured.measure, value.as_ref(), gone.as_ref(), expected.as_ref(), &gaps),
        gaps: &gaps,
        today: Some(today),
        value_of: value_of.as_deref(),
        raised_to: None,
    }))
}

/// The name of a connection for people, and its own.
pub fn display_name(connection: &BigQueryConnection) -> (Name, String) {
    let namespace = connection.metadata.namespace.clone().unwrap_or_default();
    let name = connection.metadata.name.clone().unwrap_or_default();
    let shown = connection.spec.display_name.clone().unwrap_or_else(|| name.clone());
    (Name { namespace, name }, shown)
}
