//! What is counted, in Prometheus' format. Counters move where things happen; gauges are read when somebody asks.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

/// Every metric of the operator.
pub struct Metrics {
    registry: Mutex<Registry>,
    syncs: Family<Reason, Counter>,
    writes: Family<Write, Counter>,
    /// From sending a query to its answer or cancellation, polls included.
    pub query_seconds: Histogram,
    /// From a slot to the start of its sync.
    pub sync_lateness_seconds: Histogram,
    pub bytes_processed: Counter,
    watch_failures: Family<Kind, Counter>,
    unavailable_namespaces: Family<Namespace, Gauge>,
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
struct Reason {
    reason: &'static str,
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
        registry.register("query_seconds", "Time from sending a query to its answer", query_seconds.clone());
        let bytes_processed = Counter::default();
        registry.register("query_processed_bytes", "Bytes that queries read", bytes_processed.clone());
        // A minute is what is promised; hours tell of a downtime.
        let lateness = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 21600.0];
        let sync_lateness_seconds = Histogram::new(lateness);
        let help = "Time from a slot to the start of its sync";
        registry.register("sync_lateness_seconds", help, sync_lateness_seconds.clone());
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
        let queue = CurrentQueue::default();
        registry.register_collector(Box::new(queue.clone()));
        Self {
            registry: Mutex::new(registry),
            syncs,
            writes,
            query_seconds,
            sync_lateness_seconds,
            bytes_processed,
            watch_failures,
            unavailable_namespaces,
            leader,
            queue,
        }
    }
}

impl Metrics {
    /// One attempt, by its reason's one name.
    pub fn sync(&self, reason: &'static str) {
        self.syncs.get_or_create(&Reason { reason }).inc();
    }

    /// One status write: `written`, `conflict`, `refused` or `failed`.
    pub fn written(&self, kind: &str, result: &'static str) {
        self.writes.get_or_create(&Write { kind: kind.to_owned(), result }).inc();
    }

    /// One failure of a watch.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_failures.get_or_create(&Kind { kind }).inc();
    }

    /// Whether this process decides and syncs.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Whether a namespace that was named is there to be read.
    pub fn namespace_readable(&self, namespace: &str, readable: bool) {
        let namespace = Namespace { namespace: namespace.to_owned() };
        self.unavailable_namespaces.get_or_create(&namespace).set(i64::from(!readable));
    }

    /// Reports the depth of `queue`, for as long as it exists, in the place of the one before.
    pub fn watch_queue<Q: Depth + Send + Sync + 'static>(&self, queue: &Arc<Q>) {
        let queue: Weak<Q> = Arc::downgrade(queue);
        *self.queue.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    }

    /// All metrics in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }
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
