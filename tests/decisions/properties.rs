//! What must hold for all inputs, hostile ones included.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use num_bigint::BigInt;
use okr_operator::{
    api::{
        Bytes, Condition, ConnectionChoice, Decimal, Duration, Forecast, ForecastMethod, HistoryPoint, LastQuery,
        Lifecycle, MeasuredStatus, ObjectiveStatus, OkrStatus, Time,
    },
    domain::{
        Reason,
        child::{Child, Kind},
        choice::NoConnection,
        history,
        number::{self, Exact},
        parameters,
        pass::Pass,
        schedule::Slots,
        status::Outcome,
    },
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{
    conditions::well_formed,
    rollups::Tree,
    world::{World, failed, measured, midnight, noon, seconds, time},
};

/// Texts that look like a value, and some that do not.
fn number_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,39}(\\.[0-9]{1,38})?",
        "-?[0-9]\\.[0-9]{1,16}E-?[0-9]{1,3}",
        "-?[0-9]{0,3}[.eE+-]{0,3}[0-9]{0,12}",
        select(vec!["NaN", "Infinity", "", "-", "1e-2147483648", "1e2147483647", "1e400", "1e401", "null"])
            .prop_map(str::to_owned),
        ".{0,40}",
    ]
}

/// Moments: ordinary ones, near the present, and the first and last there are.
fn moment() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        4 => (-400_000i64..400_000).prop_map(|offset| noon(50) + seconds(offset)),
        2 => (midnight(-400).as_second()..midnight(400).as_second()).prop_map(|s| Timestamp::from_second(s).unwrap()),
        1 => (earliest().as_second()..Timestamp::MAX.as_second())
            .prop_map(|s| Timestamp::from_second(s).unwrap()),
        1 => select(vec![earliest(), Timestamp::MAX, Timestamp::UNIX_EPOCH, time("9999-12-30T00:00:00Z")]),
    ]
}

/// The API server takes no earlier one.
fn earliest() -> Timestamp {
    time("0001-01-01T00:00:00Z")
}

fn stamp() -> impl Strategy<Value = Option<Time>> {
    option::of(moment().prop_map(Time))
}

fn condition() -> impl Strategy<Value = Condition> {
    let kinds = vec!["Ready", "Stalled", "Reconciling", "OnTrack", "Fresh", "Foreign"];
    let mut reasons: Vec<&str> = Reason::ALL.into_iter().map(Reason::name).collect();
    reasons.extend(["", "Whatever", "Current", "Stale"]);
    (select(kinds), select(vec!["True", "False", "Unknown", "?"]), select(reasons), moment(), any::<i64>()).prop_map(
        |(kind, status, reason, since, generation)| Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: "anything".to_owned(),
            last_transition_time: Time(since),
            observed_generation: Some(generation),
        },
    )
}

fn forecast() -> impl Strategy<Value = Forecast> {
    let day = select(vec![None, Some("0001-01-01"), Some("2026-03-01"), Some("9999-12-31")]);
    (number_text(), option::of(number_text()), day).prop_map(|(end_value, end_progress_percent, day)| Forecast {
        end_value,
        end_progress_percent,
        reaches_target_on: day.map(|day| okr_operator::api::Date(day.parse().unwrap())),
        method: ForecastMethod::TheilSen,
    })
}

/// A status that anybody may have written.
fn hostile_status() -> impl Strategy<Value = MeasuredStatus> {
    let statuses = vec![
        OkrStatus::NotStarted,
        OkrStatus::InProgress,
        OkrStatus::OnTrack,
        OkrStatus::Behind,
        OkrStatus::AtRisk,
        OkrStatus::Postponed,
        OkrStatus::Closed,
    ];
    let text = || option::of(".{0,8}");
    let fingerprint = || option::of(select(vec!["", "of the query", "another"]).prop_map(str::to_owned));
    let point = (moment(), number_text()).prop_map(|(time, value)| HistoryPoint { time: Time(time), value });
    let ordinary_point =
        (-60i64..120, number_text()).prop_map(|(day, value)| HistoryPoint { time: Time(noon(day)), value });
    let decided = (
        option::of(select(vec![-1i64, 0, 1, 2, i64::MAX, i64::MIN])),
        option::of(select(statuses.clone())),
        stamp(),
        option::of(select(statuses)),
        option::of(number_text()),
        stamp(),
        (text(), text(), text(), text()),
    );
    let synced = (
        (fingerprint(), fingerprint()),
        (stamp(), stamp()),
        (text(), text()),
        option::of(prop_oneof![0u32..6, Just(u32::MAX)]),
        prop_oneof![3 => vec(point, 0..4), 1 => vec(ordinary_point, 0..30)],
        option::of(select(vec!["reach", "", "percent", "rollUp"]).prop_map(str::to_owned)),
        vec(condition(), 0..4),
        (any::<bool>(), option::of(forecast())),
    );
    (decided, synced).prop_map(|(decided, synced)| {
        let (observed_generation, okr_status, okr_status_since, computed_status, value, value_time, texts) = decided;
        let (fingerprints, times, echoes, consecutive_failures, history, history_of, conditions, (more, forecast)) =
            synced;
        MeasuredStatus {
            observed_generation,
            okr_status,
            okr_status_since,
            computed_status,
            value,
            value_time,
            target_text: texts.0,
            progress_percent: texts.1,
            expected_progress_percent: texts.2,
            score: None,
            explanation: texts.3,
            connection: more.then(|| ConnectionChoice {
                namespace: String::new(),
                name: String::new(),
                uid: String::new(),
            }),
            query_fingerprint: fingerprints.0,
            attempted_fingerprint: fingerprints.1,
            last_sync_time: times.0,
            next_sync_time: times.1,
            last_handled_refresh: echoes.0,
            last_handled_reconcile_at: echoes.1,
            consecutive_failures,
            last_query: more.then_some(LastQuery {
                job_id: None,
                location: None,
                bytes_processed: u64::MAX,
                cache_hit: true,
                duration_ms: u64::MAX,
            }),
            history,
            history_of,
            forecast,
            conditions,
        }
    })
}

/// Specs as admission lets them through, and a few that only an older definition would have.
fn any_spec() -> impl Strategy<Value = Value> {
    let measures = vec![
        json!({"percent": {}}),
        json!({"reach": {"target": 100}}),
        json!({"reach": {"target": 0}}),
        json!({"increase": {"from": 100, "target": 200}}),
        json!({"decrease": {"from": "0.1", "target": "-0.1"}}),
        json!({"increase": {"from": 5, "target": 5}}),
        json!({"stayBelow": {"target": 10, "riskThreshold": 20}}),
        json!({"stayAbove": {"target": 10}}),
        json!({"stayBetween": {"lower": 1, "upper": 2}}),
        json!({"baseline": {}}),
    ];
    let dates = vec![
        ("2026-01-01", "2026-04-11"),
        ("2026-02-20", "2026-02-21"),
        ("2027-01-01", "2027-12-31"),
        ("2020-01-01", "2020-12-31"),
        ("0001-01-01", "9999-12-31"),
        ("9999-12-30", "9999-12-31"),
        ("2026-04-11", "2026-01-01"),
    ];
    let zones = vec![
        None,
        Some("UTC"),
        Some("America/Sao_Paulo"),
        Some("Africa/Cairo"),
        Some("Pacific/Kiritimati"),
        Some("Etc/GMT+12"),
        Some("Pacific/Apia"),
        Some("No/Where"),
    ];
    let sources = vec![
        json!({"bigQuery": {"query": "SELECT 1"}, "manual": null}),
        json!({"bigQuery": {"query": "SELECT @period_start, @today"}, "manual": null}),
        json!({"bigQuery": null, "manual": {"value": 40, "asOf": "2026-02-18"}}),
        json!({"bigQuery": null, "manual": {"value": 40, "asOf": "9999-12-31", "validFor": "999999h"}}),
    ];
    let phases = json!({"phases": [{"date": "2026-02-01", "target": 70}, {"date": "2026-03-01", "target": "0"}]});
    let lifecycles = vec!["Active", "Active", "Active", "Closed", "Postponed"];
    let check_ins = vec![
        Value::Null,
        json!({"okrStatus": "Behind", "note": "x", "until": "2026-02-20"}),
        json!({"okrStatus": "OnTrack", "note": "...", "until": "9999-12-31"}),
    ];
    (
        select(measures),
        option::weighted(0.9, (select(dates), select(zones))),
        select(sources),
        select(vec!["1m", "1h", "168h", "0s", "999999h"]),
        any::<bool>(),
        select(lifecycles),
        select(check_ins),
        prop::bool::weighted(0.1),
    )
        .prop_map(move |(measure, period, source, interval, phased, lifecycle, check_in, suspend)| {
            let period = period
                .map(|((start, end), zone)| json!({"startDate": start, "endDate": end, "timeZone": zone}))
                .unwrap_or_default();
            let mut spec = json!({
                "measure": measure, "period": period, "interval": interval, "lifecycle": lifecycle,
                "override": check_in, "suspend": suspend, "expected": if phased { phases.clone() } else { Value::Null },
            });
            for (field, value) in source.as_object().unwrap() {
                spec[field] = value.clone();
            }
            spec
        })
}

fn any_world() -> impl Strategy<Value = World> {
    let failing = vec![Reason::ConnectionNotFound, Reason::ConnectionNotShared, Reason::AmbiguousConnection];
    (
        any_spec(),
        hostile_status(),
        option::weighted(0.2, select(failing)),
        (prop::bool::weighted(0.8), prop::bool::weighted(0.8), prop::bool::weighted(0.1)),
        (option::weighted(0.3, moment()), option::weighted(0.3, moment()), option::weighted(0.3, moment())),
        (option::of("[ab]?"), option::of("[ab]?")),
        moment(),
    )
        .prop_map(|(spec, mut status, none, (ready, within_budget, suspended), times, notes, now)| {
            let mut world = World::new(spec).at(now);
            let of_the_query = world.fingerprint();
            for fingerprint in [&mut status.query_fingerprint, &mut status.attempted_fingerprint] {
                if fingerprint.as_deref() == Some("of the query") {
                    *fingerprint = Some(of_the_query.clone());
                }
            }
            world.key_result.status = Some(status);
            world.no_connection = none.map(|reason| NoConnection { reason, message: "in words".to_owned() });
            (world.ready, world.within_budget) = (ready, within_budget);
            world.connection.spec.suspend = Some(suspended);
            (world.changed_at, world.tried_at, world.last_asked) = times;
            for (name, value) in [("okr-operator.dev/refresh", notes.0), ("reconcile.fluxcd.io/requestedAt", notes.1)] {
                if let Some(value) = value {
                    world.annotates(name, &value);
                }
            }
            world
        })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let sent: Vec<Reason> = Reason::ALL
        .into_iter()
        .filter(|reason| !reason.holds() && !matches!(reason, Reason::Synced | Reason::QueryChanged | Reason::Resumed))
        .filter(|reason| *reason != Reason::BudgetExhausted)
        .collect();
    prop_oneof![
        number_text().prop_map(|value| measured(&value)),
        Just(Outcome::DryRunPassed),
        select(sent).prop_map(failed),
    ]
}

/// As the API server gives back what was written: whole seconds.
fn read_back(world: &mut World) {
    let text = serde_json::to_string(&world.key_result).unwrap();
    world.key_result = serde_json::from_str(&text).unwrap();
}

/// Statuses of a present that is not at the ends of time, whatever they hold.
fn is_ordinary(now: Timestamp) -> bool {
    (midnight(-1000)..midnight(1000)).contains(&now)
}

/// What refers to an objective: key results and objectives that are rolled up from others of them.
fn any_child() -> impl Strategy<Value = Child> {
    let standing = vec![
        None,
        Some(OkrStatus::NotStarted),
        Some(OkrStatus::InProgress),
        Some(OkrStatus::OnTrack),
        Some(OkrStatus::Behind),
        Some(OkrStatus::AtRisk),
        Some(OkrStatus::Postponed),
        Some(OkrStatus::Closed),
    ];
    let lifecycles = vec![Lifecycle::Active, Lifecycle::Active, Lifecycle::Closed, Lifecycle::Postponed];
    let name = prop_oneof![2 => "[a-c]", 1 => Just("grow".to_owned()), 4 => "[a-z]{1,6}"];
    (
        (name, prop::bool::weighted(0.4)),
        option::of(prop_oneof![0u8..40, 0u8..=100, any::<u8>()]),
        select(standing),
        select(lifecycles),
        option::of(number_text()),
        (prop::bool::weighted(0.1), any::<bool>()),
        option::weighted(0.3, moment()),
    )
        .prop_map(|((name, is_objective), weight, okr_status, lifecycle, value, (is_baseline, stale), begins)| {
            Child {
                kind: if is_objective { Kind::Objective } else { Kind::KeyResult },
                namespace: "sales".into(),
                name: name.into(),
                weight,
                okr_status,
                lifecycle,
                progress: value.filter(|_| !is_objective).and_then(|value| number::parse(&value)),
                rolled_up: is_objective,
                is_baseline,
                begins,
                stale,
            }
        })
}

/// An objective with hostile status, and objectives below it, in cycles too. As in a cluster, no two have one name.
fn any_tree() -> impl Strategy<Value = Tree> {
    let parents = prop_oneof![2 => Just("grow"), 1 => select(vec!["a", "b", "c"])];
    (
        any_spec(),
        select(vec!["Progress", "KeyResults"]),
        hostile_status(),
        vec((parents, any_child()), 0..12),
        prop::bool::weighted(0.1),
        moment(),
    )
        .prop_map(|(spec, status_from, measured, children, in_cycle, now)| {
            let of_roll_up = |field: &str| spec[field].clone();
            let changes = json!({
                "period": of_roll_up("period"), "lifecycle": of_roll_up("lifecycle"), "override": of_roll_up("override"),
                "statusFrom": status_from,
            });
            let mut tree = Tree::new(changes, &[]);
            tree.objective.status = Some(ObjectiveStatus { measured, ..ObjectiveStatus::default() });
            tree.cycle = in_cycle.then(|| vec!["sales/grow".to_owned()]);
            tree.now = now;
            let mut names = HashSet::new();
            for (parent, child) in children {
                if names.insert((child.kind, child.name.clone())) {
                    tree.children.entry(parent.to_owned()).or_default().push(child.into());
                }
            }
            tree
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_global_rejects: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_status_deciding_it_twice_changes_nothing(mut world in any_world()) {
        world.decides();
        let decided = world.status().clone();
        prop_assert_eq!(&world.next(None), &decided);
        if is_ordinary(world.now) {
            read_back(&mut world);
            let written = world.status().clone();
            prop_assert_eq!(&world.next(None), &written, "once read back");
            prop_assert_ne!(world.pass(), Pass::Decide);
        }
    }

    #[test]
    fn whatever_the_status_a_pass_leads_somewhere(mut world in any_world(), outcome in any_outcome()) {
        prop_assume!(is_ordinary(world.now));
        let first = world.pass();
        if first == Pass::Decide {
            let before = world.status().clone();
            world.decides();
            prop_assert_ne!(&before, world.status(), "a pass that says so writes");
            read_back(&mut world);
            prop_assert_ne!(world.pass(), Pass::Decide);
        }
        match world.pass() {
            Pass::Decide => {}
            Pass::Wait(Some(moment)) => prop_assert!(moment > world.now),
            Pass::Wait(None) => {
                // Only a zone or a day that does not exist leaves no day to be written.
                let zone = okr_operator::domain::calendar::zone(world.measured().period);
                prop_assert!(zone.is_none(), "{:?}", world.plan());
            }
            Pass::Attempt { .. } => {
                // What an attempt leaves is well formed and not due in the same moment again, but where its outcome
                // does not fit what was asked for.
                let dry = matches!(world.pass(), Pass::Attempt { how: okr_operator::domain::schedule::How::DryRun, .. });
                prop_assume!(match outcome { Outcome::DryRunPassed => dry, Outcome::Measured { .. } => !dry, _ => true });
                world.changed_at = None;
                world.tries(outcome);
                world.last_asked = Some(world.now);
                well_formed(world.status(), 1);
                read_back(&mut world);
                prop_assert!(!matches!(world.pass(), Pass::Attempt { .. }), "{:?}", world.plan());
                prop_assert_ne!(world.pass(), Pass::Decide);
            }
        }
    }

    #[test]
    fn whatever_the_status_an_attempt_leaves_a_good_one(mut world in any_world(), outcome in any_outcome()) {
        world.tries(outcome);
        let rests = world.plan().held().is_some();
        if !world.status().conditions.is_empty() && (rests || world.status().last_sync_time.is_some()) {
            let has_ready = world.condition("Ready").is_some();
            if has_ready && world.status().observed_generation == Some(1) {
                well_formed(world.status(), 1);
            }
        }
        let again = world.next(None);
        prop_assert_eq!(&again, world.status());
    }

    #[test]
    fn a_timer_that_fires_leads_to_something_or_a_later_one(mut world in any_world()) {
        prop_assume!(is_ordinary(world.now));
        for _ in 0..20 {
            match world.pass() {
                Pass::Decide => world.decides(),
                Pass::Attempt { .. } => world.measures("1"),
                Pass::Wait(Some(moment)) => {
                    prop_assert!(moment > world.now);
                    world.now = moment;
                }
                Pass::Wait(None) => break,
            }
        }
    }

    #[test]
    fn whatever_the_children_deciding_a_roll_up_twice_changes_nothing(mut tree in any_tree()) {
        tree.decides();
        let decided = tree.status().clone();
        well_formed(&decided.measured, 1);
        prop_assert_eq!(&tree.next(), &decided);
        if is_ordinary(tree.now) {
            let text = serde_json::to_string(&tree.objective).unwrap();
            tree.objective = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&tree.next(), tree.status(), "once read back");
            for _ in 0..5 {
                match tree.pass() {
                    Pass::Decide => tree.decides(),
                    Pass::Wait(Some(moment)) => {
                        prop_assert!(moment > tree.now);
                        // At the end of time nothing can be put off.
                        prop_assume!(is_ordinary(moment));
                        tree.now = moment;
                    }
                    Pass::Wait(None) => break,
                    Pass::Attempt { .. } => prop_assert!(false, "a roll-up sends nothing"),
                }
                // What begins in the first quarter of an hour of a day is left to the day's own pass.
                let quarter = tree.now + SignedDuration::from_mins(15);
                let is_soon = matches!(tree.pass(), Pass::Wait(Some(moment)) if moment <= quarter);
                let is_decided = tree.next() == *tree.status() || tree.pass() == Pass::Decide;
                prop_assert!(is_decided || is_soon, "nothing is left to a later look");
            }
        }
    }

    #[test]
    fn progress_is_within_0_and_100_and_contributions_add_up_to_it(tree in any_tree()) {
        let family = tree.family();
        let sum = family.sum(tree.now);
        let hundred = number::integer(100);
        let Ok(Some(progress)) = &sum.progress else {
            prop_assert!(sum.children.iter().all(|child| child.share.is_none()));
            return Ok(());
        };
        prop_assert!(*progress >= number::integer(0) && *progress <= hundred);
        let (mut parts, mut shares) = (number::integer(0), number::integer(0));
        for (child, (part, of)) in sum.children.iter().filter_map(|child| Some((child, child.share?))) {
            let share = Exact::new(part.into(), of.into());
            shares += &share;
            parts += share * child.progress.clone().unwrap_or_else(|| number::integer(0));
        }
        prop_assert_eq!(shares, number::integer(1));
        prop_assert_eq!(&parts, progress);
    }

    #[test]
    fn the_order_of_the_children_does_not_matter(tree in any_tree(), turns in 1usize..12) {
        let mut other = tree.clone();
        for children in other.children.values_mut() {
            children.reverse();
            let turns = turns.min(children.len());
            children.rotate_left(turns);
        }
        prop_assert_eq!(tree.next(), other.next());
    }

    #[test]
    fn progress_rises_with_the_value(a in -10_000i64..10_000, b in -10_000i64..10_000, decimals in 0usize..6) {
        let (low, high) = (a.min(b), a.max(b));
        let scaled = |value: i64| {
            let text = format!("{value}e-{decimals}");
            number::parse(&text).unwrap()
        };
        let of = |measure: Value, value: i64| {
            let measure = serde_json::from_value(measure).unwrap();
            okr_operator::domain::progress::progress(&measure, &scaled(value)).unwrap()
        };
        for measure in [
            json!({"percent": {}}),
            json!({"reach": {"target": "0.3"}}),
            json!({"increase": {"from": -5, "target": 7}}),
            json!({"stayAbove": {"target": 1}}),
        ] {
            prop_assert!(of(measure.clone(), low) <= of(measure, high));
        }
        for measure in [json!({"decrease": {"from": 7, "target": -5}}), json!({"stayBelow": {"target": 1}})] {
            prop_assert!(of(measure.clone(), low) >= of(measure, high));
        }
    }

    #[test]
    fn a_status_does_not_depend_on_the_unit(
        value in -500i64..1500, target in 1i64..1000, day in 0i64..110, power in 0usize..12,
    ) {
        let judged = |scale: &str| {
            let changes = json!({"measure": {"reach": {"target": format!("{target}{scale}")}}});
            let mut world = World::new(changes).at(noon(day));
            world.measures(&format!("{value}{scale}"));
            let status = world.status();
            (status.okr_status, status.progress_percent.clone(), status.score.clone())
        };
        prop_assert_eq!(judged(""), judged(&"0".repeat(power)));
    }

    #[test]
    fn the_boundaries_of_the_gap_are_exact(day in 0i64..=100, behind in 0i64..30, more in 0i64..30, tiny in 1usize..30) {
        let at_risk = behind + more;
        let judged = |value: &str| {
            let thresholds = json!({"behind": behind, "atRisk": at_risk});
            let mut world = World::new(json!({"measure": {"percent": {}}, "thresholds": thresholds})).at(noon(day));
            world.measures(value);
            world.status().okr_status.unwrap()
        };
        // A little less than `whole`: one unit of the last of `tiny` decimals.
        let below = |whole: i64| {
            let scale = BigInt::from(10).pow(u32::try_from(tiny).unwrap());
            format!("{}e-{tiny}", BigInt::from(whole) * scale - 1)
        };
        let exact = |whole: i64| whole.to_string();
        prop_assert_eq!(judged(&exact(day - behind)), OkrStatus::OnTrack);
        let worse = if more == 0 { OkrStatus::AtRisk } else { OkrStatus::Behind };
        prop_assert_eq!(judged(&below(day - behind)), worse);
        let at = if more == 0 { OkrStatus::OnTrack } else { OkrStatus::Behind };
        prop_assert_eq!(judged(&exact(day - at_risk)), at);
        prop_assert_eq!(judged(&below(day - at_risk)), OkrStatus::AtRisk);
    }

    #[test]
    fn history_keeps_the_first_and_the_latest(steps in vec(1i64..200_000, 1..400)) {
        let mut points = Vec::new();
        let mut now = noon(0);
        for (index, step) in steps.iter().enumerate() {
            history::record(&mut points, &index.to_string(), now, None);
            prop_assert_eq!(&points[points.len() - 1].value, &index.to_string());
            prop_assert!(points.len() <= history::MOST_POINTS);
            if points.len() > 1 {
                prop_assert_eq!(&points[0].value, "0");
            }
            prop_assert!(points.is_sorted_by(|a, b| a.time < b.time));
            now += seconds(*step);
        }
    }

    #[test]
    fn every_interval_has_exactly_one_slot(uid in ".{0,40}", interval in 1u64..=604_800, at in moment()) {
        let slots = Slots::new(&uid, Duration::from_secs(interval));
        let length = SignedDuration::from_secs(i64::try_from(interval).unwrap());
        prop_assume!(at > Timestamp::UNIX_EPOCH && at < time("9998-01-01T00:00:00Z"));
        let slot = slots.after(at);
        prop_assert!(slot > at && slot.duration_since(at) <= length);
        prop_assert_eq!(slots.after(slot), slot + length);
        prop_assert_eq!(slots.after(slot - SignedDuration::from_nanos(1)), slot);
    }

    #[test]
    fn reading_any_text_panics_nowhere(text in prop_oneof![number_text(), ".{0,200}", "[@'\"`#/*\\\\a-z\n -]{0,60}"]) {
        let _ = number::parse(&text).map(|value| number::two_places(&value));
        let _ = text.parse::<Decimal>().map(|decimal| Exact::from(&decimal));
        let _ = text.parse::<Duration>();
        let _ = text.parse::<Bytes>();
        let _ = parameters::mentioned(&text);
        let _ = Reason::from_name(&text);
        let period = json!({"startDate": "2026-01-01", "endDate": "2026-04-11", "timeZone": text});
        World::new(json!({"period": period})).pass();
    }

    #[test]
    fn durations_and_bytes_are_read_as_they_are_written(seconds in 0u64..10_000_000, bytes in 0u64..(1 << 62)) {
        let duration = Duration::from_secs(seconds);
        prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
        prop_assert_eq!(Bytes(bytes).to_string().parse::<Bytes>(), Ok(Bytes(bytes)));
    }
}
