//! What a list shows of an object, borrowed from its JSON: history, query and all else is skipped unread.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, Visitor},
};

use crate::api::{
    AllowedNamespaces, CheckIn, ConnectionChoice, ConnectionRef, Expected, Lifecycle, Measure, ObjectiveRef, OkrStatus,
    Period, StatusFrom, Thresholds, Time,
};

/// Which of the two kinds that have a status of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    #[serde(rename = "OkrObjective")]
    Objective,
    #[serde(rename = "OkrKeyResult")]
    KeyResult,
}

impl Kind {
    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Objective => "OkrObjective",
            Kind::KeyResult => "OkrKeyResult",
        }
    }
}

/// A key result or an objective, as far as a list needs it.
#[derive(Debug, Deserialize)]
pub struct Brief<'a> {
    #[serde(borrow)]
    pub metadata: Metadata<'a>,
    #[serde(borrow)]
    pub spec: Spec<'a>,
    #[serde(borrow, default)]
    pub status: Option<Status<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct Metadata<'a> {
    #[serde(borrow, default)]
    pub namespace: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// The fields of either kind; `measure` is absent in an objective that is rolled up.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec<'a> {
    #[serde(borrow, default)]
    pub title: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub owner: Option<Text<'a>>,
    #[serde(default, alias = "parentRef")]
    pub objective_ref: Option<ObjectiveRef>,
    #[serde(default)]
    pub period: Option<Period>,
    #[serde(default)]
    pub measure: Option<Measure>,
    #[serde(borrow, default)]
    pub unit: Option<Text<'a>>,
    #[serde(default)]
    pub big_query: Option<Source>,
    #[serde(default)]
    pub expected: Option<Expected>,
    #[serde(default)]
    pub thresholds: Option<Thresholds>,
    #[serde(default)]
    pub lifecycle: Option<Lifecycle>,
    #[serde(default, rename = "override")]
    pub check_in: Option<CheckIn>,
    #[serde(default)]
    pub status_from: Option<StatusFrom>,
    #[serde(default)]
    pub allowed_namespaces: Option<AllowedNamespaces>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    #[serde(default)]
    pub connection_ref: Option<ConnectionRef>,
}

/// Its times are texts here: they are read for the few rows that are shown, see [`time`].
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status<'a> {
    #[serde(default)]
    pub okr_status: Option<OkrStatus>,
    #[serde(borrow, default)]
    pub okr_status_since: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub value: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub value_time: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub target_text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub progress_percent: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub expected_progress_percent: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub explanation: Option<Text<'a>>,
    #[serde(default)]
    pub connection: Option<ConnectionChoice>,
    #[serde(borrow, default)]
    pub last_sync_time: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub next_sync_time: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub conditions: Vec<Condition<'a>>,
    /// How many children an objective has; it does not list all of very many.
    #[serde(default)]
    pub child_count: Option<u32>,
    /// An objective's children, by identity alone: who is admitted.
    #[serde(borrow, default)]
    pub children: Vec<Child<'a>>,
}

#[derive(Debug, Deserialize)]
pub struct Condition<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    #[serde(borrow)]
    pub status: Text<'a>,
    #[serde(borrow, default)]
    pub reason: Text<'a>,
    #[serde(borrow, default)]
    pub message: Text<'a>,
}

#[derive(Debug, Deserialize)]
pub struct Child<'a> {
    #[serde(borrow)]
    pub kind: Text<'a>,
    #[serde(borrow)]
    pub namespace: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
}

/// Text that is borrowed where its JSON has no escapes. serde borrows a `Cow` only where it stands alone, never
/// within an `Option`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;

        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrowing)
    }
}

impl Status<'_> {
    pub fn condition(&self, kind: &str) -> Option<&Condition<'_>> {
        self.conditions.iter().find(|condition| &*condition.kind == kind)
    }
}

/// A time of a status. None where it is none.
pub fn time(text: Option<&Text<'_>>) -> Option<Time> {
    text.and_then(|text| text.parse::<Timestamp>().ok()).map(Time)
}

/// An object that is not what its kind says: which one, as far as that can be told, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub namespace: String,
    pub name: String,
    pub problem: String,
}

/// Reads an object. One that does not fit its kind is an answer too: it must not take the page with it.
pub fn decode(kind: Kind, json: &[u8]) -> Result<Brief<'_>, Broken> {
    let brief: Brief<'_> = serde_json::from_slice(json).map_err(|error| broken(json, &error))?;
    match (kind, &brief.spec.measure) {
        (Kind::KeyResult, None) => Err(broken(json, &Error::missing_field("measure"))),
        (Kind::KeyResult, Some(_)) | (Kind::Objective, _) => Ok(brief),
    }
}

/// What can still be said of an object that could not be read.
pub fn broken(json: &[u8], error: &serde_json::Error) -> Broken {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        metadata: Metadata<'a>,
    }
    let (namespace, name) = match serde_json::from_slice::<Named>(json) {
        Ok(Named { metadata }) => (metadata.namespace.to_string(), metadata.name.to_string()),
        Err(_) => (String::new(), String::new()),
    };
    Broken { namespace, name, problem: error.to_string() }
}
