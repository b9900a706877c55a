//! What people do to key results while things fail: create, change, delete, make anew, rename, rest, check in, refresh,
//! and write into a status what no query returned.
//!
//! It goes to the API server itself, not through a proxy, and does each thing until it is done. Every query text is
//! unique to one version of one key result, so that whatever is seen later can be traced to it.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use okr_operator::{
    api::{BigQueryConnection, Lifecycle, OkrKeyResult, OkrObjective, OkrStatus},
    domain::{
        number::{self, Exact},
        progress,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{now, plan::Dice};

pub const NAMESPACES: [&str; 3] = ["faults-a", "faults-b", "faults-c"];

/// The objective of all key results of a namespace.
pub const OBJECTIVE: &str = "all";

/// How long a control plane may be away.
const PATIENCE: Duration = Duration::from_secs(120);

pub type Place = (String, String);

/// What is wanted of a key result at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub sql: String,
    /// Why nothing is sent, if it is not.
    pub rest: Option<Rest>,
    /// Whether a person says how it stands, against the numbers.
    pub is_checked_in: bool,
    target: u64,
}

/// What a check-in says: no number here does, as each value is far below its target.
pub const CHECKED_IN: OkrStatus = OkrStatus::OnTrack;

/// A value that people write into a status: no run of a query gives it.
pub const FORGED: &str = "0.5";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    Suspended,
    Postponed,
    Closed,
}

impl Rest {
    const ALL: [Self; 3] = [Self::Suspended, Self::Postponed, Self::Closed];

    /// That of Ready meanwhile.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Suspended => "Suspended",
            Self::Postponed => "Postponed",
            Self::Closed => "Closed",
        }
    }

    fn lifecycle(self) -> &'static str {
        match self {
            Self::Suspended => "Active",
            Self::Postponed => "Postponed",
            Self::Closed => "Closed",
        }
    }
}

/// One thing done to a key result.
#[derive(Debug, Clone)]
pub struct Touch {
    pub place: Place,
    pub began: Timestamp,
    pub done: Timestamp,
}

/// What was done, for those who judge.
#[derive(Default)]
pub struct Book {
    pub wanted: Mutex<BTreeMap<Place, Wanted>>,
    pub touches: Mutex<Vec<Touch>>,
}

pub struct Workload {
    client: Client,
    dice: Dice,
    pub book: Arc<Book>,
    serial: u64,
    key_results: u64,
}

impl Workload {
    pub fn new(client: Client, dice: Dice) -> Self {
        Self { client, dice, book: Arc::default(), serial: 0, key_results: 0 }
    }

    /// Two connections to `endpoint`, of which the namespace without one uses another's, and so many key results.
    ///
    /// The shared connection has a service account key, whose tokens come from the same server.
    pub async fn begin(&mut self, endpoint: &str, key_file: &[u8], key_results: u64) {
        self.key_results = key_results;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        for name in NAMESPACES {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            put(&namespaces, name, &namespace).await;
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACES[1]);
        let key_file = String::from_utf8(key_file.to_vec()).unwrap();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "google"},
            "stringData": {"key.json": key_file}});
        put(&secrets, "google", &secret).await;
        let with_key = json!({"serviceAccountKey": {"secretRef": {"name": "google", "key": "key.json"}}});
        for (namespace, name, credentials) in
            [(NAMESPACES[0], "warehouse", json!({"none": {}})), (NAMESPACES[1], "lake", with_key)]
        {
            let connections: Api<BigQueryConnection> = Api::namespaced(self.client.clone(), namespace);
            let connection = json!({
                "apiVersion": "okr-operator.dev/v1alpha1", "kind": "BigQueryConnection", "metadata": {"name": name},
                "spec": {"projectId": "demo", "endpoint": endpoint, "credentials": credentials,
                    "allowedNamespaces": {"from": "All"}, "limits": {"minInterval": "1m"}},
            });
            put(&connections, name, &connection).await;
        }
        for namespace in NAMESPACES {
            let objective = json!({
                "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrObjective", "metadata": {"name": OBJECTIVE},
                "spec": {"period": period()},
            });
            put(&Api::<OkrObjective>::namespaced(self.client.clone(), namespace), OBJECTIVE, &objective).await;
        }
        for number in 0..key_results {
            let place = (self.dice.one_of(&NAMESPACES).to_string(), format!("kr-{number}"));
            self.create(place).await;
        }
    }

    /// One thing, as the dice fall.
    pub async fn act(&mut self) {
        let places: Vec<Place> = self.book.wanted.lock().unwrap().keys().cloned().collect();
        let place = self.dice.one_of(&places).clone();
        match self.dice.below(100) {
            0..35 => self.refresh(place).await,
            35..40 => self.forge(place).await,
            40..60 => {
                let sql = self.new_sql(&place);
                self.change(place, |wanted| wanted.sql = sql).await;
            }
            60..68 => self.change(place, |wanted| wanted.target += 1).await,
            68..75 => self.change(place, |wanted| wanted.is_checked_in = !wanted.is_checked_in).await,
            75..83 => {
                let rest = *self.dice.one_of(&Rest::ALL);
                self.change(place, |wanted| wanted.rest = wanted.rest.is_none().then_some(rest)).await;
            }
            83..90 => {
                self.delete(place.clone()).await;
                self.create(place).await;
            }
            90..95 => {
                // A new name for the same thing is another object.
                self.delete(place.clone()).await;
                self.serial += 1;
                let renamed = (place.0, format!("kr-named-{}", self.serial));
                self.create(renamed).await;
            }
            _ => {
                self.refresh(place.clone()).await;
                self.refresh(place.clone()).await;
                let sql = self.new_sql(&place);
                self.change(place, |wanted| wanted.sql = sql).await;
            }
        }
    }

    /// As an administrator does once an outage is over: connections are checked at once.
    pub async fn refresh_connections(&mut self) {
        self.serial += 1;
        let patch = json!({"metadata": {"annotations": {"okr-operator.dev/refresh": self.serial.to_string()}}});
        for (namespace, name) in [(NAMESPACES[0], "warehouse"), (NAMESPACES[1], "lake")] {
            let connections: Api<BigQueryConnection> = Api::namespaced(self.client.clone(), namespace);
            merge(&connections, name, &patch).await;
        }
    }

    /// The objectives that do not say what the key results of their namespaces come to, in words. Nobody's own word: this is
    /// computed from what the API server has.
    pub async fn wrong_objectives(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for namespace in NAMESPACES {
            let api = self.key_results_in(namespace);
            let all = ListParams::default();
            let key_results = persist(|| api.list(&all)).await.items;
            let api = Api::<OkrObjective>::namespaced(self.client.clone(), namespace);
            let status = persist(|| api.get(OBJECTIVE)).await.status.unwrap_or_default();
            let progress = |key_result: &OkrKeyResult| {
                let value = number::parse(key_result.status.as_ref()?.value.as_ref()?)?;
                progress::progress(&key_result.spec.measure, &value).map(|progress| number::clamp_percent(&progress))
            };
            let counts = |key_result: &OkrKeyResult| key_result.spec.lifecycle != Some(Lifecycle::Postponed);
            let sum: Exact = key_results.iter().filter(|key_result| counts(key_result)).filter_map(progress).sum();
            let counting = key_results.iter().filter(|key_result| counts(key_result)).count();
            let mean =
                (counting > 0).then(|| number::two_places(&(sum / number::integer(counting.try_into().unwrap()))));
            let stands = |key_result: &OkrKeyResult| {
                (key_result.name_any(), key_result.status.as_ref().and_then(|status| status.okr_status))
            };
            let are: BTreeMap<_, _> = key_results.iter().map(stands).collect();
            let listed: BTreeMap<_, _> =
                status.children.iter().map(|child| (child.name.clone(), child.okr_status)).collect();
            if are != listed || status.measured.progress_percent != mean {
                wrong.push(format!(
                    "the objective of {namespace} has {:?} % of {listed:?}, and its key results come to {mean:?} % of {are:?}",
                    status.measured.progress_percent
                ));
            }
        }
        wrong
    }

    fn new_sql(&mut self, (namespace, name): &Place) -> String {
        self.serial += 1;
        format!("SELECT total FROM counts WHERE key = '{namespace}/{name}#{}'", self.serial)
    }

    async fn create(&mut self, place: Place) {
        let sql = self.new_sql(&place);
        let wanted = Wanted { sql, rest: None, is_checked_in: false, target: 1_000_000 };
        self.put(place, wanted).await;
    }

    async fn change(&mut self, place: Place, change: impl FnOnce(&mut Wanted)) {
        let mut wanted = self.book.wanted.lock().unwrap()[&place].clone();
        change(&mut wanted);
        self.put(place, wanted).await;
    }

    async fn put(&mut self, place: Place, wanted: Wanted) {
        let reference = match place.0.as_str() {
            "faults-a" => json!({"name": "warehouse"}),
            _ => json!({"name": "lake", "namespace": NAMESPACES[1]}),
        };
        let lifecycle = wanted.rest.map_or("Active", Rest::lifecycle);
        let check_in = wanted
            .is_checked_in
            .then(|| json!({"okrStatus": CHECKED_IN, "note": "An order comes in", "until": period()["endDate"]}));
        let mut key_result = json!({
            "apiVersion": "okr-operator.dev/v1alpha1", "kind": "OkrKeyResult", "metadata": {"name": place.1},
            "spec": {
                "objectiveRef": {"name": OBJECTIVE},
                "measure": {"reach": {"target": wanted.target}}, "period": period(), "interval": "1m",
                "suspend": wanted.rest == Some(Rest::Suspended), "lifecycle": lifecycle, "bigQuery": {"connectionRef": reference, "query": wanted.sql},
            },
        });
        if let Some(check_in) = check_in {
            key_result["spec"]["override"] = check_in;
        }
        let began = now();
        let api = self.key_results_in(&place.0);
        put(&api, &place.1, &key_result).await;
        self.book.wanted.lock().unwrap().insert(place.clone(), wanted);
        self.touched(place, began);
    }

    async fn refresh(&mut self, place: Place) {
        self.serial += 1;
        let name = *self.dice.one_of(&["okr-operator.dev/refresh", "reconcile.fluxcd.io/requestedAt"]);
        let patch = json!({"metadata": {"annotations": {name: self.serial.to_string()}}});
        let began = now();
        let api = self.key_results_in(&place.0);
        merge(&api, &place.1, &patch).await;
        self.touched(place, began);
    }

    async fn forge(&mut self, place: Place) {
        let began = now();
        let api = self.key_results_in(&place.0);
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(json!({"status": {"value": FORGED}})));
        persist(|| api.patch_status(&place.1, &parameters, &patch)).await;
        self.touched(place, began);
    }

    async fn delete(&mut self, place: Place) {
        let began = now();
        let api = self.key_results_in(&place.0);
        persist(|| async {
            match api.delete(&place.1, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                answer => answer.map(drop),
            }
        })
        .await;
        self.book.wanted.lock().unwrap().remove(&place);
        self.touched(place, began);
    }

    fn touched(&self, place: Place, began: Timestamp) {
        self.book.touches.lock().unwrap().push(Touch { place, began, done: now() });
    }

    fn key_results_in(&self, namespace: &str) -> Api<OkrKeyResult> {
        Api::namespaced(self.client.clone(), namespace)
    }
}

/// As `kubectl apply` does.
async fn put<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str, object: &Value) {
    let (parameters, patch) = (PatchParams::apply("people").force(), Patch::Apply(object));
    persist(|| api.patch(name, &parameters, &patch)).await;
}

/// As `kubectl annotate` does.
async fn merge<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str, patch: &Value) {
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    persist(|| api.patch(name, &parameters, &patch)).await;
}

fn period() -> Value {
    let today = now().to_zoned(TimeZone::UTC).date();
    json!({"startDate": (today - 50.days()).to_string(), "endDate": (today + 50.days()).to_string()})
}

/// Does it until it is done: the control plane is killed now and then.
async fn persist<T, F: Future<Output = kube::Result<T>>>(ask: impl Fn() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A connection to a killed server can hang.
        match tokio::time::timeout(Duration::from_secs(5), ask()).await {
            Ok(Ok(answer)) => return answer,
            failed => {
                assert!(Instant::now() < deadline, "the workload waits for the API server: {:?}", failed.map(drop_ok))
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn drop_ok<T>(answer: kube::Result<T>) -> Option<kube::Error> {
    answer.err()
}
