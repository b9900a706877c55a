//! How an object stands at a moment. A status is of the day on which it was written; the next day is written by that
//! day's first sync, and is computed here meanwhile.

use std::collections::HashMap;

use jiff::{Timestamp, civil::Date};

use crate::{
    api::{Lifecycle, Measure, OkrStatus, Period, StatusFrom},
    domain::{
        calendar,
        judgement::{self, Gaps},
        number::{self, Exact, two_places},
        progress::{self, ROLLED_UP},
    },
};

use super::brief::{Brief, Spec, Status};

/// How an object stands. Percentages are decimal texts of at most two places, as in a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub okr_status: OkrStatus,
    pub progress: Option<String>,
    pub expected: Option<String>,
    /// Whether the status says the same; else it is of an earlier day.
    pub is_as_written: bool,
}

/// A moment, with what is the same for thousands of objects: its day in each time zone, and the straight lines.
#[derive(Debug)]
pub struct Moment {
    now: Timestamp,
    /// By the name of the zone, empty for none.
    days: HashMap<String, Option<Date>>,
    /// What is expected in percent on the third day of a period from the first to the second, without phases.
    lines: HashMap<[Date; 3], String>,
}

impl Moment {
    pub fn new(now: Timestamp) -> Self {
        Self { now, days: HashMap::new(), lines: HashMap::new() }
    }

    fn day(&mut self, period: Option<&Period>) -> Option<Date> {
        let name = period.and_then(|period| period.time_zone.as_deref()).unwrap_or_default();
        if let Some(day) = self.days.get(name) {
            return *day;
        }
        let day = calendar::zone(period).map(|zone| calendar::day(self.now, &zone));
        self.days.insert(name.to_owned(), day);
        day
    }

    /// Expected progress on `today` as a status says it.
    fn expected(&mut self, spec: &Spec<'_>, status: &Status<'_>, today: Date) -> Option<String> {
        let (Some(period), None) = (&spec.period, &spec.expected) else {
            return expected_on(spec, status, today).as_ref().map(two_places);
        };
        if !is_judged_by_it(spec, status) {
            return None;
        }
        let line = [period.start_date.0, period.end_date.0, today];
        if let Some(text) = self.lines.get(&line) {
            return Some(text.clone());
        }
        let text = two_places(&expected_on(spec, status, today)?);
        self.lines.insert(line, text.clone());
        Some(text)
    }
}

/// How `brief` stands at a moment. Closed and Postponed stay as they were written.
pub fn standing(brief: &Brief<'_>, gaps: &Gaps, moment: &mut Moment) -> Standing {
    let Brief { metadata: _, spec, status } = brief;
    let no_status = Status::default();
    let status = status.as_ref().unwrap_or(&no_status);
    let written = Standing {
        okr_status: status.okr_status.unwrap_or(OkrStatus::NotStarted),
        progress: status.progress_percent.as_deref().map(str::to_owned),
        expected: status.expected_progress_percent.as_deref().map(str::to_owned),
        is_as_written: true,
    };
    let lifecycle = spec.lifecycle.unwrap_or_default();
    let rests = matches!(written.okr_status, OkrStatus::Closed | OkrStatus::Postponed);
    let today = moment.day(spec.period.as_ref());
    let (Some(written_status), Some(today), Lifecycle::Active, false) = (status.okr_status, today, lifecycle, rests)
    else {
        return written;
    };
    let expected_text = moment.expected(spec, status, today);
    // The day shows in expected progress, in a beginning and in the end of a check-in, and nowhere else.
    if expected_text == written.expected && spec.check_in.is_none() && written_status != OkrStatus::NotStarted {
        return written;
    }
    let expected = expected_on(spec, status, today);
    let okr_status = decided(spec, status, expected.as_ref(), gaps, today).unwrap_or(written_status);
    let is_as_written = okr_status == written_status && expected_text == written.expected;
    Standing { okr_status, expected: expected_text, is_as_written, ..written }
}

/// What the status would be on `today`, from what was read last.
fn decided(
    spec: &Spec<'_>,
    status: &Status<'_>,
    expected: Option<&Exact>,
    gaps: &Gaps,
    today: Date,
) -> Option<OkrStatus> {
    let gaps = Gaps::of(spec.thresholds.as_ref(), gaps);
    let computed = match &spec.measure {
        Some(measure) => {
            let value = status.value.as_deref().and_then(number::parse);
            let progress = value.as_ref().and_then(|value| progress::progress(measure, value));
            judgement::computed(measure, value.as_ref(), progress.as_ref(), expected, &gaps)
        }
        // By the worst child, whose day is decided in its own status.
        None if spec.status_from == Some(StatusFrom::KeyResults) || expected.is_none() => return None,
        None => {
            let progress = status.progress_percent.as_deref().and_then(number::parse);
            judgement::computed(&ROLLED_UP, progress.as_ref(), progress.as_ref(), expected, &gaps)
        }
    };
    judgement::okr_status(Lifecycle::Active, spec.period.as_ref(), spec.check_in.as_ref(), computed, Some(today))
}

/// Whether it has an expected progress: the line is the same for all that have.
fn is_judged_by_it(spec: &Spec<'_>, status: &Status<'_>) -> bool {
    match &spec.measure {
        Some(Measure::Percent(_) | Measure::Reach(_) | Measure::Increase(_) | Measure::Decrease(_)) => true,
        Some(Measure::StayBelow(_) | Measure::StayAbove(_) | Measure::StayBetween(_) | Measure::Baseline(_)) => false,
        // A roll-up without progress is not judged by it.
        None => status.progress_percent.is_some(),
    }
}

fn expected_on(spec: &Spec<'_>, status: &Status<'_>, today: Date) -> Option<Exact> {
    if !is_judged_by_it(spec, status) {
        return None;
    }
    let measure = spec.measure.as_ref().unwrap_or(&ROLLED_UP);
    progress::expected(measure, spec.period.as_ref()?, spec.expected.as_ref(), today)
}
