//! Everything about one key result or objective.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    api::{
        BigQueryConnection, BigQuerySource, CheckIn, ChildStatus, Condition, Expected, Forecast, GROUP, LastQuery,
        Lifecycle, Link, Manual, Measure, MeasuredStatus, OkrKeyResult, OkrObjective, OkrStatus, Period, Thresholds,
    },
    domain::{
        calendar, forecast,
        judgement::{self, Gaps},
        number::{self, two_places},
        progress::ROLLED_UP,
    },
};

use super::{
    Visible,
    brief::Kind,
    catalog::Catalog,
    chart::{self, Chart, Drawn, Point},
    overview,
    row::{Name, Row, veiled},
    words,
};

/// Everything about one object.
#[derive(Debug)]
pub struct Detail {
    pub row: Row,
    /// None for an object that does not fit its kind: its row says so.
    pub more: Option<More>,
}

#[derive(Debug)]
pub struct More {
    pub description: Option<String>,
    pub links: Vec<Link>,
    pub period: Option<Period>,
    /// In percent of its objective, where one is set.
    pub weight: Option<u8>,
    pub check_in: Option<ShownCheckIn>,
    /// How the status follows, step by step: what it is called, and what it is.
    pub arithmetic: Vec<(&'static str, String)>,
    pub chart: Option<Chart>,
    /// What the chart shows, oldest first.
    pub points: Vec<Point>,
    pub forecast: Option<Forecast>,
    pub query: Option<BigQuerySource>,
    pub manual: Option<Manual>,
    pub job: Option<Job>,
    /// Of an objective: what counts for it, as far as it may be seen.
    pub children: Vec<ChildStatus>,
    pub conditions: Vec<Condition>,
    /// The object as a manifest to apply.
    pub yaml: String,
}

/// A check-in of people, and whether the status follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownCheckIn {
    pub check_in: CheckIn,
    pub force: Force,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    Counts,
    /// Its last day is over.
    Ended,
    /// The period has not begun, or the object is closed or postponed.
    Idle,
}

/// The BigQuery job that gave the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub query: LastQuery,
    /// Where BigQuery's console shows it. None where the project is not for these eyes, or is no Google project.
    pub console: Option<String>,
}

/// Both kinds, by what they have in common.
struct Common<'a> {
    description: &'a Option<String>,
    links: &'a [Link],
    period: &'a Option<Period>,
    weight: Option<u8>,
    check_in: &'a Option<CheckIn>,
    lifecycle: Lifecycle,
    measure: Option<&'a Measure>,
    unit: &'a Option<String>,
    big_query: &'a Option<BigQuerySource>,
    manual: &'a Option<Manual>,
    expected: &'a Option<Expected>,
    thresholds: &'a Option<Thresholds>,
    status: Option<&'a MeasuredStatus>,
    children: &'a [ChildStatus],
}

macro_rules! common {
    ($spec:expr, $measure:expr, $status:expr, $children:expr) => {
        Common {
            description: &$spec.description,
            links: &$spec.links,
            period: &$spec.period,
            weight: $spec.weight,
            check_in: &$spec.check_in,
            lifecycle: $spec.lifecycle.unwrap_or_default(),
            measure: $measure,
            unit: &$spec.unit,
            big_query: &$spec.big_query,
            manual: &$spec.manual,
            expected: &$spec.expected,
            thresholds: &$spec.thresholds,
            status: $status,
            children: $children,
        }
    };
}

/// Everything about the object of this name. None where there is none, or none that may be seen.
pub fn detail(
    catalog: &dyn Catalog,
    kind: Kind,
    Name { namespace, name }: &Name,
    visible: &Visible,
    gaps: &Gaps,
    now: Timestamp,
) -> Option<Detail> {
    if !visible.shows(namespace) {
        return None;
    }
    let json = match kind {
        Kind::Objective => catalog.objective(namespace, name)?,
        Kind::KeyResult => catalog.key_result(namespace, name)?,
    };
    let row = Row::of(kind, &json, &overview::connections(catalog, visible), visible, gaps, now);
    let more = match kind {
        Kind::KeyResult => serde_json::from_slice::<OkrKeyResult>(&json).ok().map(|key_result| {
            let spec = &key_result.spec;
            let common = common!(spec, Some(&spec.measure), key_result.status.as_ref(), &[]);
            more(&row, &common, manifest(kind, namespace, name, spec), catalog, visible, gaps, now)
        }),
        Kind::Objective => serde_json::from_slice::<OkrObjective>(&json).ok().map(|objective| {
            let spec = &objective.spec;
            let children = objective.status.as_ref().map(|status| status.children.as_slice()).unwrap_or_default();
            let status = objective.status.as_ref().map(|status| &status.measured);
            let common = common!(spec, spec.measure.as_ref(), status, children);
            more(&row, &common, manifest(kind, namespace, name, spec), catalog, visible, gaps, now)
        }),
    };
    Some(Detail { row, more })
}

fn more(
    row: &Row,
    common: &Common<'_>,
    yaml: String,
    catalog: &dyn Catalog,
    visible: &Visible,
    operator: &Gaps,
    now: Timestamp,
) -> More {
    // A roll-up's history is its progress.
    let measure = common.measure.unwrap_or(&ROLLED_UP);
    let gaps = Gaps::of(common.thresholds.as_ref(), operator);
    let history = common.status.map(|status| status.history.as_slice()).unwrap_or_default();
    let forecast = forecast(row, common);
    let period = common.period.as_ref();
    let expected = common.expected.as_ref();
    let drawn = Drawn { measure, history, period, expected, gaps: &gaps, forecast: forecast.as_ref(), now };
    let shown_children = common.children.iter().filter(|child| visible.shows(&child.namespace));
    More {
        description: common.description.clone(),
        links: common.links.to_vec(),
        period: common.period.clone(),
        weight: common.weight,
        check_in: check_in(common, now),
        arithmetic: arithmetic(row, common, &gaps, now),
        chart: chart::chart(&drawn),
        points: chart::points(measure, history),
        query: common.big_query.clone(),
        manual: common.manual.clone(),
        job: common.status.and_then(|status| job(status, catalog, visible)),
        children: shown_children.cloned().collect(),
        conditions: common.status.map(|status| conditions(row, status)).unwrap_or_default(),
        forecast,
        yaml,
    }
}

fn check_in(common: &Common<'_>, now: Timestamp) -> Option<ShownCheckIn> {
    let check_in = common.check_in.clone()?;
    let period = common.period.as_ref();
    let today = calendar::zone(period).map(|zone| calendar::day(now, &zone));
    let has_begun = |today| period.is_none_or(|period| period.start_date.0 <= today);
    let force = match today {
        Some(today) if !judgement::in_force(&check_in, today) => Force::Ended,
        Some(today) if common.lifecycle == Lifecycle::Active && has_begun(today) => Force::Counts,
        Some(_) | None => Force::Idle,
    };
    Some(ShownCheckIn { check_in, force })
}

/// Where the history leads. Nothing goes on in what is closed or postponed.
fn forecast(row: &Row, common: &Common<'_>) -> Option<Forecast> {
    let period = common.period.as_ref()?;
    if matches!(row.okr_status, OkrStatus::Closed | OkrStatus::Postponed) {
        return None;
    }
    let (zone, history) = (calendar::zone(Some(period))?, &common.status?.history);
    match common.measure {
        Some(measure) => forecast::forecast(history, measure, period, &zone),
        None => forecast::of_roll_up(history, period, &zone),
    }
}

/// The numbers behind the status, in the order in which they follow from one another.
fn arithmetic(row: &Row, common: &Common<'_>, gaps: &Gaps, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut steps = Vec::new();
    let grouped = |text: &str| words::number(text);
    let value = common.status.and_then(|status| status.value.as_deref()).filter(|_| common.measure.is_some());
    let unit = common.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
    if let Some(value) = value {
        steps.push(("Value", format!("{}{unit}", grouped(value))));
    }
    if let Some(target) = &row.target_text {
        steps.push(("Target", grouped(target)));
    }
    let way = match common.measure {
        Some(Measure::Reach(reach)) => Some(("0".to_owned(), reach.target.to_string())),
        Some(Measure::Increase(increase)) => Some((increase.from.to_string(), increase.target.to_string())),
        Some(Measure::Decrease(decrease)) => Some((decrease.from.to_string(), decrease.target.to_string())),
        Some(
            Measure::Percent(_)
            | Measure::StayBelow(_)
            | Measure::StayAbove(_)
            | Measure::StayBetween(_)
            | Measure::Baseline(_),
        )
        | None => None,
    };
    if let Some(progress) = &row.progress_percent {
        let by = match (&way, value) {
            (Some((from, target)), Some(value)) => {
                let [value, from, target] = [value, from.as_str(), target.as_str()].map(grouped);
                format!("({value} − {from}) / ({target} − {from}) × 100 = ")
            }
            _ => String::new(),
        };
        steps.push(("Progress", format!("{by}{} %", grouped(progress))));
    }
    let Some(expected) = &row.expected_progress_percent else { return steps };
    // What is closed is judged by the day of closing.
    let since = row.okr_status_since.as_ref();
    let closed = since.filter(|_| common.lifecycle == Lifecycle::Closed && row.okr_status == OkrStatus::Closed);
    let judged = closed.map_or(now, |since| since.0);
    let today = calendar::zone(common.period.as_ref()).map(|zone| calendar::day(judged, &zone));
    let by = match (common.period.as_ref(), today, common.expected.is_some()) {
        (Some(period), Some(today), false) => {
            let days = |to: jiff::civil::Date| (to - period.start_date.0).get_days();
            let whole = days(period.end_date.0);
            format!("{} of {} = ", days(today).clamp(0, whole), words::counted(whole.unsigned_abs().into(), "day"))
        }
        (_, _, true) => "by its phases ".to_owned(),
        _ => String::new(),
    };
    steps.push(("Expected progress", format!("{by}{} %", grouped(expected))));
    if let (Some(progress), Some(expected)) =
        (row.progress_percent.as_deref().and_then(number::parse), number::parse(expected))
    {
        let gap = &expected - &progress;
        steps.push((
            "Gap",
            format!("{} − {} = {} percentage points", two_places(&expected), two_places(&progress), two_places(&gap)),
        ));
        let (behind, at_risk) = (two_places(&gaps.behind), two_places(&gaps.at_risk));
        steps.push(("Thresholds", format!("Behind above {behind}, At Risk above {at_risk}")));
    }
    steps
}

fn conditions(row: &Row, status: &MeasuredStatus) -> Vec<Condition> {
    let mut conditions = status.conditions.clone();
    if row.is_veiled {
        for condition in &mut conditions {
            veiled(&condition.reason).clone_into(&mut condition.message);
        }
    }
    conditions
}

fn job(status: &MeasuredStatus, catalog: &dyn Catalog, visible: &Visible) -> Option<Job> {
    let query = status.last_query.clone()?;
    let connection = status.connection.as_ref().filter(|choice| visible.shows(&choice.namespace)).and_then(|choice| {
        let json = catalog.connection(&choice.namespace, &choice.name)?;
        serde_json::from_slice::<BigQueryConnection>(&json).ok()
    });
    let console = connection.and_then(|connection| console(&connection, &query));
    Some(Job { query, console })
}

fn console(connection: &BigQueryConnection, query: &LastQuery) -> Option<String> {
    let spec = &connection.spec;
    let job_id = query.job_id.as_deref()?;
    let location = query.location.as_deref().or(spec.location.as_deref())?;
    // Another endpoint's jobs are not in Google's console.
    if spec.endpoint.is_some() {
        return None;
    }
    let project = spec.billing_project_id.as_deref().unwrap_or(&spec.project_id);
    let mut address = url::Url::parse("https://console.cloud.google.com/bigquery").ok()?;
    address
        .query_pairs_mut()
        .append_pair("project", project)
        .append_pair("j", &format!("bq:{location}:{job_id}"))
        .append_pair("page", "queryresults");
    Some(address.into())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a, S> {
    api_version: String,
    kind: &'static str,
    metadata: ManifestMetadata<'a>,
    spec: &'a S,
}

#[derive(Serialize)]
struct ManifestMetadata<'a> {
    name: &'a str,
    namespace: &'a str,
}

fn manifest<S: Serialize>(kind: Kind, namespace: &str, name: &str, spec: &S) -> String {
    let manifest = Manifest {
        api_version: format!("{GROUP}/v1alpha1"),
        kind: kind.name(),
        metadata: ManifestMetadata { name, namespace },
        spec,
    };
    serde_saphyr::to_string(&manifest).unwrap_or_default()
}
