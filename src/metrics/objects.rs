//! What objects stand at: series made from what exists at the moment of the scrape, so that they go with their objects.

use std::sync::Arc;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder},
    metrics::{MetricType, gauge::Gauge},
    registry::Unit,
};
use serde::Deserialize;

use crate::view::{
    brief::{Condition, Kind, Metadata},
    catalog::Catalog,
    reading::{CopiedLabels, Reading},
};

/// Says of objects how they stand, while `leader` says that this process leads: of several replicas one alone, as sums
/// over all of them would else count everything twice.
pub struct Objects {
    /// Of key results and objectives: not read from the catalog's texts, which takes 20 µs each.
    pub readings: Box<dyn Fn() -> Vec<Arc<Reading>> + Send + Sync>,
    /// Of connections, which are few.
    pub catalog: Arc<dyn Catalog>,
    pub labels: CopiedLabels,
    pub leader: Gauge,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Objects")
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        if self.leader.get() != 1 {
            return Ok(());
        }
        let readings = (self.readings)();
        for family in &OF_KEY_RESULTS {
            self.encode_family(&mut encoder, Kind::KeyResult, family, &readings)?;
        }
        for family in &OF_OBJECTIVES {
            self.encode_family(&mut encoder, Kind::Objective, family, &readings)?;
        }
        encode_connections(&mut encoder, &*self.catalog)
    }
}

/// Series of one name.
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<&'static str>,
    /// None where there is nothing to say: then there is no series, never a made-up number.
    sample: fn(&Reading) -> Option<f64>,
    /// Whether the status is among its labels.
    says_status: bool,
}

/// Six of each key result, which is the most that SPEC allows.
const OF_KEY_RESULTS: [Family; 6] = [
    Family { name: "okr_key_result_value", help: "The last good value", unit: None, sample: value, says_status: false },
    Family {
        name: "okr_key_result_progress",
        help: "Progress, of which 1 is what is to be reached; not clamped",
        unit: RATIO,
        sample: progress,
        says_status: false,
    },
    Family {
        name: "okr_key_result_expected_progress",
        help: "The progress expected on the day of the status",
        unit: RATIO,
        sample: expected,
        says_status: false,
    },
    Family {
        name: "okr_key_result_value_timestamp",
        help: "When the value was read, since the epoch",
        unit: SECONDS,
        sample: value_timestamp,
        says_status: false,
    },
    Family {
        name: "okr_key_result_status",
        help: "1 for the status that it has",
        unit: None,
        sample: status,
        says_status: true,
    },
    Family {
        name: "okr_key_result_fresh",
        help: "1 while the value is as new as it should be, 0 where it is stale",
        unit: None,
        sample: fresh,
        says_status: false,
    },
];

/// Value, its time and its freshness are of those alone that have a measure of their own.
const OF_OBJECTIVES: [Family; 6] = [
    Family {
        name: "okr_objective_value",
        help: "The last good value of an objective with a measure of its own",
        unit: None,
        sample: value,
        says_status: false,
    },
    Family {
        name: "okr_objective_progress",
        help: "Progress, of which 1 is what is to be reached; not clamped where it is measured",
        unit: RATIO,
        sample: progress,
        says_status: false,
    },
    Family {
        name: "okr_objective_expected_progress",
        help: "The progress expected on the day of the status",
        unit: RATIO,
        sample: expected,
        says_status: false,
    },
    Family {
        name: "okr_objective_value_timestamp",
        help: "When the value of an objective with a measure of its own was read, since the epoch",
        unit: SECONDS,
        sample: value_timestamp,
        says_status: false,
    },
    Family {
        name: "okr_objective_status",
        help: "1 for the status that it has",
        unit: None,
        sample: status,
        says_status: true,
    },
    Family {
        name: "okr_objective_fresh",
        help: "1 while the value of an objective with a measure of its own is as new as it should be, 0 where it is stale",
        unit: None,
        sample: fresh,
        says_status: false,
    },
];

const RATIO: Option<&str> = Some("ratio");
const SECONDS: Option<&str> = Some("seconds");

fn value(reading: &Reading) -> Option<f64> {
    reading.value
}

fn progress(reading: &Reading) -> Option<f64> {
    reading.progress
}

fn expected(reading: &Reading) -> Option<f64> {
    reading.expected
}

#[expect(clippy::cast_precision_loss, reason = "seconds of our time are exact in a double")]
fn value_timestamp(reading: &Reading) -> Option<f64> {
    reading.value_seconds.map(|seconds| seconds as f64)
}

fn status(reading: &Reading) -> Option<f64> {
    reading.okr_status.map(|_| 1.0)
}

fn fresh(reading: &Reading) -> Option<f64> {
    reading.fresh.map(|fresh| f64::from(u8::from(fresh)))
}

impl Objects {
    fn encode_family(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: Kind,
        family: &Family,
        readings: &[Arc<Reading>],
    ) -> Result<(), std::fmt::Error> {
        let Family { name, help, unit, sample, says_status } = family;
        let samples = readings.iter().filter(|reading| reading.kind == kind);
        let mut samples = samples.filter_map(|reading| Some((reading, sample(reading)?))).peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let unit = unit.map(unit_of);
        let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (reading, sample) in samples {
            let labels = Labels { reading, copied: &self.labels, says_status: *says_status };
            metric.encode_family(&labels)?.encode_gauge(&sample)?;
        }
        Ok(())
    }
}

fn unit_of(unit: &str) -> Unit {
    match unit {
        "seconds" => Unit::Seconds,
        other => Unit::Other(other.to_owned()),
    }
}

struct Labels<'a> {
    reading: &'a Reading,
    copied: &'a CopiedLabels,
    says_status: bool,
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self { reading, copied, says_status } = self;
        let mut label = |name: &str, value: &str| encode_label(encoder, name, value);
        label("namespace", &reading.namespace)?;
        label("name", &reading.name)?;
        if let Some(parent) = &reading.parent {
            let name = match reading.kind {
                Kind::KeyResult => "objective",
                Kind::Objective => "parent",
            };
            label(name, parent)?;
        }
        // To Prometheus an empty label is none.
        for (name, value) in copied.names().zip(&reading.copied).filter(|(_, value)| !value.is_empty()) {
            label(name, value)?;
        }
        match reading.okr_status {
            Some(okr_status) if *says_status => label("status", okr_status.name()),
            _ => Ok(()),
        }
    }
}

fn encode_label(encoder: &mut LabelSetEncoder<'_>, name: &str, value: &str) -> Result<(), std::fmt::Error> {
    prometheus_client::encoding::EncodeLabel::encode(&(name, value), encoder.encode_label())
}

struct OfConnection<'a>(&'a Metadata<'a>);

impl EncodeLabelSet for OfConnection<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        encode_label(encoder, "namespace", &self.0.namespace)?;
        encode_label(encoder, "name", &self.0.name)
    }
}

/// What of a connection is asked.
#[derive(Deserialize)]
struct Connection<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow, default)]
    status: Option<ConnectionStatus<'a>>,
}

#[derive(Deserialize)]
struct ConnectionStatus<'a> {
    #[serde(borrow, default)]
    conditions: Vec<Condition<'a>>,
}

/// Of the connections that a verdict was given on.
fn encode_connections(encoder: &mut DescriptorEncoder<'_>, catalog: &dyn Catalog) -> Result<(), std::fmt::Error> {
    let mut texts = Vec::new();
    catalog.each_connection(&mut |json| texts.push(json.to_vec()));
    let connections = texts.iter().filter_map(|json| serde_json::from_slice::<Connection<'_>>(json).ok());
    let ready = connections.filter_map(|Connection { metadata, status }| {
        let conditions = status?.conditions;
        let ready = conditions.iter().find(|condition| &*condition.kind == "Ready")?;
        let number = match &*ready.status {
            "True" => 1,
            "False" => 0,
            _ => return None,
        };
        Some((metadata, number))
    });
    let ready: Vec<(Metadata<'_>, i64)> = ready.collect();
    if ready.is_empty() {
        return Ok(());
    }
    let help = "1 while the connection works or is suspended, 0 while it does not work";
    let mut metric = encoder.encode_descriptor("okr_bigquery_connection_ready", help, None, MetricType::Gauge)?;
    for (metadata, number) in &ready {
        metric.encode_family(&OfConnection(metadata))?.encode_gauge(number)?;
    }
    Ok(())
}
