//! A control plane of the suite's own, whose programs are killed and started again.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;

/// Ends with this process, whatever becomes of it: the launcher ends when `cat` reads the end of our pipe.
pub struct ControlPlane {
    pub folder: PathBuf,
    launcher: Child,
}

impl ControlPlane {
    pub fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/run").join(name);
        let mut launcher = launch(&["run"], &folder)
            .args(["--", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(launcher.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said.trim(), "ready", "dev/launch run failed; see above");
        Self { folder, launcher }
    }

    pub fn kubeconfig(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.folder.join("kubeconfig")).unwrap()).unwrap()
    }

    /// An administrator's client that goes to the API server itself.
    pub async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.folder.join("kubeconfig")).unwrap();
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.read_timeout = Some(std::time::Duration::from_secs(330));
        Client::try_from(config).unwrap()
    }

    pub fn audit_log(&self) -> String {
        std::fs::read_to_string(self.folder.join("audit.log")).unwrap()
    }

    /// Copies the logs to where the next run does not write.
    pub fn keep_logs(&self, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for file in std::fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "log") {
                std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
            }
        }
    }

    /// kill -9. What is killed is what the launcher recorded as started here.
    pub fn kill(&self, name: &str) {
        let recorded = std::fs::read_to_string(self.folder.join("processes.json")).unwrap();
        let recorded: Value = serde_json::from_str(&recorded).unwrap();
        let process = recorded.as_array().unwrap().iter().find(|process| process["name"] == name).unwrap();
        signal("KILL", u32::try_from(process["pid"].as_u64().unwrap()).unwrap());
    }

    /// Starts a killed program with the arguments that it had.
    pub fn restart(&self, name: &str) {
        assert!(
            launch(&["restart"], &self.folder).arg(name).status().unwrap().success(),
            "{name} does not start again"
        );
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.launcher.stdin.take());
        let _ = self.launcher.wait();
    }
}

fn launch(command: &[&str], folder: &Path) -> Command {
    let mut launch = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("dev/launch"));
    launch.args(command).arg(folder);
    launch
}

/// Sends a signal to one process.
pub fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "SIG{name} did not reach {pid}");
}
