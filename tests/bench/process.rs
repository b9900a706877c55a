//! The operator as a process, and what the kernel says of it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::bigquery_stub::Stub;

/// What /proc counts CPU time in; Linux fixes it for programs, whatever the kernel ticks at.
const TICK: Duration = Duration::from_millis(10);

/// Whatever is measured ends well before this on any machine that is fit for it.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program under test: `cargo bench` builds it as `cargo build --release` does.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_okr-operator")
}

/// Whether `okr-operator run` knows a flag.
pub fn knows(flag: &str) -> bool {
    let help = Command::new(program()).args(["run", "--help"]).output().expect("the operator's help");
    String::from_utf8_lossy(&help.stdout).contains(flag)
}

/// A running operator. It is killed when dropped.
pub struct Process {
    child: Child,
    pub address: String,
    /// Where its dashboard is.
    pub dashboard: String,
    pub started: Instant,
}

/// Resident memory in MiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub now: f64,
    pub peak: f64,
}

impl Process {
    /// An operator that works in `namespace` alone.
    pub fn start(namespace: &str, arguments: &[&str]) -> Self {
        let started = Instant::now();
        let mut child = Command::new(program())
            .args([
                "run",
                "--metrics-address=127.0.0.1:0",
                "--dashboard-address=127.0.0.1:0",
                "--allowed-endpoints=127.0.0.1",
                "--log-format=json",
            ])
            .args(arguments)
            .env("OKR_OPERATOR_NAMESPACES", namespace)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the operator starts");
        let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = String::new();
        let mut until_it_says = |field: &str| loop {
            let begin = said.len();
            let read = log.read_line(&mut said).expect("the operator's log");
            assert_ne!(read, 0, "the operator ended before it listened: {said}");
            let line: serde_json::Value = serde_json::from_str(&said[begin..]).expect("a line of JSON");
            if let Some(content) = line["fields"][field].as_str() {
                return content.to_owned();
            }
        };
        let (address, dashboard) = (until_it_says("address"), until_it_says("url"));
        // A full pipe would hold it up. What it complains of matters to whoever reads the numbers.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok).filter(|line| !line.contains("\"level\":\"INFO\"")) {
                eprintln!("operator: {line}");
            }
        });
        Self { child, address, dashboard, started }
    }

    /// CPU time since its start, in user and in kernel mode.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name, in brackets, may hold spaces; state is the first field after it, utime and stime the 12th and 13th.
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        TICK * ticks
    }

    pub fn memory(&self) -> Memory {
        let status = self.proc("status");
        let mebibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.trim_start_matches(':').trim().split(' ').next()?.parse().ok());
            kibibytes.unwrap_or(0.0) / 1024.0
        };
        Memory { now: mebibytes("VmRSS"), peak: mebibytes("VmHWM") }
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("the operator runs")
    }

    /// A sample of its own metrics, 0 while there is none.
    pub async fn metric(&self, sample: &str) -> f64 {
        let Ok(answer) = reqwest::get(format!("http://{}/metrics", self.address)).await else { return 0.0 };
        let text = answer.text().await.unwrap_or_default();
        let value = |line: &str| line.strip_prefix(sample)?.trim().parse().ok();
        text.lines().find_map(value).unwrap_or(0.0)
    }

    /// How many queries gave a value.
    pub async fn synced(&self) -> f64 {
        self.metric("okr_operator_syncs_total{outcome=\"measured\",reason=\"Synced\"}").await
    }

    /// How many statuses of key results it wrote.
    pub async fn written(&self) -> f64 {
        self.metric("okr_operator_status_writes_total{kind=\"OkrKeyResult\",result=\"written\"}").await
    }

    /// Waits until `stub` has counted so many queries in all, and then until so many statuses of key results are written: with
    /// ten thousand key results one scrape takes the operator longer than ten syncs, so it is not asked all the time.
    pub async fn until_synced(&self, stub: &Stub, queries: usize, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        while stub.count("jobs.query") < queries {
            assert!(Instant::now() < deadline, "{} of {queries} queries were sent", stub.count("jobs.query"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.until_written(number).await;
    }

    /// Waits until it has written so many statuses of key results.
    pub async fn until_written(&self, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.written().await < number as f64 {
            assert!(Instant::now() < deadline, "{} of {number} statuses were written", self.written().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until /readyz answers; how long that took from its start.
    pub async fn until_ready(&self) -> Duration {
        let url = format!("http://{}/readyz", self.address);
        let ready = async || reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success());
        while !ready().await {
            assert!(self.started.elapsed() < PATIENCE, "not ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.started.elapsed()
    }

    /// Waits until it has used no CPU to speak of for three seconds; how long after its start that rest began.
    pub async fn until_idle(&self) -> Duration {
        let (mut busy_until, mut before) = (self.started.elapsed(), self.cpu());
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let cpu = self.cpu();
            if cpu > before + TICK {
                busy_until = self.started.elapsed();
            }
            before = cpu;
            if self.started.elapsed() > busy_until + Duration::from_secs(3) {
                return busy_until;
            }
            assert!(self.started.elapsed() < PATIENCE, "never idle");
        }
    }

    /// SIGTERM, without waiting for the end.
    pub fn terminate(&self) {
        let status = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "the operator could not be signalled");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("the operator is killed");
        self.child.wait().expect("the operator ended");
    }

    /// Stops it as Kubernetes does.
    pub async fn stop(mut self) {
        self.terminate();
        let ended = tokio::task::spawn_blocking(move || self.child.wait()).await.expect("a thread");
        assert!(ended.expect("the operator's end").success(), "the operator did not end in order");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing is left to do where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
