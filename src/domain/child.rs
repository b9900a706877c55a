//! What an objective needs to know of the key results and objectives that refer to it, and what they come to in sum:
//! SPEC 6's formula, exact.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::Arc,
};

use jiff::{Timestamp, tz::TimeZone};
use kube::{Resource, core::ObjectMeta};
use num_bigint::BigInt;
use num_traits::Zero;

use crate::api::{Lifecycle, Measure, MeasuredStatus, OkrKeyResult, OkrObjective, OkrStatus, Period};

use super::{
    calendar::{self, start_of_day},
    conditions::{self, FRESH, Truth},
    number::{self, Exact, clamp_percent, rounded},
    progress, status,
};

/// What counts of one key result or objective for the objective it refers to. It depends on the object alone, so it can be
/// made once when the object arrives, and kept; where it stays equal, nothing changes for the objective.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    pub kind: Kind,
    pub namespace: Box<str>,
    pub name: Box<str>,
    /// Its share of the objective in percent; None: an equal share of what the others leave.
    pub weight: Option<u8>,
    /// How it stands: by its lifecycle, else as was last written. None where nothing has been decided.
    pub okr_status: Option<OkrStatus>,
    pub lifecycle: Lifecycle,
    /// Its progress in percent, not clamped, from the value last read and the measure of now. None without a value, and
    /// while it is rolled up.
    pub progress: Option<Exact>,
    /// Its progress is that of its own children, see [`Family`]. Not so for a roll-up without a period, which has no
    /// progress, nor for one whose progress is frozen.
    pub rolled_up: bool,
    pub is_baseline: bool,
    /// When its period begins, by its own time zone; in one that does not exist as in UTC. None without a period.
    pub begins: Option<Timestamp>,
    /// Its value is not fresh.
    pub stale: bool,
}

/// What refers to an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    KeyResult,
    Objective,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::KeyResult => "OkrKeyResult",
            Kind::Objective => "OkrObjective",
        }
    }
}

impl Child {
    pub fn of_key_result(key_result: &OkrKeyResult) -> Self {
        let spec = &key_result.spec;
        let lifecycle = spec.lifecycle.unwrap_or_default();
        Self {
            progress: progress_of_value(&spec.measure, key_result.status.as_ref()),
            is_baseline: matches!(spec.measure, Measure::Baseline(_)),
            ..Self::of(key_result.meta(), key_result.status.as_ref(), lifecycle, spec.period.as_ref(), spec.weight)
        }
    }

    /// Of an objective with a measure of its own as of a key result. Of one that is rolled up the progress is left to
    /// [`Family`], where it is computed from the children and not from what was written, which is rounded and may be of a
    /// moment ago. Only a closed one is what was written.
    pub fn of_objective(objective: &OkrObjective) -> Self {
        let spec = &objective.spec;
        let lifecycle = spec.lifecycle.unwrap_or_default();
        let status = objective.status.as_ref().map(|status| &status.measured);
        let child = Self {
            kind: Kind::Objective,
            ..Self::of(objective.meta(), status, lifecycle, spec.period.as_ref(), spec.weight)
        };
        match &spec.measure {
            Some(measure) => Self {
                progress: progress_of_value(measure, status),
                is_baseline: matches!(measure, Measure::Baseline(_)),
                ..child
            },
            None => match status.filter(|status| status::is_frozen(status, lifecycle)) {
                Some(closed) => Self { progress: frozen_progress(closed), ..child },
                None => Self { rolled_up: spec.period.is_some(), ..child },
            },
        }
    }

    fn of(
        meta: &ObjectMeta,
        status: Option<&MeasuredStatus>,
        lifecycle: Lifecycle,
        period: Option<&Period>,
        weight: Option<u8>,
    ) -> Self {
        let okr_status = match lifecycle {
            Lifecycle::Closed => Some(OkrStatus::Closed),
            Lifecycle::Postponed => Some(OkrStatus::Postponed),
            Lifecycle::Active => status.and_then(|status| status.okr_status),
        };
        let zone = calendar::zone(period).unwrap_or(TimeZone::UTC);
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        Self {
            kind: Kind::KeyResult,
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
            weight,
            okr_status,
            lifecycle,
            progress: None,
            rolled_up: false,
            is_baseline: false,
            begins: period.and_then(|period| start_of_day(period.start_date.0, &zone)),
            stale: conditions::find(conditions, FRESH).is_some_and(|fresh| fresh.status == Truth::False.name()),
        }
    }

    /// Why it does not count at `moment`, in words; None where it does.
    pub fn not_counted(&self, moment: Timestamp) -> Option<&'static str> {
        if self.lifecycle == Lifecycle::Postponed {
            Some("it is postponed")
        } else if self.is_baseline {
            Some("a baseline has no progress")
        } else if self.weight == Some(0) {
            Some("its weight is 0")
        } else if self.begins.is_some_and(|begins| moment < begins) {
            Some("its period has not begun")
        } else {
            None
        }
    }
}

/// Exact: a closed one's value is frozen, so this is its frozen progress as well.
fn progress_of_value(measure: &Measure, status: Option<&MeasuredStatus>) -> Option<Exact> {
    let value = number::parse(status?.value.as_deref()?)?;
    progress::progress(measure, &value)
}

/// What a closed roll-up keeps: its progress rounded to two places, because nothing else of it is stored.
pub(super) fn frozen_progress(status: &MeasuredStatus) -> Option<Exact> {
    number::parse(status.progress_percent.as_deref()?).as_ref().map(clamp_percent)
}

/// The set weights of the children that count are above 100 in sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightsAboveHundred;

/// Everything below one objective, as far as progress is rolled up from it.
#[derive(Debug, Clone, Default)]
pub struct Family {
    /// Level by level, so that the children of one stand side by side and after it.
    members: Vec<Member>,
    /// How many of them are the objective's own children: the first.
    own: usize,
}

#[derive(Debug, Clone)]
struct Member {
    child: Arc<Child>,
    /// Where its own children are, for one that is rolled up.
    children: Range<usize>,
}

/// One child at a moment: its part of the sum.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    pub child: &'a Child,
    /// Its progress from 0 to 100; None without one. Not reduced: see [`number::two_places`].
    pub progress: Option<Exact>,
    /// Why it does not count, in words, for a reason of its own.
    pub not_counted: Option<&'static str>,
    /// Its weight and the sum of all weights, as (weight, sum). None where it does not count, and where the weights are above
    /// 100.
    pub share: Option<(u64, u64)>,
}

/// What the children of one objective come to.
#[derive(Debug, Clone)]
pub struct Sum<'a> {
    pub children: Vec<Part<'a>>,
    /// From 0 to 100, not reduced. None where no child counts.
    pub progress: Result<Option<Exact>, WeightsAboveHundred>,
}

impl Family {
    /// All that is below the objective `name` of `namespace`. `children_of` gives, for the namespace and name of an
    /// objective, what refers to it and is admitted by it; in any order.
    ///
    /// Each objective is looked at once, so that this ends in a cycle too. An objective that is not part of one has no
    /// child that is.
    pub fn gather(namespace: &str, name: &str, mut children_of: impl FnMut(&str, &str) -> Vec<Arc<Child>>) -> Self {
        let mut seen: HashSet<(Box<str>, Box<str>)> = HashSet::from([(namespace.into(), name.into())]);
        let mut members: Vec<Member> = Vec::new();
        let mut add = |members: &mut Vec<Member>, namespace: &str, name: &str| {
            let first = members.len();
            let of_child = |child| Member { child, children: 0..0 };
            members.extend(children_of(namespace, name).into_iter().map(of_child));
            first..members.len()
        };
        let own = add(&mut members, namespace, name).len();
        let mut next = 0;
        while let Some(member) = members.get(next) {
            let child = Arc::clone(&member.child);
            if child.rolled_up && seen.insert((child.namespace.clone(), child.name.clone())) {
                let children = add(&mut members, &child.namespace, &child.name);
                if let Some(member) = members.get_mut(next) {
                    member.children = children;
                }
            }
            next += 1;
        }
        Self { members, own }
    }

    /// How many refer to the objective itself.
    pub fn child_count(&self) -> usize {
        self.own
    }

    /// The objective's own children.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        self.members.iter().take(self.own).map(|member| member.child.as_ref())
    }

    /// The moments at which time alone changes a sum: a period begins, on any level.
    pub fn beginnings(&self) -> impl Iterator<Item = Timestamp> {
        self.members.iter().filter_map(|member| member.child.begins)
    }

    /// What the objective's own children come to at `moment`.
    pub fn sum(&self, moment: Timestamp) -> Sum<'_> {
        // From the lowest level up: children stand after what they belong to.
        let mut progress: Vec<Option<Exact>> = vec![None; self.members.len()];
        for (index, member) in self.members.iter().enumerate().rev() {
            let child = &member.child;
            let own = if child.rolled_up {
                let sum = self.sum_of(member.children.clone(), &progress, moment);
                // A child whose weights are wrong has no progress.
                let sum = sum.progress.unwrap_or_default();
                // As it is about to be frozen.
                if child.lifecycle == Lifecycle::Closed { sum.as_ref().map(rounded) } else { sum }
            } else {
                child.progress.as_ref().map(clamp_percent)
            };
            if let Some(progress) = progress.get_mut(index) {
                *progress = own;
            }
        }
        self.sum_of(0..self.own, &progress, moment)
    }

    fn sum_of(&self, range: Range<usize>, progress: &[Option<Exact>], moment: Timestamp) -> Sum<'_> {
        let members = self.members.get(range.clone()).unwrap_or_default();
        let progress = progress.get(range).unwrap_or_default();
        let counting = members.iter().map(|member| member.child.as_ref());
        let weights = Weights::of(counting.filter(|child| child.not_counted(moment).is_none()));
        let children: Vec<Part<'_>> = members
            .iter()
            .zip(progress)
            .map(|(member, progress)| {
                let child = member.child.as_ref();
                let not_counted = child.not_counted(moment);
                let counts = weights.as_ref().ok().filter(|_| not_counted.is_none());
                let share = counts.and_then(|weights| weights.share(child));
                Part { child, progress: progress.clone(), not_counted, share }
            })
            .collect();
        let progress = weights.map(|_| weighted_mean(&children));
        Sum { children, progress }
    }
}

/// The weights of the children that count.
struct Weights {
    /// The sum of the set ones.
    set: u64,
    /// How many are not set.
    unset: u64,
}

impl Weights {
    fn of<'a>(counting: impl Iterator<Item = &'a Child>) -> Result<Self, WeightsAboveHundred> {
        let mut weights = Self { set: 0, unset: 0 };
        for child in counting {
            match child.weight {
                Some(weight) => weights.set += u64::from(weight),
                None => weights.unset += 1,
            }
        }
        if weights.set > 100 { Err(WeightsAboveHundred) } else { Ok(weights) }
    }

    /// In integers: all weights are multiplied by the number of those that share. Where set ones alone count they are
    /// divided by their own sum; where they leave nothing, an unset one weighs 0 and does not count.
    fn share(&self, child: &Child) -> Option<(u64, u64)> {
        let part = match child.weight {
            Some(weight) => u64::from(weight) * self.unset.max(1),
            None => 100 - self.set,
        };
        let sum = if self.unset == 0 { self.set } else { 100 * self.unset };
        (part > 0).then_some((part, sum))
    }
}

/// `sum(w * p) / sum(w)`, without a value 0. None where nothing counts.
fn weighted_mean(children: &[Part<'_>]) -> Option<Exact> {
    let mut sum = None;
    let mut numerators: BTreeMap<&BigInt, BigInt> = BTreeMap::new();
    for standing in children {
        let Some((part, of)) = standing.share else { continue };
        sum = Some(of);
        if let Some(progress) = &standing.progress {
            *numerators.entry(progress.denom()).or_default() += progress.numer() * part;
        }
    }
    let total =
        added(numerators.into_iter().map(|(denominator, numerator)| (numerator, denominator.clone())).collect());
    Some(Exact::new_raw(total.0, total.1 * sum?))
}

/// The sum of fractions (numerator, denominator), not reduced. Two by two, so that the numbers multiplied are of like
/// length: a thousand targets of many digits would take seconds one after the other, and longer if each sum were reduced.
fn added(mut fractions: Vec<(BigInt, BigInt)>) -> (BigInt, BigInt) {
    while fractions.len() > 1 {
        fractions = fractions
            .chunks(2)
            .map(|pair| match pair {
                [(a, b), (c, d)] => (a * d + c * b, b * d),
                rest => rest.first().cloned().unwrap_or_else(|| (BigInt::zero(), 1.into())),
            })
            .collect();
    }
    fractions.pop().unwrap_or_else(|| (BigInt::zero(), 1.into()))
}
