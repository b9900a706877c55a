//! The table, and on what it was measured.

use std::{fmt::Write, process::Command, time::Duration};

use kube::Client;

/// One measurement.
pub struct Row {
    pub what: &'static str,
    pub conditions: String,
    /// SPEC 8's, or a dash.
    pub target: &'static str,
    pub measured: String,
    /// None where there is no target, or nothing was measured.
    pub met: Option<bool>,
}

/// What the numbers depend on.
pub struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    load: String,
    versions: Vec<(&'static str, String)>,
}

impl Machine {
    pub async fn here() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let field = |file: &str, name: &str| {
            let text = read(file);
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim_start_matches([':', '\t', ' ']).to_owned()
        };
        let kibibytes = field("/proc/meminfo", "MemTotal").split(' ').next().and_then(|text| text.parse::<f64>().ok());
        let said = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().map(|output| output.stdout);
            String::from_utf8_lossy(&output.unwrap_or_default()).lines().next().unwrap_or("unknown").to_owned()
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_default().await.expect("KUBECONFIG names the API server: run `make bench`");
        let server = client.apiserver_version().await.map_or_else(|_| "unknown".to_owned(), |info| info.git_version);
        let clean = said("git", &["status", "--porcelain", "--untracked-files=no"]) == "unknown";
        let commit = said("git", &["rev-parse", "--short=12", "HEAD"]);
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kibibytes.unwrap_or_default() / 1024.0 / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            versions: vec![
                ("okr-operator", env!("CARGO_PKG_VERSION").to_owned()),
                ("commit", if clean { commit } else { format!("{commit} with changes") }),
                ("rustc", said("rustc", &["--version"]).trim_start_matches("rustc ").to_owned()),
                ("kube-apiserver", server),
                ("etcd", said("etcd", &["--version"]).trim_start_matches("etcd Version: ").to_owned()),
            ],
        }
    }
}

/// All of it, in Markdown.
pub fn text(machine: &Machine, rows: &[Row], asked: &[String], took: Duration) -> String {
    let Machine { processor, cores, memory_gib, kernel, load, versions } = machine;
    let versions: Vec<String> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let command = match asked {
        [] => "`make bench`".to_owned(),
        some => format!("`dev/launch run .cache/run/bench -- cargo bench --bench bench -- {}`", some.join(" ")),
    };
    let mut text = format!(
        "- machine: {processor}, {cores} cores, {memory_gib:.0} GiB, Linux {kernel}; load before: {load}\n\
         - versions: {}\n\
         - command: {command}; it measured for {} min {} s\n\n\
         | what | conditions | target | measured | met |\n|---|---|---|---|---|\n",
        versions.join(", "),
        took.as_secs() / 60,
        took.as_secs() % 60
    );
    for Row { what, conditions, target, measured, met } in rows {
        let met = match met {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "-",
        };
        writeln!(text, "| {what} | {conditions} | {target} | {measured} | {met} |").expect("a String takes any text");
    }
    text
}
