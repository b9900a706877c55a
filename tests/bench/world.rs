//! Namespaces full of key results, with statuses as the operator would have written them.

use std::{mem::ManuallyDrop, time::Duration};

use futures::{StreamExt, stream};
use http::{HeaderValue, header::ACCEPT};
use jiff::{SignedDuration, Span, Timestamp, tz::TimeZone};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
    core::{PartialObjectMeta, Request},
};
use okr_operator::{
    api::{BigQueryConnection, HistoryPoint, LastQuery, MeasuredStatus, OkrKeyResult, Time},
    domain::{
        Measured,
        judgement::Gaps,
        measured::Source,
        number::integer,
        schedule::{self, Route, Slots, Through},
        status::{self, Attempt, Outcome},
    },
};
use serde_json::{Value, json};

use crate::{
    process::Process,
    progress,
    support::{
        bigquery_stub::{Reply, Stub},
        cluster::{Sandbox, as_the_operator, sandbox},
    },
};

/// What BigQuery takes for an answer, dry runs included (SPEC 8).
pub const ANSWER: Duration = Duration::from_millis(20);

/// SPEC 8's `maxConcurrentQueries`.
pub const MOST_QUERIES: usize = 64;

/// SPEC 8 compares with the rate of status writes at this concurrency.
pub const WRITERS: usize = 16;

/// SPEC 8: queries of 500 bytes.
const QUERY_BYTES: usize = 500;

/// On track by what is expected on day 50 of 100: a good first value is no event.
const VALUE: &str = "4000";

const API_VERSION: &str = "okr-operator.dev/v1alpha1";
const KIND: &str = "OkrKeyResult";

const METADATA_ALONE: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// A whole status, as the operator writes it.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdate {
    api_version: &'static str,
    kind: &'static str,
    metadata: Value,
    status: MeasuredStatus,
}

/// What all measurements share.
pub struct World {
    pub stub: Stub,
    /// The 10,000 that are created once, as that takes longest.
    pub large: Option<Fleet>,
    /// CPU time of a start with the 10,000 when nothing is due.
    pub start_cpu: Option<Duration>,
}

/// A namespace with a connection and its key results.
pub struct Fleet {
    pub client: Client,
    pub namespace: String,
    pub connection: BigQueryConnection,
    pub members: Vec<OkrKeyResult>,
}

impl World {
    pub async fn new() -> Self {
        let stub = Stub::start().await;
        // Counting is enough, and 10,000 recorded requests would cost this process the CPU it shares with the operator.
        stub.keep_requests(false);
        stub.otherwise(Reply::number("INT64", VALUE).bytes(1_234_567).delay(ANSWER));
        Self { stub, large: None, start_cpu: None }
    }

    /// A new namespace whose connection the operator has found Ready.
    pub async fn fleet(&self, prefix: &str, min_interval: &str) -> Fleet {
        // Kept: removing it would cost the API server what the next measurement needs. The servers end with the run.
        let sandbox: ManuallyDrop<Sandbox> = ManuallyDrop::new(sandbox(prefix).await);
        let spec = json!({
            "projectId": "demo", "endpoint": self.stub.endpoint(), "credentials": {"none": {}},
            "limits": {"maxConcurrentQueries": MOST_QUERIES, "minInterval": min_interval},
        });
        sandbox.apply::<BigQueryConnection>("warehouse", spec).await;
        let operator = Process::start(&sandbox.namespace, &[]);
        sandbox.await_connection("warehouse", "Connected").await;
        operator.stop().await;
        let connection = sandbox.api::<BigQueryConnection>().get("warehouse").await.expect("the connection");
        Fleet { client: sandbox.client.clone(), namespace: sandbox.namespace.clone(), connection, members: Vec::new() }
    }
}

impl Fleet {
    fn api(&self) -> Api<OkrKeyResult> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates so many key results, as fast as the server takes them.
    pub async fn create(&mut self, number: usize, interval: &str) {
        let first = self.members.len();
        let api = self.api();
        let create = |index: usize| {
            let (api, interval) = (api.clone(), interval.to_owned());
            async move { create(&api, index, &interval).await }
        };
        let created = stream::iter(first..first + number).map(create).buffer_unordered(WRITERS);
        self.members.extend(created.collect::<Vec<_>>().await);
    }

    /// Replaces those whose slot comes within `quiet`: what is created anew has another uid, and with it another slot.
    pub async fn keep_quiet(&mut self, interval: &str, quiet: SignedDuration, now: Timestamp) {
        let api = self.api();
        let seconds = interval.parse().expect("a duration");
        for (index, member) in self.members.iter_mut().enumerate() {
            let uid = |member: &OkrKeyResult| member.metadata.uid.clone().unwrap_or_default();
            while Slots::new(&uid(member), seconds).after(now) < now + quiet {
                let name = member.metadata.name.clone().unwrap_or_default();
                api.delete(&name, &DeleteParams::default()).await.expect("a key result is deleted");
                *member = create(&api, 1_000_000 + index, interval).await;
            }
        }
    }

    /// Writes the status of each after a good sync at `synced`, with so many points of history. Returns the writes per
    /// second.
    pub async fn write(&mut self, synced: Timestamp, points: usize) -> f64 {
        let now = crate::now();
        // Decided beforehand: what is timed is the API server.
        let statuses: Vec<MeasuredStatus> =
            self.members.iter().map(|member| synced_status(member, &self.connection, synced, now, points)).collect();
        let (client, namespace) = (&self.client, self.namespace.as_str());
        let began = std::time::Instant::now();
        let writes = self.members.iter().zip(statuses).map(|(member, status)| {
            let meta = &member.metadata;
            let name = meta.name.clone().unwrap_or_default();
            let guard = json!({
                "name": name, "namespace": namespace, "uid": meta.uid, "resourceVersion": meta.resource_version,
            });
            let update = StatusUpdate { api_version: API_VERSION, kind: KIND, metadata: guard, status };
            let update = serde_json::to_vec(&update).expect("JSON");
            let request = Request::new(OkrKeyResult::url_path(&(), Some(namespace)));
            let request = request.replace_subresource("status", &name, &as_the_operator(), update);
            let mut request = request.expect("a request");
            // As the operator asks: for what it needs of the answer.
            request.headers_mut().insert(ACCEPT, METADATA_ALONE);
            async move {
                let written: PartialObjectMeta = client.request(request).await.expect("a status is written");
                written.metadata.resource_version
            }
        });
        let versions: Vec<_> = stream::iter(writes).buffered(WRITERS).collect().await;
        let rate = versions.len() as f64 / began.elapsed().as_secs_f64();
        for (member, version) in self.members.iter_mut().zip(versions) {
            member.metadata.resource_version = version;
        }
        rate
    }

    /// How long it takes from now until key result `name` has its first value.
    pub async fn until_value(&self, name: &str) -> Duration {
        let began = std::time::Instant::now();
        loop {
            let status = self.api().get(name).await.expect("a key result").status;
            if status.is_some_and(|status| status.value.is_some()) {
                return began.elapsed();
            }
            assert!(began.elapsed() < Duration::from_secs(120), "{name} gets no value");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Creates one more and returns its name.
    pub async fn add(&mut self, interval: &str) -> String {
        let member = create(&self.api(), 2_000_000 + self.members.len(), interval).await;
        let name = member.metadata.name.clone().unwrap_or_default();
        self.members.push(member);
        name
    }
}

/// A namespace of 1,000 or more whose key results have been synced a moment ago and rest for an hour.
pub async fn resting(world: &World, prefix: &str, number: usize, points: usize) -> Fleet {
    let mut fleet = world.fleet(prefix, "5m").await;
    progress(&format!("creating {number} key results"));
    fleet.create(number, RESTING_INTERVAL).await;
    fleet.keep_quiet(RESTING_INTERVAL, SignedDuration::from_hours(1), crate::now()).await;
    fleet.write(crate::now(), points).await;
    fleet
}

/// The longest there is: few of its slots fall into the run.
pub const RESTING_INTERVAL: &str = "168h";

async fn create(api: &Api<OkrKeyResult>, index: usize, interval: &str) -> OkrKeyResult {
    let object = key_result(index, interval);
    let mut created = api.create(&PostParams::default(), &object).await.expect("a key result is created");
    created.metadata.managed_fields = None;
    created
}

/// One to reach 5,000 in a hundred days, half of which are over.
pub fn key_result(index: usize, interval: &str) -> OkrKeyResult {
    let today = crate::now().to_zoned(TimeZone::UTC).date();
    let day = |offset: i64| (today + Span::new().days(offset)).to_string();
    serde_json::from_value(json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": {"name": format!("converted-leads-{index:07}")},
        "spec": {
            "title": "Convert 5,000 leads", "owner": "growth-team", "unit": "leads", "interval": interval,
            "period": {"startDate": day(-50), "endDate": day(50)},
            "measure": {"reach": {"target": 5000}},
            "bigQuery": {"query": query(index)},
        },
    }))
    .expect("a key result")
}

/// Each has a text of its own, as people's have.
fn query(index: usize) -> String {
    let mut query = format!("SELECT COUNT(*) FROM sales.leads WHERE region = 'region-{index:07}' AND channel IN (");
    while query.len() < QUERY_BYTES - 30 {
        query += "'partner', 'web', ";
    }
    let rest = QUERY_BYTES - query.len() - "'')".len();
    query + "'" + &"x".repeat(rest) + "')"
}

/// The way through a connection that works.
pub fn route<'a>(measured: &Measured<'_>, connection: &'a BigQueryConnection) -> Route<'a> {
    let Source::BigQuery(source) = measured.source else { unreachable!("it has a query") };
    let fingerprint = schedule::fingerprint(measured, source, connection);
    Ok(Through { connection, fingerprint, ready: true, within_budget: true, changed_at: None, tried_at: None })
}

/// The status after a good sync at `synced`, as it is decided at `now`.
pub fn synced_status(
    object: &OkrKeyResult,
    connection: &BigQueryConnection,
    synced: Timestamp,
    now: Timestamp,
    points: usize,
) -> MeasuredStatus {
    let unwritten = OkrKeyResult { status: None, ..object.clone() };
    let measured = Measured::try_from(&unwritten).expect("a query");
    let route = route(&measured, connection);
    let query = LastQuery {
        job_id: Some("job_000000".to_owned()),
        location: Some("US".to_owned()),
        bytes_processed: 1_234_567,
        cache_hit: false,
        duration_ms: 21,
    };
    let attempt = Attempt {
        fingerprint: route.as_ref().expect("a connection").fingerprint.clone(),
        refresh: None,
        reconcile_at: None,
        ended: synced,
        outcome: Outcome::Measured { value: VALUE.to_owned(), query },
    };
    let mut status = status::next(&measured, &route, Some(&attempt), &gaps(), now);
    let last = status.history.pop().expect("the point of this sync");
    // A point a day: the hundredth of the period.
    let day = SignedDuration::from_hours(24);
    status.history = (1..points)
        .rev()
        .zip(0_i32..)
        .map(|(days_ago, index)| HistoryPoint {
            time: Time(last.time.0 - day * i32::try_from(days_ago).expect("at most 120")),
            value: (3000 + index).to_string(),
        })
        .chain([last.clone()])
        .collect();
    // What follows from the history, the forecast, is the operator's to decide: else each start would write it.
    status::next(&Measured { status: &status, ..measured }, &route, None, &gaps(), now)
}

/// The operator's default.
pub fn gaps() -> Gaps {
    Gaps { behind: integer(0), at_risk: integer(25) }
}
