//! A chart drawn as SVG: where each thing lies on a sheet of fixed size, which the page scales.

use jiff::{Timestamp, tz::TimeZone};

use crate::view::{
    chart::{Chart, Place},
    words,
};

/// The part of the sheet for the curve; the rest holds the labels. In units of the sheet.
pub const WIDTH: f64 = 680.0;
pub const HEIGHT: f64 = 250.0;

/// A chart, ready for its template.
pub struct Plot {
    pub zones: Vec<PlottedZone>,
    /// Corners of lines, as SVG's points.
    pub expected: String,
    pub history: String,
    pub forecast: Option<String>,
    pub target: Option<String>,
    pub now: Option<String>,
    pub points: Vec<PlottedPoint>,
    pub rules: Vec<Tick>,
    pub days: Vec<Tick>,
    /// What the chart shows, for those who do not see it.
    pub label: String,
}

pub struct PlottedZone {
    pub class: &'static str,
    pub word: &'static str,
    pub corners: String,
}

pub struct PlottedPoint {
    pub x: String,
    pub y: String,
    /// When, what and how far.
    pub said: String,
}

/// A label on an axis.
pub struct Tick {
    pub at: String,
    pub text: String,
}

impl Plot {
    /// `unit` is that of the values; None where they are progress themselves, as those of a roll-up.
    pub fn new(chart: &Chart, unit: Option<&str>) -> Self {
        let Chart { times, zone: time_zone, values, points, expected, zones, target, forecast, now } = chart;
        let x = |time: f64| (time - times.0) / (times.1 - times.0) * WIDTH;
        let y = |value: f64| (values.1 - value) / (values.1 - values.0) * HEIGHT;
        let line = |places: &[Place]| {
            places.iter().map(|&(time, value)| format!("{:.1},{:.1}", x(time), y(value))).collect::<Vec<_>>().join(" ")
        };
        let said: Vec<String> = points.iter().map(|point| said(point, unit)).collect();
        let label = match (said.first(), said.last()) {
            (Some(first), Some(last)) if said.len() > 1 => {
                format!("History of {} values. First {first}. Last {last}.", said.len())
            }
            (Some(only), _) => format!("History of one value: {only}."),
            (None, _) => "No history".to_owned(),
        };
        let plotted = points.iter().zip(said).map(|(point, said)| PlottedPoint {
            x: format!("{:.1}", x(point.at.0)),
            y: format!("{:.1}", y(point.at.1)),
            said,
        });
        Self {
            zones: zones
                .iter()
                .map(|zone| PlottedZone {
                    class: super::address::class(zone.okr_status),
                    word: words::status(zone.okr_status),
                    corners: line(&zone.corners),
                })
                .collect(),
            expected: line(expected),
            history: line(&points.iter().map(|point| point.at).collect::<Vec<_>>()),
            forecast: forecast.map(|(from, to)| line(&[from, to])),
            target: target.map(|target| format!("{:.1}", y(target))),
            now: now.map(|now| format!("{:.1}", x(now))),
            points: plotted.collect(),
            rules: rules(*values)
                .into_iter()
                .map(|(value, text)| Tick { at: format!("{:.1}", y(value)), text })
                .collect(),
            days: days(*times, time_zone)
                .into_iter()
                .map(|(time, text)| Tick { at: format!("{:.1}", x(time)), text })
                .collect(),
            label,
        }
    }
}

/// "2026-11-15 11:00 UTC: 2,350 leads, 47 % progress".
fn said(point: &crate::view::chart::Point, unit: Option<&str>) -> String {
    let time = point.time.strftime("%Y-%m-%d %H:%M UTC");
    let Some(unit) = unit else { return format!("{time}: {} % progress", words::number(&point.value)) };
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let progress = point.progress.as_deref().map(|progress| format!(", {progress} % progress")).unwrap_or_default();
    format!("{time}: {}{unit}{progress}", words::number(&point.value))
}

/// Four to eight round values within a range.
fn rules((low, high): (f64, f64)) -> Vec<(f64, String)> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
    let Some(step) = step.filter(|step| step.is_normal()) else { return Vec::new() };
    let decimals = if step < 1.0 { (-step.log10().floor()).clamp(0.0, 12.0) as usize } else { 0 };
    let first = (low / step).ceil();
    let text = |value: f64| {
        if value.abs() >= 1e12 { format!("{value:.1e}") } else { words::number(&format!("{value:.decimals$}")) }
    };
    (0..8)
        // Without the sign of a zero from below.
        .map(|index| (first + f64::from(index)) * step + 0.0)
        .take_while(|value| *value <= high)
        .map(|value| (value, text(value)))
        .collect()
}

/// Five moments over a range, in the zone of the period: its first day is the first.
fn days((first, last): (f64, f64), zone: &TimeZone) -> Vec<(f64, String)> {
    let format = if last - first < 5.0 * 86_400.0 { "%b %-d, %H:%M" } else { "%b %-d" };
    let moments = (0..5).map(|index| first + (last - first) * f64::from(index) / 4.0);
    let text = |time: f64| {
        let time = Timestamp::from_second(time as i64).ok()?.to_zoned(zone.clone());
        Some(time.strftime(format).to_string())
    };
    moments.filter_map(|time| Some((time, text(time)?))).collect()
}
