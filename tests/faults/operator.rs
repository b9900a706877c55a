//! The real operator as a process, behind proxies, with an identity of its own in the audit log.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{control_plane::signal, proxy::Proxy};

/// One operator: killed, it is started again as what it was.
pub struct Operator {
    /// As the audit log names it.
    pub user: String,
    pub proxy: Proxy,
    folder: PathBuf,
    arguments: Vec<String>,
    child: Child,
    /// How often it was started.
    pub starts: u32,
}

/// What a process holds at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Holdings {
    pub resident_kib: u64,
    pub threads: u64,
    pub files: u64,
}

impl Operator {
    pub fn start(user: &str, proxy: Proxy, folder: &Path, arguments: &[&str]) -> Self {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "faults",
            "clusters": [{"name": "faults", "cluster": {"server": proxy.address()}}],
            "users": [{"name": user, "user": {}}],
            "contexts": [{"name": "faults", "context": {"cluster": "faults", "user": user, "namespace": "default"}}],
        });
        std::fs::write(folder.join(format!("{user}.kubeconfig")), kubeconfig.to_string()).unwrap();
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = spawn(user, folder, &arguments, 1);
        Self { user: user.to_owned(), proxy, folder: folder.to_owned(), arguments, child, starts: 1 }
    }

    /// kill -9, and a new process.
    pub fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.starts += 1;
        self.child = spawn(&self.user, &self.folder, &self.arguments, self.starts);
    }

    /// SIGSTOP for so long.
    pub async fn freeze(&self, lasts: Duration) {
        signal("STOP", self.child.id());
        tokio::time::sleep(lasts).await;
        signal("CONT", self.child.id());
    }

    /// What it said last, if it has ended by itself.
    pub fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().unwrap()?;
        let log = std::fs::read_to_string(log(&self.user, &self.folder, self.starts)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        Some(format!(
            "{} ended by itself with {status}: {}",
            self.user,
            lines[lines.len().saturating_sub(5)..].join("\n")
        ))
    }

    pub fn holds(&self) -> Holdings {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = std::fs::read_to_string(process.join("status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        let files = std::fs::read_dir(process.join("fd")).unwrap().count();
        Holdings { resident_kib: number("VmRSS:"), threads: number("Threads:"), files: u64::try_from(files).unwrap() }
    }

    /// SIGTERM; whether it ends in order in time.
    pub async fn terminate(mut self) -> bool {
        signal("TERM", self.child.id());
        let deadline = Instant::now() + Duration::from_secs(25);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(user: &str, folder: &Path, start: u32) -> PathBuf {
    folder.join(format!("{user}.{start}.log"))
}

fn spawn(user: &str, folder: &Path, arguments: &[String], start: u32) -> Child {
    let log = std::fs::File::create(log(user, folder, start)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_okr-operator"))
        .args([
            "run",
            "--metrics-address=127.0.0.1:0",
            "--dashboard-address=off",
            "--allowed-endpoints=127.0.0.1",
            "--log-format=json",
        ])
        .arg("--log-filter=info,okr_operator=debug")
        .args(arguments)
        .env("KUBECONFIG", folder.join(format!("{user}.kubeconfig")))
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}
