//! kstatus and Argo CD's engine as programs: what they say of one object.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

/// What Argo CD is told of our kinds.
pub const ARGOCD_CM: &str = "gitops/argocd/argocd-cm.yaml";

/// `InProgress`, `Current`, `Failed`, ..., and why.
pub struct Verdict {
    pub word: String,
    pub message: String,
}

/// What Flux's library says of an object.
pub fn kstatus(object: &Value) -> Verdict {
    let mut child = Command::new("kstatus")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kstatus: run `make gitops`");
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // 3 says: not Current.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{output:?}");
    verdict(output, "\t")
}

/// Argo CD's health of an object.
pub fn argo(object: &Value) -> Verdict {
    let output = argolua(Path::new(ARGOCD_CM), object, &[]);
    assert!(output.status.success(), "the script must not fail: {output:?}; {object:#}");
    let verdict = verdict(output, ": ");
    assert!(["Progressing", "Degraded", "Healthy"].contains(&verdict.word.as_str()), "{}", verdict.word);
    verdict
}

/// The object as Argo CD would write it after one of our actions, and how; or what the script said against it.
pub fn action(object: &Value, name: &str) -> Result<(String, Value), String> {
    action_of(Path::new(ARGOCD_CM), object, name)
}

pub fn action_of(argocd_cm: &Path, object: &Value, name: &str) -> Result<(String, Value), String> {
    let output = argolua(argocd_cm, object, &[name]);
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let (operation, object) = text.split_once('\n').unwrap();
    Ok((operation.trim_start_matches("# ").to_owned(), serde_saphyr::from_str(object).unwrap()))
}

fn argolua(argocd_cm: &Path, object: &Value, arguments: &[&str]) -> Output {
    let file = scratch("object.yaml", &object.to_string());
    Command::new("argolua").arg(argocd_cm).arg(file).args(arguments).output().expect("argolua: run `make gitops`")
}

/// A file of its own with this content.
pub fn scratch(name: &str, content: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gitops-{}-{number}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    path
}

fn verdict(output: Output, between: &str) -> Verdict {
    let text = String::from_utf8(output.stdout).unwrap();
    let (word, message) = text.split_once(between).unwrap_or_else(|| panic!("not a verdict: {text}"));
    Verdict { word: word.to_owned(), message: message.trim_end().to_owned() }
}
