//! What is counted, in Prometheus' format. Counters move where things happen; gauges are read when somebody asks.
//! `docs/metrics.md` says what each means; a test holds it to what is served.

pub mod api_calls;
mod objects;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabelSet, EncodeMetric,
        text::{encode_eof, encode_registry},
    },
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::view::{
    catalog::Catalog,
    reading::{CopiedLabels, Reading},
};

use self::{api_calls::Call, objects::Objects};

/// Every metric of the operator.
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Of what exists; without a prefix.
    objects: Mutex<Registry>,
    syncs: Family<Attempt, Counter>,
    api_requests: Family<Request, Counter>,
    writes: Family<Write, Counter>,
    /// From sending a query to its answer or cancellation, polls included.
    pub query_seconds: Histogram,
    /// From a slot to the start of its sync.
    pub sync_lateness_seconds: Histogram,
    pub bytes_processed: Counter,
    watch_failures: Family<Kind, Counter>,
    unavailable_namespaces: Family<Namespace, Gauge>,
    /// What of each namespace is unavailable: kinds, or the namespace itself.
    unavailable: Mutex<BTreeMap<String, BTreeSet<&'static str>>>,
    leader: Gauge,
    queue: CurrentQueue,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    verb: &'static str,
    resource: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    kind: String,
    result: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("okr_operator");
        let syncs = Family::default();
        registry.register("syncs", "Attempts to read a key result's value, by what came of them", syncs.clone());
        let writes = Family::default();
        registry.register("status_writes", "Status writes to the API server, by result", writes.clone());
        // A cached answer takes tens of milliseconds, the longest timeout is ten minutes.
        let query_seconds = Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0]);
        let help = "Time from sending a query to its answer";
        registry.register_with_unit("query", help, Unit::Seconds, query_seconds.clone());
        let bytes_processed = Counter::default();
        let help = "Bytes that queries read";
        registry.register_with_unit("query_processed", help, Unit::Bytes, bytes_processed.clone());
        // A minute is what is promised; hours tell of a downtime.
        let lateness = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21600.0];
        let sync_lateness_seconds = Histogram::new(lateness);
        let help = "Time from a slot to the start of its sync";
        registry.register_with_unit("sync_lateness", help, Unit::Seconds, sync_lateness_seconds.clone());
        let watch_failures = Family::default();
        registry.register("watch_failures", "Failures of a watch on the API server", watch_failures.clone());
        let unavailable_namespaces = Family::default();
        registry.register(
            "namespace_unavailable",
            "1 while a namespace of --namespaces does not exist or cannot be read",
            unavailable_namespaces.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this process decides and syncs, 0 while it stands by", leader.clone());
        let api_requests = Family::default();
        registry.register("api_requests", "Requests to the API server, by their answer", api_requests.clone());
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "1, with the version of this operator", build);
        let queue = CurrentQueue::default();
        registry.register_collector(Box::new(queue.clone()));
        Self {
            registry: Mutex::new(registry),
            objects: Mutex::default(),
            syncs,
            api_requests,
            writes,
            query_seconds,
            sync_lateness_seconds,
            bytes_processed,
            watch_failures,
            unavailable_namespaces,
            unavailable: Mutex::default(),
            leader,
            queue,
        }
    }
}

impl Metrics {
    /// One attempt, `measured`, `checked` or `failed`, and by its reason's one name.
    pub fn sync(&self, outcome: &'static str, reason: &'static str) {
        self.syncs.get_or_create(&Attempt { outcome, reason }).inc();
    }

    /// One request to the API server, and the code of its answer, if there was one.
    pub fn api_called(&self, call: Call, code: Option<u16>) {
        let Call { verb, resource } = call;
        let code = code.map_or_else(|| "error".to_owned(), |code| code.to_string());
        self.api_requests.get_or_create(&Request { verb, resource, code }).inc();
    }

    /// One status write: `written`, `conflict`, `refused` or `failed`.
    pub fn written(&self, kind: &str, result: &'static str) {
        self.writes.get_or_create(&Write { kind: kind.to_owned(), result }).inc();
    }

    /// Counts from 0 what may happen to the watch of a kind: what first appears with a 1 has not risen, to Prometheus.
    pub fn watches(&self, kind: &'static str) {
        drop(self.watch_failures.get_or_create(&Kind { kind }));
    }

    /// One failure of a watch.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_failures.get_or_create(&Kind { kind }).inc();
    }

    /// Whether this process decides and syncs.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Whether something of a namespace that was named, objects of a kind or the namespace itself, is there to be read.
    pub fn namespace_readable(&self, namespace: &str, kind: &'static str, readable: bool) {
        let mut unavailable = self.unavailable.lock().unwrap_or_else(PoisonError::into_inner);
        let of_namespace = unavailable.entry(namespace.to_owned()).or_default();
        if readable {
            of_namespace.remove(kind);
        } else {
            of_namespace.insert(kind);
        }
        let namespace = Namespace { namespace: namespace.to_owned() };
        self.unavailable_namespaces.get_or_create(&namespace).set(i64::from(!of_namespace.is_empty()));
    }

    /// Reports the depth of `queue`, for as long as it exists, in the place of the one before.
    pub fn watch_queue<Q: Depth + Send + Sync + 'static>(&self, queue: &Arc<Q>) {
        let queue: Weak<Q> = Arc::downgrade(queue);
        *self.queue.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    }

    /// Tells from now on how key results and objectives stand by `readings`, with `labels` of theirs, and the connections
    /// of `catalog`, while this process leads.
    pub fn read_from(
        &self,
        readings: impl Fn() -> Vec<Arc<Reading>> + Send + Sync + 'static,
        labels: CopiedLabels,
        catalog: Arc<dyn Catalog>,
    ) {
        let mut registry = Registry::default();
        let objects = Objects { readings: Box::new(readings), catalog, labels, leader: self.leader.clone() };
        registry.register_collector(Box::new(objects));
        *self.objects.lock().unwrap_or_else(PoisonError::into_inner) = registry;
    }

    /// All metrics in the OpenMetrics text format.
    pub fn open_metrics(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        encode_registry(&mut text, &self.objects.lock().unwrap_or_else(PoisonError::into_inner))?;
        encode_eof(&mut text)?;
        Ok(text)
    }

    /// The same in Prometheus' own text format, for whoever does not ask for the other.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        Ok(plain(&self.open_metrics()?))
    }
}

/// OpenMetrics' text in Prometheus' format, in which a counter is described by the name that its samples have.
fn plain(open_metrics: &str) -> String {
    let mut plain = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                let _ = writeln!(plain, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(plain, "# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

/// Something that work waits in.
pub trait Depth {
    fn depth(&self) -> usize;
}

/// The queue of now: each reign of this process has one of its own.
#[derive(Clone, Default)]
struct CurrentQueue(Arc<Mutex<Option<Weak<dyn Depth + Send + Sync>>>>);

impl std::fmt::Debug for CurrentQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("CurrentQueue")
    }
}

impl Collector for CurrentQueue {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(Weak::upgrade);
        let Some(queue) = queue else { return Ok(()) };
        let depth = ConstGauge::new(i64::try_from(queue.depth()).unwrap_or(i64::MAX));
        let encoder =
            encoder.encode_descriptor("queue_depth", "Objects that wait for a worker", None, depth.metric_type())?;
        depth.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_plain_text_a_counter_is_described_by_the_name_of_its_samples() {
        let open_metrics = "# HELP a_bytes Bytes.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\na_bytes_total 1\n\
            # HELP b B.\n# TYPE b gauge\nb{x=\"# HELP \\n\"} 2\n# EOF\n";
        let want = "# HELP a_bytes_total Bytes.\n# TYPE a_bytes_total counter\na_bytes_total 1\n\
            # HELP b B.\n# TYPE b gauge\nb{x=\"# HELP \\n\"} 2\n";
        assert_eq!(plain(open_metrics), want);
    }
}
