//! Who leads, on a real API server and by the real times. Waiting is most of it, so all tests run at once, each with a
//! Lease of its own; they start with the first that is asked for.

mod support;

use std::{
    collections::HashMap,
    panic::resume_unwind,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::{Client, api::DeleteParams, client::Body};
use okr_operator::controller::leadership::{self, Candidate, Leadership, Reign};
use serde_json::{Value, json};
use support::{
    cluster::{PATIENCE, Sandbox, await_some, failure, impersonate, sandbox},
    log::Log,
};
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

/// The name of every test's Lease; each has a namespace of its own.
const LEASE: &str = "okr-operator";

/// Tests that run at once, whatever the number of test threads.
macro_rules! at_once {
    ($($name:ident)*) => {
        static RUNNING: LazyLock<Mutex<HashMap<&str, JoinHandle<()>>>> = LazyLock::new(|| {
            Mutex::new(HashMap::from([$((stringify!($name), RUNTIME.spawn(tests::$name()))),*]))
        });
        $(
            #[test]
            fn $name() {
                let running = RUNNING.lock().unwrap().remove(stringify!($name)).unwrap();
                if let Err(error) = RUNTIME.block_on(running) {
                    resume_unwind(error.into_panic());
                }
            }
        )*
    };
}

at_once! {
    one_of_two_leads_and_never_both_whoever_is_cut_off
    a_release_hands_over_at_once
    a_release_is_seen_without_a_watch
    a_killed_leader_is_followed
    an_api_server_that_hangs_ends_leadership_after_ten_seconds
    a_process_that_stalls_leads_no_longer_than_ten_seconds
    conflicts_without_end_end_leadership_and_are_no_flood
    a_holder_written_by_hand_ends_leadership_at_once
    a_lease_deleted_or_emptied_by_hand_stays_with_its_leader
    without_rights_a_process_is_a_standby_and_says_why
}

/// What a machine may take that is busy with other tests: far less than the 15 s after which a Lease is taken anyway. The
/// benchmark measures how long it takes on one that is not.
const BUSY: Duration = Duration::from_secs(8);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

static LOG: LazyLock<Log> = LazyLock::new(Log::of_everything);

/// What becomes of a member's calls.
#[derive(Clone, Default)]
struct Line(Arc<Faults>);

#[derive(Default)]
struct Faults {
    hung: AtomicBool,
    conflicts: AtomicBool,
    no_watch: AtomicBool,
    calls: AtomicUsize,
}

impl Line {
    fn client(&self, client: &Client) -> Client {
        let (faults, client) = (Arc::clone(&self.0), client.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (faults, client) = (Arc::clone(&faults), client.clone());
            async move {
                faults.calls.fetch_add(1, Ordering::Relaxed);
                let is_watch = request.uri().to_string().contains("watch=true");
                if faults.hung.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                if faults.no_watch.load(Ordering::Relaxed) && is_watch {
                    return Ok(failure(StatusCode::FORBIDDEN));
                }
                if faults.conflicts.load(Ordering::Relaxed) && request.method() == Method::PUT {
                    return Ok(failure(StatusCode::CONFLICT));
                }
                client.send(request).await
            }
        });
        Client::new(service, "default")
    }

    fn hang(&self, hung: bool) {
        self.0.hung.store(hung, Ordering::Relaxed);
    }
}

/// A process that takes part.
struct Member {
    identity: String,
    leadership: Leadership,
    line: Line,
    release: CancellationToken,
    task: JoinHandle<()>,
}

impl Member {
    fn join(sandbox: &Sandbox, identity: &str) -> Self {
        Self::join_as(&sandbox.namespace, identity, &sandbox.client)
    }

    fn join_as(namespace: &str, identity: &str, client: &Client) -> Self {
        LazyLock::force(&LOG);
        let line = Line::default();
        let candidate = Candidate {
            namespace: namespace.to_owned(),
            name: LEASE.to_owned(),
            identity: format!("{identity}_{namespace}"),
        };
        let identity = candidate.identity.clone();
        let release = CancellationToken::new();
        let (leadership, run) = leadership::elect(&line.client(client), candidate, release.clone());
        Self { identity, leadership, line, release, task: tokio::spawn(run) }
    }

    async fn leads(&self) -> Reign {
        timeout(PATIENCE, self.leadership.acquired()).await.unwrap_or_else(|_| panic!("{} leads", self.identity))
    }

    fn is_leading(&self) -> bool {
        self.leadership.is_leading()
    }

    async fn stop(mut self) {
        self.release.cancel();
        (&mut self.task).await.unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

trait Leases {
    async fn lease(&self) -> LeaseSpec;
    async fn edit(&self, spec: Value);
}

impl Leases for Sandbox {
    async fn lease(&self) -> LeaseSpec {
        self.api::<Lease>().get(LEASE).await.unwrap().spec.unwrap()
    }

    async fn edit(&self, spec: Value) {
        self.patch::<Lease>(LEASE, json!({"spec": spec})).await;
    }
}

/// Samples whether two lead at the same time.
struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<(usize, usize)>>,
}

impl Sampler {
    fn start(one: &Leadership, other: &Leadership) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, one, other) = (Arc::clone(&stop), one.clone(), other.clone());
        let thread = std::thread::spawn(move || {
            let (mut samples, mut both) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let (Some(reign), others) = (one.reign(), other.is_leading()) else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                samples += 1;
                // Still leading after the other was: the two were at the same time.
                both += usize::from(others && reign.is_leading());
                std::thread::sleep(Duration::from_millis(1));
            }
            (samples, both)
        });
        Self { stop, thread: Some(thread) }
    }

    fn check(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let (samples, both) = self.thread.take().unwrap().join().unwrap();
        assert!(samples > 100, "{samples} samples");
        assert_eq!(both, 0, "of {samples} samples");
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with what the same machine's clock wrote")]
fn since_renewal(lease: &LeaseSpec) -> Duration {
    Timestamp::now().duration_since(lease.renew_time.as_ref().unwrap().0).unsigned_abs()
}

fn report(what: &str, took: Duration) {
    eprintln!("{what}: {} ms", took.as_millis());
}

mod tests {
    use super::*;

    pub async fn one_of_two_leads_and_never_both_whoever_is_cut_off() {
        let sandbox = sandbox("lease-both").await;
        let members = [Member::join(&sandbox, "a"), Member::join(&sandbox, "b")];
        let sampler = Sampler::start(&members[0].leadership, &members[1].leadership);
        for round in 0..3 {
            let leader = await_some("one leads", || async { members.iter().position(Member::is_leading) }).await;
            let (leader, standby) = (&members[leader], &members[1 - leader]);
            let reign = leader.leads().await;
            // One that has seen the other lead.
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(!standby.is_leading());
            leader.line.hang(true);
            let cut = Instant::now();
            standby.leads().await;
            assert!(!reign.is_leading());
            report("a leader cut off is followed after", cut.elapsed());
            assert!(cut.elapsed() < Duration::from_secs(20) + BUSY, "{:?}", cut.elapsed());
            leader.line.hang(false);
            assert_eq!(sandbox.lease().await.lease_transitions, Some(round + 1));
        }
        sampler.check();
        let logged = LOG.text();
        let logged = logged.lines().filter(|line| line.contains("this process leads"));
        let of_ours = logged.filter(|line| line.contains(&sandbox.namespace) && line.contains("identity")).count();
        assert_eq!(of_ours, 4, "once per reign, never per renewal");
    }

    pub async fn a_release_hands_over_at_once() {
        let sandbox = sandbox("lease-release").await;
        let mut leader = Member::join(&sandbox, "0");
        for round in 1..=5 {
            let reign = leader.leads().await;
            let next = Member::join(&sandbox, &round.to_string());
            tokio::time::sleep(Duration::from_secs(2)).await;
            let sampler = Sampler::start(&leader.leadership, &next.leadership);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let released = Instant::now();
            leader.release.cancel();
            next.leads().await;
            report("a release hands over in", released.elapsed());
            assert!(released.elapsed() < Duration::from_secs(2) + BUSY, "{:?}", released.elapsed());
            assert!(!reign.is_leading() && reign.ended().is_cancelled());
            sampler.check();
            leader = next;
        }
        leader.leads().await;
        leader.stop().await;
        let lease = sandbox.lease().await;
        assert_eq!((lease.holder_identity.as_deref(), lease.lease_duration_seconds), (Some(""), Some(1)));
        assert_eq!(lease.lease_transitions, Some(5));
        // Nobody is followed, and nothing is waited for.
        let started = Instant::now();
        Member::join(&sandbox, "last").leads().await;
        assert!(started.elapsed() < Duration::from_secs(2) + BUSY, "{:?}", started.elapsed());
    }

    pub async fn a_release_is_seen_without_a_watch() {
        let sandbox = sandbox("lease-poll").await;
        let leader = Member::join(&sandbox, "a");
        leader.leads().await;
        let standby = Member::join(&sandbox, "b");
        standby.line.0.no_watch.store(true, Ordering::Relaxed);
        // Long enough for several tries of the watch.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let logged = LOG.text();
        let complaints = logged.lines().filter(|line| line.contains("the watch of the lease failed"));
        let complaints = complaints.filter(|line| line.contains(&sandbox.namespace)).count();
        assert_eq!(complaints, 1, "once, not with every try");
        let released = Instant::now();
        leader.stop().await;
        standby.leads().await;
        report("a release is seen without a watch in", released.elapsed());
        assert!(released.elapsed() < Duration::from_secs(5) + BUSY, "{:?}", released.elapsed());
    }

    pub async fn a_killed_leader_is_followed() {
        let sandbox = sandbox("lease-killed").await;
        let leader = Member::join(&sandbox, "a");
        let reign = leader.leads().await;
        let standby = Member::join(&sandbox, "b");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let killed = Instant::now();
        leader.task.abort();
        let ended = reign.ended();
        timeout(Duration::from_secs(1) + BUSY, ended.cancelled()).await.expect("the reign ends with its election");
        let left = sandbox.lease().await;
        assert_eq!(left.holder_identity.as_ref(), Some(&leader.identity), "not released");
        standby.leads().await;
        report("a killed leader is followed after", killed.elapsed());
        assert!(killed.elapsed() < Duration::from_secs(20) + BUSY, "{:?}", killed.elapsed());
        assert!(since_renewal(&left) > Duration::from_secs(15), "not while it could have led: {:?}", killed.elapsed());
    }

    pub async fn an_api_server_that_hangs_ends_leadership_after_ten_seconds() {
        let sandbox = sandbox("lease-hung").await;
        let member = Member::join(&sandbox, "a");
        let reign = member.leads().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        member.line.hang(true);
        let lease = sandbox.lease().await;
        timeout(PATIENCE, reign.ended().cancelled()).await.expect("the reign ends");
        let led = since_renewal(&lease);
        report("a reign without renewals lasts", led);
        assert!(!reign.is_leading() && !member.is_leading());
        assert!(led > Duration::from_millis(9900) && led < Duration::from_secs(11) + BUSY, "{led:?}");
        assert_eq!(reign.write_timeout(Duration::from_secs(30)), None);
        member.line.hang(false);
        let mended = Instant::now();
        let next = member.leads().await;
        report("it is regained in", mended.elapsed());
        assert!(mended.elapsed() < Duration::from_secs(6) + BUSY, "{:?}", mended.elapsed());
        assert!(next.is_leading() && !reign.is_leading(), "the old reign stays over");
        member.line.hang(true);
        let stopped = Instant::now();
        member.stop().await;
        assert!(stopped.elapsed() < Duration::from_secs(6) + BUSY, "a release that hangs is given up");
    }

    pub async fn a_process_that_stalls_leads_no_longer_than_ten_seconds() {
        let sandbox = sandbox("lease-stalled").await;
        let (stall, namespace) = (CancellationToken::new(), sandbox.namespace.clone());
        let (sender, receiver) = oneshot::channel();
        // A runtime of its own, so that everything of it stalls.
        let process = async move |stalled: CancellationToken| {
            let member = Member::join_as(&namespace, "a", &Client::try_default().await.unwrap());
            let reign = member.leads().await;
            sender.send((member.leadership.clone(), reign.clone())).unwrap();
            stalled.cancelled().await;
            std::thread::sleep(Duration::from_secs(20));
            assert!(!reign.is_leading(), "the first that it sees when it goes on");
            timeout(Duration::from_secs(1) + BUSY, reign.ended().cancelled()).await.expect("and it is told");
            // Renewals that were on their way come to their end.
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(!member.is_leading());
        };
        let stalled = stall.clone();
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(process(stalled));
        });
        let (leadership, reign) = receiver.await.unwrap();
        let standby = Member::join(&sandbox, "b");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let sampler = Sampler::start(&leadership, &standby.leadership);
        stall.cancel();
        let began = Instant::now();
        standby.leads().await;
        report("a stalled leader is followed after", began.elapsed());
        assert!(!reign.is_leading());
        assert!(began.elapsed() < Duration::from_secs(20) + BUSY, "{:?}", began.elapsed());
        tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
        assert!(standby.is_leading());
        sampler.check();
    }

    pub async fn conflicts_without_end_end_leadership_and_are_no_flood() {
        let sandbox = sandbox("lease-conflicts").await;
        let member = Member::join(&sandbox, "a");
        let reign = member.leads().await;
        member.line.0.conflicts.store(true, Ordering::Relaxed);
        let before = member.line.0.calls.load(Ordering::Relaxed);
        timeout(PATIENCE, reign.ended().cancelled()).await.expect("the reign ends");
        let calls = member.line.0.calls.load(Ordering::Relaxed) - before;
        assert!(calls < 20, "{calls} calls");
        member.line.0.conflicts.store(false, Ordering::Relaxed);
        member.leads().await;
    }

    pub async fn a_holder_written_by_hand_ends_leadership_at_once() {
        let sandbox = sandbox("lease-foreign").await;
        let member = Member::join(&sandbox, "a");
        let reign = member.leads().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let edited = Instant::now();
        sandbox.edit(json!({"holderIdentity": "a person"})).await;
        timeout(Duration::from_secs(1) + BUSY, reign.ended().cancelled()).await.expect("the reign ends at once");
        assert!(!member.is_leading());
        member.leads().await;
        report("a holder that never renews is followed after", edited.elapsed());
        let took = edited.elapsed();
        assert!(took > Duration::from_millis(14_900) && took < Duration::from_secs(20) + BUSY, "{took:?}");
    }

    pub async fn a_lease_deleted_or_emptied_by_hand_stays_with_its_leader() {
        let sandbox = sandbox("lease-deleted").await;
        let leader = Member::join(&sandbox, "a");
        let reign = leader.leads().await;
        let standby = Member::join(&sandbox, "b");
        tokio::time::sleep(Duration::from_secs(3)).await;
        let sampler = Sampler::start(&leader.leadership, &standby.leadership);
        sandbox.api::<Lease>().delete(LEASE, &DeleteParams::default()).await.unwrap();
        await_some("the lease is made anew", || async { sandbox.api::<Lease>().get_opt(LEASE).await.unwrap() }).await;
        assert_eq!(sandbox.lease().await.holder_identity.as_ref(), Some(&leader.identity));
        sandbox.edit(json!({"holderIdentity": null})).await;
        let holder = || async { sandbox.lease().await.holder_identity.filter(|holder| !holder.is_empty()) };
        assert_eq!(await_some("the lease has a holder", holder).await, leader.identity);
        // Longer than a lease: it is renewed as before.
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert!(reign.is_leading(), "the same reign all the time");
        assert!(!standby.is_leading());
        sampler.check();
    }

    pub async fn without_rights_a_process_is_a_standby_and_says_why() {
        let sandbox = sandbox("lease-rights").await;
        let user = format!("operator-of-{}", sandbox.namespace);
        let member = Member::join_as(&sandbox.namespace, "a", &impersonate(&user, &[]).await);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(!member.is_leading());
        let complaint = format!("may not get leases.coordination.k8s.io in namespace {}", sandbox.namespace);
        assert_eq!(LOG.text().matches(&complaint).count(), 1, "once, not with every try");
        allow(&sandbox, &user, &["get", "list", "watch"]).await;
        let complaint = format!("may not create leases.coordination.k8s.io in namespace {}", sandbox.namespace);
        await_some("the next right is missed", || async { LOG.text().contains(&complaint).then_some(()) }).await;
        assert!(!member.is_leading());
        allow(&sandbox, &user, &["get", "list", "watch", "create", "update"]).await;
        let reign = member.leads().await;
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert!(reign.is_leading(), "these rights suffice to renew too");
        member.stop().await;
        assert_eq!(sandbox.lease().await.holder_identity.as_deref(), Some(""), "and to release");
    }
}

/// Allows `user` these verbs for Leases in the test's namespace, and no others.
async fn allow(sandbox: &Sandbox, user: &str, verbs: &[&str]) {
    let rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs});
    sandbox.allow(user, json!([rule])).await;
}
