//! One key result with its connection at a moment. Time is set, never slept.

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use okr_operator::{
    api::{BigQueryConnection, Condition, LastQuery, MeasuredStatus, OkrKeyResult},
    domain::{
        Measured, Reason,
        choice::NoConnection,
        judgement::Gaps,
        measured::Source,
        number::integer,
        pass::{self, Pass, Turn},
        schedule::{self, Plan, Route, Slots, Through},
        status::{self, Attempt, Outcome},
    },
};
use serde_json::{Value, json};

/// Its period has a hundred days, so that on day n (from 0) n percent are expected.
#[derive(Clone)]
pub struct World {
    pub key_result: OkrKeyResult,
    pub connection: BigQueryConnection,
    pub no_connection: Option<NoConnection>,
    pub ready: bool,
    pub within_budget: bool,
    pub changed_at: Option<Timestamp>,
    pub tried_at: Option<Timestamp>,
    pub last_asked: Option<Timestamp>,
    pub gaps: Gaps,
    pub now: Timestamp,
}

/// Short, for the reports of properties that do not hold.
impl std::fmt::Debug for World {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key_result = serde_json::to_string(&self.key_result).map_err(|_| std::fmt::Error)?;
        write!(
            formatter,
            "{} at {}, connection {} {:?} suspended {:?}, within budget {}, changed {:?}, tried {:?}, asked {:?}",
            key_result,
            self.now,
            self.ready,
            self.no_connection.as_ref().map(|none| none.reason),
            self.connection.spec.suspend,
            self.within_budget,
            self.changed_at,
            self.tried_at,
            self.last_asked
        )
    }
}

pub const UID: &str = "1f2e3d4c-0000-4000-8000-000000000001";

/// A key result's spec: the usual one with some fields set otherwise, or taken away by null.
pub fn spec(changes: Value) -> Value {
    let mut spec = json!({
        "period": {"startDate": "2026-01-01", "endDate": "2026-04-11"},
        "measure": {"reach": {"target": 100}},
        "bigQuery": {"query": "SELECT 1"},
    });
    merge(&mut spec, changes);
    spec
}

pub fn merge(spec: &mut Value, changes: Value) {
    let (Value::Object(spec), Value::Object(changes)) = (spec, changes) else { panic!("two objects") };
    for (field, value) in changes {
        match value {
            Value::Null => spec.remove(&field),
            value => spec.insert(field, value),
        };
    }
}

impl World {
    /// On day 50, at noon.
    pub fn new(changes: Value) -> Self {
        let metadata = json!({"namespace": "sales", "name": "leads", "uid": UID, "generation": 1});
        let key_result = json!({
            "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult",
            "metadata": metadata, "spec": spec(changes),
        });
        Self {
            key_result: serde_json::from_value(key_result).unwrap(),
            connection: connection("sales", "warehouse", json!({})),
            no_connection: None,
            ready: true,
            within_budget: true,
            changed_at: None,
            tried_at: None,
            last_asked: None,
            gaps: Gaps { behind: integer(0), at_risk: integer(25) },
            now: noon(50),
        }
    }

    /// The same after one good sync of `value` at its moment.
    pub fn synced(changes: Value, value: &str) -> Self {
        let mut world = Self::new(changes);
        world.measures(value);
        world
    }

    pub fn at(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    pub fn later(mut self, duration: SignedDuration) -> Self {
        self.now += duration;
        self
    }

    pub fn wait(&mut self, duration: SignedDuration) {
        self.now += duration;
    }

    pub fn measured(&self) -> Measured<'_> {
        Measured::try_from(&self.key_result).unwrap()
    }

    pub fn route(&self) -> Route<'_> {
        match (&self.no_connection, self.measured().source) {
            (_, Source::Manual(_)) => Err(NoConnection { reason: Reason::Manual, message: String::new() }),
            (Some(none), _) => Err(none.clone()),
            (None, _) => Ok(Through {
                connection: &self.connection,
                fingerprint: self.fingerprint(),
                ready: self.ready,
                within_budget: self.within_budget,
                changed_at: self.changed_at,
                tried_at: self.tried_at,
            }),
        }
    }

    pub fn next(&self, attempt: Option<&Attempt>) -> MeasuredStatus {
        status::next(&self.measured(), &self.route(), attempt, &self.gaps, self.now)
    }

    pub fn plan(&self) -> Plan {
        schedule::plan(&self.measured(), &self.route(), self.now, self.last_asked)
    }

    pub fn pass(&self) -> Pass {
        pass::pass(&self.measured(), &self.route(), &self.gaps, self.now, self.last_asked, Turn::Soon)
    }

    /// The same where what is due has waited for a while.
    pub fn pass_in_queue(&self) -> Pass {
        pass::pass(&self.measured(), &self.route(), &self.gaps, self.now, self.last_asked, Turn::Later)
    }

    /// The same where what is due is about to be sent.
    pub fn pass_at_its_turn(&self) -> Pass {
        pass::pass(&self.measured(), &self.route(), &self.gaps, self.now, self.last_asked, Turn::Now)
    }

    pub fn fingerprint(&self) -> String {
        match self.measured().source {
            Source::BigQuery(source) => schedule::fingerprint(&self.measured(), source, &self.connection),
            Source::Manual(_) => String::new(),
        }
    }

    /// An attempt that was sent and ended now.
    pub fn attempt(&self, outcome: Outcome) -> Attempt {
        let measured = self.measured();
        Attempt {
            fingerprint: self.fingerprint(),
            refresh: measured.refresh.map(str::to_owned),
            reconcile_at: measured.reconcile_at.map(str::to_owned),
            ended: self.now,
            outcome,
        }
    }

    /// Writes what an attempt with `outcome` leads to.
    pub fn tries(&mut self, outcome: Outcome) {
        let attempt = self.attempt(outcome);
        self.key_result.status = Some(self.next(Some(&attempt)));
    }

    pub fn measures(&mut self, value: &str) {
        self.tries(measured(value));
    }

    pub fn fails(&mut self, reason: Reason) {
        self.tries(failed(reason));
    }

    /// Writes what is decided without an attempt.
    pub fn decides(&mut self) {
        self.key_result.status = Some(self.next(None));
    }

    /// Another spec, in a new generation.
    pub fn changes(&mut self, changes: Value) {
        let mut spec = serde_json::to_value(&self.key_result.spec).unwrap();
        merge(&mut spec, changes);
        self.key_result.spec = serde_json::from_value(spec).unwrap();
        *self.key_result.metadata.generation.as_mut().unwrap() += 1;
    }

    pub fn annotates(&mut self, name: &str, value: &str) {
        let annotations = self.key_result.metadata.annotations.get_or_insert_default();
        annotations.insert(name.to_owned(), value.to_owned());
    }

    pub fn refreshes(&mut self, value: &str) {
        self.annotates("okr-operator.dev/refresh", value);
    }

    pub fn status(&self) -> &MeasuredStatus {
        self.key_result.status.as_ref().expect("a status was written")
    }

    pub fn status_mut(&mut self) -> &mut MeasuredStatus {
        self.key_result.status.get_or_insert_default()
    }

    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status().conditions.iter().find(|condition| condition.type_ == kind)
    }

    /// `Ready` and what stands beside it, such as `False TableNotFound, Stalled`.
    pub fn ready_text(&self) -> String {
        ready_text(self.status())
    }

    /// The slots of this uid.
    pub fn slots(interval_seconds: u64) -> Slots {
        Slots::new(UID, okr_operator::api::Duration::from_secs(interval_seconds))
    }
}

pub fn ready_text(status: &MeasuredStatus) -> String {
    let find = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    let Some(ready) = find("Ready") else { return "undecided".to_owned() };
    let mut text = format!("{} {}", ready.status, ready.reason);
    for kind in ["Stalled", "Reconciling"] {
        if let Some(beside) = find(kind) {
            assert_eq!(beside.status, "True", "{kind} is there only while it is True");
            text += &format!(", {kind}");
            if beside.reason != ready.reason {
                text += &format!(" {}", beside.reason);
            }
        }
    }
    text
}

pub fn connection(namespace: &str, name: &str, changes: Value) -> BigQueryConnection {
    let mut spec = json!({"projectId": "data", "credentials": {"none": {}}, "endpoint": "http://127.0.0.1:9050"});
    merge(&mut spec, changes);
    serde_json::from_value(json!({
        "apiVersion": "okr-operator.dev/v1alpha1", "kind": "BigQueryConnection",
        "metadata": {"namespace": namespace, "name": name, "uid": format!("uid of {namespace}/{name}"), "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

pub fn measured(value: &str) -> Outcome {
    Outcome::Measured {
        value: value.to_owned(),
        query: LastQuery { job_id: None, location: None, bytes_processed: 0, cache_hit: false, duration_ms: 20 },
    }
}

pub fn failed(reason: Reason) -> Outcome {
    Outcome::Failed { reason, message: format!("{} in words", reason.name()) }
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Day `n` of the usual period, from 0.
pub fn day(n: i64) -> Date {
    Date::constant(2026, 1, 1) + n.days()
}

/// 00:00 UTC of that day.
pub fn midnight(n: i64) -> Timestamp {
    time(&format!("{}T00:00:00Z", day(n)))
}

pub fn noon(n: i64) -> Timestamp {
    midnight(n) + hours(12)
}

pub const fn seconds(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count)
}

pub const fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

pub const fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}
