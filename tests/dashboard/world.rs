//! A catalog over a list of JSON objects, and the router in front of it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use jiff::Timestamp;
use okr_operator::{
    dashboard::{self, Sources, Visible},
    view::{Gaps, catalog::Catalog},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Noon of the middle day of [`PERIOD`] as `key_result` writes it.
pub const NOW: &str = "2026-11-15T12:00:00Z";

pub fn now() -> Timestamp {
    NOW.parse().unwrap()
}

#[derive(Default)]
struct OfKind {
    all: Vec<Vec<u8>>,
    /// Where each is, by namespace and name.
    named: HashMap<(String, String), usize>,
}

impl OfKind {
    fn set(&mut self, object: &Value) {
        let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let at = *self.named.entry((part("namespace"), part("name"))).or_insert(self.all.len());
        let json = serde_json::to_vec(object).unwrap();
        match self.all.get_mut(at) {
            Some(before) => *before = json,
            None => self.all.push(json),
        }
    }

    fn each(&self, each: &mut dyn FnMut(&[u8])) {
        self.all.iter().for_each(|object| each(object));
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.named.get(&(namespace.to_owned(), name.to_owned())).map(|at| self.all[*at].clone())
    }
}

pub struct Objects {
    objectives: OfKind,
    key_results: Mutex<OfKind>,
    connections: OfKind,
    changes: watch::Sender<u64>,
    listed: bool,
    /// How often all key results were read.
    pub readings: AtomicUsize,
}

impl Objects {
    pub fn new(objects: impl IntoIterator<Item = Value>) -> Self {
        let [mut objectives, mut key_results, mut connections] = [(); 3].map(|()| OfKind::default());
        for object in objects {
            let of_kind = match object["kind"].as_str() {
                Some("OkrObjective") => &mut objectives,
                Some("OkrKeyResult") => &mut key_results,
                Some("BigQueryConnection") => &mut connections,
                kind => panic!("{kind:?} is no kind of ours"),
            };
            of_kind.set(&object);
        }
        Self {
            objectives,
            key_results: Mutex::new(key_results),
            connections,
            changes: watch::Sender::new(0),
            listed: true,
            readings: AtomicUsize::new(0),
        }
    }

    pub fn unlisted(self) -> Self {
        Self { listed: false, ..self }
    }

    /// Takes the place of the key result of that name, or is a new one.
    pub fn set(&self, key_result: &Value) {
        self.key_results.lock().unwrap().set(key_result);
        self.change();
    }

    /// How many streams of open pages there are.
    pub fn listeners(&self) -> usize {
        self.changes.receiver_count()
    }

    pub fn change(&self) {
        self.changes.send_modify(|change| *change += 1);
    }
}

impl Catalog for Objects {
    fn each_objective(&self, of: &mut dyn FnMut(&[u8])) {
        self.objectives.each(of);
    }

    fn each_key_result(&self, of: &mut dyn FnMut(&[u8])) {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.key_results.lock().unwrap().each(of);
    }

    fn each_connection(&self, of: &mut dyn FnMut(&[u8])) {
        self.connections.each(of);
    }

    fn objective(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.objectives.find(namespace, name)
    }

    fn key_result(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.key_results.lock().unwrap().find(namespace, name)
    }

    fn connection(&self, namespace: &str, name: &str) -> Option<Vec<u8>> {
        self.connections.find(namespace, name)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn is_listed(&self) -> bool {
        self.listed
    }
}

pub struct Site {
    pub objects: Arc<Objects>,
    pub shutdown: CancellationToken,
    pub router: Router,
}

pub fn site(objects: impl IntoIterator<Item = Value>) -> Site {
    over(Objects::new(objects))
}

pub fn over(objects: Objects) -> Site {
    let objects = Arc::new(objects);
    let shutdown = CancellationToken::new();
    let number = |text: &str| okr_operator::domain::number::parse(text).unwrap();
    let router = dashboard::router(Sources {
        catalog: objects.clone(),
        gaps: Gaps { behind: number("0"), at_risk: number("25") },
        now,
        shutdown: shutdown.clone(),
    });
    Site { objects, shutdown, router }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Site {
    pub async fn get(&self, address: &str) -> Answer {
        self.ask(Request::get(address).body(Body::empty()).unwrap()).await
    }

    /// As somebody who may see these namespaces alone.
    pub async fn get_as(&self, namespaces: &[&str], address: &str) -> Answer {
        let namespaces: BTreeSet<String> = namespaces.iter().map(|&name| name.to_owned()).collect();
        let visible = Visible::Namespaces(Arc::new(namespaces));
        self.ask(Request::get(address).extension(visible).body(Body::empty()).unwrap()).await
    }

    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    pub async fn page(&self, address: &str) -> String {
        let answer = self.get(address).await;
        assert_eq!(answer.status, StatusCode::OK, "{address}");
        answer.text
    }

    pub async fn json(&self, address: &str) -> Value {
        serde_json::from_str(&self.page(address).await).unwrap()
    }
}

/// A key result that was read an hour before [`NOW`], with what `change` says in place of what it says here.
pub fn key_result(namespace: &str, name: &str, change: Value) -> Value {
    let mut object = json!({
        "apiVersion": "okr-operator.dev/v1alpha1",
        "kind": "OkrKeyResult",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-of-{name}"), "generation": 1},
        "spec": {
            "title": format!("Title of {name}"),
            "owner": "growth-team",
            "period": {"startDate": "2026-10-01", "endDate": "2026-12-31"},
            "measure": {"reach": {"target": 5000}},
            "unit": "leads",
            "bigQuery": {"query": "SELECT COUNT(*) FROM sales.leads"}
        },
        "status": {
            "observedGeneration": 1,
            "okrStatus": "Behind",
            "okrStatusSince": "2026-11-01T00:10:00Z",
            "computedStatus": "Behind",
            "value": "2350",
            "valueTime": "2026-11-15T11:00:00Z",
            "targetText": "5000",
            "progressPercent": "47",
            "expectedProgressPercent": "49.45",
            "explanation": "2350 of 5000 leads is 47 % progress, where 49.45 % is expected on 2026-11-15: 2.45 points behind, more than 0 but not more than 25, so Behind.",
            "connection": {"namespace": namespace, "name": "warehouse", "uid": "uid-of-warehouse"},
            "queryFingerprint": "abc", "attemptedFingerprint": "abc",
            "lastSyncTime": "2026-11-15T11:00:00Z",
            "nextSyncTime": "2026-11-15T12:12:00Z",
            "lastQuery": {"jobId": "job_abc", "location": "EU", "bytesProcessed": 1_288_490_188u64, "cacheHit": false, "durationMs": 840},
            "history": [
                {"time": "2026-10-02T08:00:00Z", "value": "40"},
                {"time": "2026-10-20T08:00:00Z", "value": "1200"},
                {"time": "2026-11-15T11:00:00Z", "value": "2350"}
            ],
            "historyOf": "reach, leads",
            "conditions": [
                condition("Ready", "True", "Synced", "The last query gave a value."),
                condition("OnTrack", "False", "Behind", "Behind."),
                condition("Fresh", "True", "Current", "The value is current.")
            ]
        }
    });
    merge(&mut object, change);
    object
}

/// As a roll-up stands.
pub fn objective(namespace: &str, name: &str, change: Value) -> Value {
    let mut object = json!({
        "apiVersion": "okr-operator.dev/v1alpha1",
        "kind": "OkrObjective",
        "metadata": {"name": name, "namespace": namespace, "uid": format!("uid-of-{name}"), "generation": 1},
        "spec": {"title": format!("Title of {name}"), "owner": "sales-lead", "period": {"startDate": "2026-10-01", "endDate": "2026-12-31"}},
        "status": {
            "okrStatus": "OnTrack",
            "progressPercent": "60",
            "expectedProgressPercent": "49.45",
            "explanation": "60 % progress.",
            "conditions": [condition("Ready", "True", "RolledUp", "Rolled up.")]
        }
    });
    merge(&mut object, change);
    object
}

pub fn connection(namespace: &str, name: &str, display_name: &str) -> Value {
    json!({
        "apiVersion": "okr-operator.dev/v1alpha1",
        "kind": "BigQueryConnection",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "displayName": display_name, "projectId": "my-project", "billingProjectId": "billing-project",
            "credentials": {"workloadIdentity": {}}
        },
        "status": {"principal": "reader@my-project.iam.gserviceaccount.com", "linkedKeyResults": 1, "conditions": [condition("Ready", "True", "Connected", "Connected.")]}
    })
}

pub fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-11-01T00:10:00Z", "observedGeneration": 1
    })
}

/// RFC 7396: null removes.
pub fn merge(target: &mut Value, change: Value) {
    let Value::Object(change) = change else {
        *target = change;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let object = target.as_object_mut().unwrap();
    for (key, value) in change {
        if value.is_null() {
            object.remove(&key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// What a page says, without its tags.
pub fn words(html: &str) -> String {
    let mut text = String::new();
    let mut within = false;
    for character in html.chars() {
        match character {
            '<' => within = true,
            '>' => {
                within = false;
                text.push(' ');
            }
            _ if within => {}
            _ => text.push(character),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The titles of rows, in the order of the page.
pub fn titles(html: &str) -> Vec<String> {
    let headings = html.split("\"what\">").skip(1);
    headings.map(|rest| words(&rest[..rest.find("</h").unwrap()])).collect()
}
