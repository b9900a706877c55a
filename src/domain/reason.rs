//! Why a key result is or is not synced, and why an objective is or is not rolled up: one fixed name each for condition,
//! event and metric.

/// A reason of the `Ready` condition of a key result or an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    Synced,
    // waiting
    ConnectionNotFound,
    ConnectionNotShared,
    ConnectionNotReady,
    // passing
    RateLimited,
    Timeout,
    Unavailable,
    UndecodableResponse,
    // a person must act
    AmbiguousConnection,
    QueryInvalid,
    QueryNotSelect,
    TooManyColumns,
    NotNumeric,
    OverByteLimit,
    TableNotFound,
    PermissionDenied,
    AuthenticationFailed,
    InvalidTimeZone,
    // the data
    NoRows,
    TooManyRows,
    NullValue,
    NotFinite,
    QuotaExceeded,
    BudgetExhausted,
    // under way
    QueryChanged,
    Resumed,
    // deliberate rest
    NotStarted,
    PeriodEnded,
    Closed,
    Postponed,
    Suspended,
    ConnectionSuspended,
    Manual,
    // a roll-up, which sends nothing either
    RolledUp,
    NoKeyResults,
    // a person must act on the children of a roll-up
    WeightsAboveHundred,
    Cycle,
}

/// What a reason means for the conditions and for the next attempt: SPEC 3's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The last query gave a value.
    Good,
    /// Something else must change first; nothing is sent.
    Waiting,
    /// Likely to pass by itself; tried again soon.
    Passing,
    /// Tried again seldom and free of charge, until a person mends it.
    PersonMustAct,
    /// The data may be other at the next slot.
    Data,
    /// A sync is outstanding.
    UnderWay,
    /// Nothing is sent, as somebody wanted.
    Rest,
}

impl Reason {
    pub const ALL: [Reason; 37] = [
        Reason::Synced,
        Reason::ConnectionNotFound,
        Reason::ConnectionNotShared,
        Reason::ConnectionNotReady,
        Reason::RateLimited,
        Reason::Timeout,
        Reason::Unavailable,
        Reason::UndecodableResponse,
        Reason::AmbiguousConnection,
        Reason::QueryInvalid,
        Reason::QueryNotSelect,
        Reason::TooManyColumns,
        Reason::NotNumeric,
        Reason::OverByteLimit,
        Reason::TableNotFound,
        Reason::PermissionDenied,
        Reason::AuthenticationFailed,
        Reason::InvalidTimeZone,
        Reason::NoRows,
        Reason::TooManyRows,
        Reason::NullValue,
        Reason::NotFinite,
        Reason::QuotaExceeded,
        Reason::BudgetExhausted,
        Reason::QueryChanged,
        Reason::Resumed,
        Reason::NotStarted,
        Reason::PeriodEnded,
        Reason::Closed,
        Reason::Postponed,
        Reason::Suspended,
        Reason::ConnectionSuspended,
        Reason::Manual,
        Reason::RolledUp,
        Reason::NoKeyResults,
        Reason::WeightsAboveHundred,
        Reason::Cycle,
    ];

    pub fn class(self) -> Class {
        match self {
            Reason::Synced => Class::Good,
            Reason::ConnectionNotFound | Reason::ConnectionNotShared | Reason::ConnectionNotReady => Class::Waiting,
            Reason::RateLimited | Reason::Timeout | Reason::Unavailable | Reason::UndecodableResponse => Class::Passing,
            Reason::AmbiguousConnection
            | Reason::QueryInvalid
            | Reason::QueryNotSelect
            | Reason::TooManyColumns
            | Reason::NotNumeric
            | Reason::OverByteLimit
            | Reason::TableNotFound
            | Reason::PermissionDenied
            | Reason::AuthenticationFailed
            | Reason::InvalidTimeZone
            | Reason::WeightsAboveHundred
            | Reason::Cycle => Class::PersonMustAct,
            Reason::NoRows
            | Reason::TooManyRows
            | Reason::NullValue
            | Reason::NotFinite
            | Reason::QuotaExceeded
            | Reason::BudgetExhausted => Class::Data,
            Reason::QueryChanged | Reason::Resumed => Class::UnderWay,
            Reason::NotStarted
            | Reason::PeriodEnded
            | Reason::Closed
            | Reason::Postponed
            | Reason::Suspended
            | Reason::ConnectionSuspended
            | Reason::Manual
            | Reason::RolledUp
            | Reason::NoKeyResults => Class::Rest,
        }
    }

    /// Whether nothing was sent for this reason, so that its end asks for a sync at once.
    pub fn holds(self) -> bool {
        match self.class() {
            Class::Waiting | Class::Rest => true,
            Class::PersonMustAct => {
                matches!(self, Reason::AmbiguousConnection | Reason::InvalidTimeZone) || self.is_of_a_roll_up()
            }
            Class::Good | Class::Passing | Class::Data | Class::UnderWay => false,
        }
    }

    /// Whether only an objective without a measure of its own shows it.
    pub fn is_of_a_roll_up(self) -> bool {
        matches!(self, Reason::RolledUp | Reason::NoKeyResults | Reason::WeightsAboveHundred | Reason::Cycle)
    }

    /// The reason as it was once written into a condition. None for a text that is no reason of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// The one name in conditions, events and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Synced => "Synced",
            Reason::ConnectionNotFound => "ConnectionNotFound",
            Reason::ConnectionNotShared => "ConnectionNotShared",
            Reason::ConnectionNotReady => "ConnectionNotReady",
            Reason::RateLimited => "RateLimited",
            Reason::Timeout => "Timeout",
            Reason::Unavailable => "Unavailable",
            Reason::UndecodableResponse => "UndecodableResponse",
            Reason::AmbiguousConnection => "AmbiguousConnection",
            Reason::QueryInvalid => "QueryInvalid",
            Reason::QueryNotSelect => "QueryNotSelect",
            Reason::TooManyColumns => "TooManyColumns",
            Reason::NotNumeric => "NotNumeric",
            Reason::OverByteLimit => "OverByteLimit",
            Reason::TableNotFound => "TableNotFound",
            Reason::PermissionDenied => "PermissionDenied",
            Reason::AuthenticationFailed => "AuthenticationFailed",
            Reason::InvalidTimeZone => "InvalidTimeZone",
            Reason::NoRows => "NoRows",
            Reason::TooManyRows => "TooManyRows",
            Reason::NullValue => "NullValue",
            Reason::NotFinite => "NotFinite",
            Reason::QuotaExceeded => "QuotaExceeded",
            Reason::BudgetExhausted => "BudgetExhausted",
            Reason::QueryChanged => "QueryChanged",
            Reason::Resumed => "Resumed",
            Reason::NotStarted => "NotStarted",
            Reason::PeriodEnded => "PeriodEnded",
            Reason::Closed => "Closed",
            Reason::Postponed => "Postponed",
            Reason::Suspended => "Suspended",
            Reason::ConnectionSuspended => "ConnectionSuspended",
            Reason::Manual => "Manual",
            Reason::RolledUp => "RolledUp",
            Reason::NoKeyResults => "NoKeyResults",
            Reason::WeightsAboveHundred => "WeightsAboveHundred",
            Reason::Cycle => "Cycle",
        }
    }

    /// Our own sentence: what it means and what to do. It holds nothing that BigQuery or a query wrote, so it may
    /// stand in events, metrics and logs.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::Synced => "The last query gave a value.",
            Reason::ConnectionNotFound => {
                "There is no connection to use: create a BigQueryConnection in this namespace, or name one in spec.bigQuery.connectionRef."
            }
            Reason::ConnectionNotShared => {
                "The named connection of another namespace does not exist or does not admit this namespace: ask its owner for spec.allowedNamespaces."
            }
            Reason::ConnectionNotReady => {
                "The connection is not Ready: see its own conditions. The query runs once it is."
            }
            Reason::RateLimited => "BigQuery asked to slow down. The query is tried again soon.",
            Reason::Timeout => {
                "The query was not finished in time and was cancelled. Make it faster, or raise spec.limits.queryTimeout of the connection."
            }
            Reason::Unavailable => "BigQuery could not be reached or failed by itself. The query is tried again soon.",
            Reason::UndecodableResponse => {
                "BigQuery's answer could not be understood or was larger than 1 MiB. The query is tried again soon."
            }
            Reason::AmbiguousConnection => {
                "Several connections would do: name one in spec.bigQuery.connectionRef, or set spec.default on one of them."
            }
            Reason::QueryInvalid => "BigQuery refused the query: correct spec.bigQuery.query or its parameters.",
            Reason::QueryNotSelect => "The query is not a single SELECT: only reading is allowed.",
            Reason::TooManyColumns => "The query must return exactly one column.",
            Reason::NotNumeric => {
                "The query's column must be INT64, FLOAT64, NUMERIC or BIGNUMERIC: cast it, for example with CAST(x AS NUMERIC)."
            }
            Reason::OverByteLimit => {
                "The query would read more bytes than spec.limits.maximumBytesBilled of the connection allows: read less, or raise it."
            }
            Reason::TableNotFound => {
                "The query names a table, dataset or function that does not exist, or looks for it in another location."
            }
            Reason::PermissionDenied => {
                "The connection's service account may not read what the query names: grant it roles/bigquery.dataViewer on the dataset."
            }
            Reason::AuthenticationFailed => {
                "BigQuery did not accept the connection's credentials for this query: check the connection."
            }
            Reason::InvalidTimeZone => "spec.period.timeZone is not an IANA time zone: write one such as Europe/Paris.",
            Reason::NoRows => "The query returned no row; it must return exactly one.",
            Reason::TooManyRows => "The query returned more than one row; it must return exactly one.",
            Reason::NullValue => "The query returned NULL: if that means nothing yet, write COALESCE(x, 0).",
            Reason::NotFinite => {
                "The query returned NaN or an infinity, which is not a value: guard a division with SAFE_DIVIDE."
            }
            Reason::QuotaExceeded => {
                "A quota of the Google Cloud project is used up. The query runs again at its next slot."
            }
            Reason::BudgetExhausted => {
                "The connection's spec.limits.maximumBytesPerDay is used up. The query runs again after 00:00 UTC, or once it is raised."
            }
            Reason::QueryChanged => "The query, its parameters or its connection changed; it runs again now.",
            Reason::Resumed => "What held the query is over; it runs again now.",
            Reason::NotStarted => "The period has not begun; the query was checked and first runs on the start date.",
            Reason::PeriodEnded => "The period is over and its last value is in.",
            Reason::Closed => "It is closed, and its value is frozen.",
            Reason::Postponed => "It is postponed; nothing is sent.",
            Reason::Suspended => "It is suspended; nothing is sent.",
            Reason::ConnectionSuspended => "The connection is suspended; nothing is sent.",
            Reason::Manual => "The value is checked in by people; nothing is sent.",
            Reason::RolledUp => {
                "Rolled up from the key results and objectives that refer to this objective; it sends no query of its own."
            }
            Reason::NoKeyResults => {
                "No key result or objective refers to this objective: name it in spec.objectiveRef of a key result, or give it a measure of its own."
            }
            Reason::WeightsAboveHundred => {
                "The weights of the key results and objectives that refer to this objective are above 100 in sum: lower them, or leave some out to share what is left."
            }
            Reason::Cycle => {
                "The objective is a part of itself through spec.parentRef: take one of the references away."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_name() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_name(reason.name()), Some(reason));
        }
        assert_eq!(Reason::from_name("Whatever"), None);
    }
}
