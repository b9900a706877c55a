//! `kubectl okr check`: manifests against the rules of the API server and of the operator, without either.
//!
//! | module | owns |
//! |---|---|
//! | `source` | files, folders, standard input, and the documents in them |
//! | `yaml` | YAML as kubectl reads it, with the place of every value |
//! | `manifest` | which kind a document is, and close misses |
//! | `metadata` | the API server's rules for names, labels and annotations |
//! | `schema` | the rules of the CRDs: structure and CEL |
//! | `meaning` | what the operator cannot work with: time zones, queries, parameters |
//! | `references` | what the checked objects say of one another |
//! | `words` | what people usually write, and what to write instead |
//! | `run` | BigQuery, asked as the operator would |
//! | `finding` | a finding, and the forms in which findings are written |

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, ErrorKind, Write},
    path::PathBuf,
};

use super::{
    Verdict,
    paint::{Look, plain},
};

mod finding;
mod manifest;
mod meaning;
mod metadata;
mod references;
mod run;
mod schema;
mod source;
mod words;
mod yaml;

pub use finding::{By, Finding, Format};

pub use run::{Ran, Run, RunArguments};

use k8s_openapi::api::core::v1::Secret;
use manifest::{Found, Manifest};
use schema::{Kinds, Problem};
use yaml::{Node, Place};

/// Checks manifests without a cluster, by the same rules as the API server, and says what to write instead.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MORE)]
pub struct CheckArguments {
    /// Files or folders with manifests (of folders: *.yaml, *.yml, *.json), or - for standard input.
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "FILE|DIR|-")]
    pub filenames: Vec<PathBuf>,
    /// Look into the folders of folders too.
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// The namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// How findings are written.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Format,
    #[command(flatten)]
    pub run: RunArguments,
}

const MORE: &str = "\
Exit codes: 0 all is fine, 1 there are findings, 2 a file could not be checked.

Findings are what the API server refuses, and, marked as such, what it accepts and the operator then cannot work with
(an unknown time zone, a query that is no SELECT, weights above 100 in sum), or what is hardly meant (a key or an object
given twice). An object that is referred to and not among the files may be in the cluster: nothing is said of it.

A pre-commit hook, in .pre-commit-config.yaml:

  repos:
    - repo: local
      hooks:
        - id: okr-check
          name: kubectl okr check
          entry: kubectl-okr check -f
          language: system
          files: ^okrs/.*\\.ya?ml$

A step of GitHub Actions, which shows each finding beside its line:

  - run: kubectl-okr check -R -f okrs -o github

With --run the queries are sent too, each after its free dry run, and what the operator would write is shown. The
connection is taken from the files, or from --project:

  kubectl okr check -f okrs --run=dry
  kubectl okr check -f okrs --run --project=my-project --location=EU

Templates of Helm are checked once they are rendered:

  helm template ./chart | kubectl okr check -f -";

/// What was found in a set of files.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// How many objects of our kinds were looked at.
    pub checked: usize,
    /// How many of other kinds were left alone.
    pub left_alone: BTreeMap<String, usize>,
    /// Where dates stand without quotes: no finding, as all but Flux take them.
    pub unquoted_dates: Vec<String>,
    /// What could not be checked, and why.
    pub unchecked: Vec<String>,
    /// What came of the queries.
    pub ran: Vec<Ran>,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let unchecked = (!self.unchecked.is_empty()).then_some(Verdict::CouldNotCheck);
        let findings = (!self.findings.is_empty()).then_some(Verdict::Findings);
        let ran = self.ran.iter().map(|ran| ran.verdict);
        ran.chain(unchecked).chain(findings).max().unwrap_or(Verdict::Fine)
    }
}

/// The rules, and what was read so far.
pub struct Checker {
    kinds: &'static Kinds,
    default_namespace: String,
    manifests: Vec<Manifest>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    secrets: BTreeMap<(String, String), Secret>,
    report: Report,
}

pub fn main(arguments: &CheckArguments, look: &Look) -> Verdict {
    let mut checker = Checker::new(&arguments.namespace);
    for source in source::gather(&arguments.filenames, arguments.recursive) {
        match source.content {
            Ok(text) => checker.read(&source.name, &text),
            Err(why) => checker.report.unchecked.push(format!("{} {why}", source.name)),
        }
    }
    let report = checker.finish_with(&arguments.run);
    let written = finding::write(&report, arguments.output, look.paint().colors, arguments.run.run.is_some());
    // Whoever reads along may have seen enough: a closed pipe changes no verdict.
    let lost = written.err().filter(|error| error.kind() != ErrorKind::BrokenPipe);
    let _ = summarise(&report);
    match lost {
        None => report.verdict(),
        Some(error) => {
            let _ = writeln!(io::stderr().lock(), "error: the findings cannot be written: {error}");
            Verdict::CouldNotCheck
        }
    }
}

/// To standard error, so that the output stays what was asked for.
fn summarise(report: &Report) -> io::Result<()> {
    let mut out = io::stderr().lock();
    for why in &report.unchecked {
        writeln!(out, "error: {}", plain(why))?;
    }
    let many = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    write!(out, "{} checked, {}", many(report.checked, "object"), many(report.findings.len(), "finding"))?;
    if !report.left_alone.is_empty() {
        let listed: Vec<String> =
            report.left_alone.iter().map(|(kind, count)| format!("{count} {}", plain(kind))).collect();
        write!(out, "; left alone: {}", listed.join(", "))?;
    }
    writeln!(out)?;
    if let Some(first) = report.unquoted_dates.first() {
        let count = many(report.unquoted_dates.len(), "date");
        writeln!(
            out,
            "note: {count} without quotes, the first in {}: Flux reads them as points in time, which the API server refuses; with it, write \"2026-10-01\"",
            plain(first)
        )?;
    }
    Ok(())
}

impl Checker {
    pub fn new(default_namespace: &str) -> Self {
        Self {
            kinds: Kinds::compiled(),
            default_namespace: default_namespace.to_owned(),
            manifests: Vec::new(),
            namespaces: BTreeMap::new(),
            secrets: BTreeMap::new(),
            report: Report::default(),
        }
    }

    /// Checks the documents of a file, each for itself.
    pub fn read(&mut self, file: &str, text: &str) {
        let mut is_template = false;
        for part in source::parts(text) {
            if let Some((behind, place)) = part.behind_separator {
                let message = format!("kubectl reads nothing behind --- on its line: write {behind:?} on the next");
                self.say(file, "a document", Problem::new("", place, message), By::ApiServer);
            }
            match yaml::read(part.text, part.lines_before) {
                Ok(None) => {}
                Ok(Some(document)) => {
                    let first = self.report.findings.len();
                    self.document(file, document.root);
                    let object = self.report.findings.get(first).map(|finding| finding.object.clone());
                    let object = object.or_else(|| self.manifests.last().map(Manifest::title)).unwrap_or_default();
                    for (place, key) in document.duplicates {
                        let message =
                            format!("{key} is given twice, and kubectl takes the last: remove one of the two");
                        self.say(file, &object, Problem::new("", place, message), By::Check);
                    }
                }
                // What is YAML with its braces is none, such as an alert's text.
                Err(unreadable) => match source::template_line(part.text) {
                    // One word for all of a file's is enough.
                    Some(_) if is_template => {}
                    Some(line) => {
                        is_template = true;
                        let line = part.lines_before + line;
                        let why = "is a template: render it first (helm template ... | kubectl okr check -f -), and check what comes out";
                        self.report.unchecked.push(format!("{file}:{line} {why}"));
                    }
                    None => {
                        let message = syntax(part.text, part.lines_before, &unreadable);
                        self.say(file, "a document", Problem::new("", unreadable.place, message), By::ApiServer);
                    }
                },
            }
        }
    }

    /// Checks what the objects say of one another, and ends.
    pub fn finish(mut self) -> Report {
        self.compare();
        self.report
    }

    /// The same, and runs the queries if that is asked for.
    pub fn finish_with(mut self, arguments: &RunArguments) -> Report {
        self.compare();
        if arguments.run.is_some() {
            self.report.ran = run::run(&self.manifests, &self.secrets, arguments);
        }
        self.report
    }

    fn compare(&mut self) {
        let mut first: HashMap<(&str, &str, &str), &Manifest> = HashMap::new();
        let mut said = Vec::new();
        // Of one generateName each object is another.
        let is_named = |manifest: &&Manifest| manifest.root.at("metadata.name").is_some() && !manifest.name.is_empty();
        for manifest in self.manifests.iter().filter(is_named) {
            let key = (manifest.kind.as_str(), manifest.namespace.as_str(), manifest.name.as_str());
            if let Some(earlier) = first.insert(key, manifest) {
                let (file, line) = (&earlier.file, earlier.root.place.line);
                let message = format!(
                    "the same object is in {file}:{line} too, and the last applied counts: rename or remove one"
                );
                let place = schema::locate(&manifest.root, "metadata.name").1;
                said.push((manifest, Problem::new("metadata.name", place, message), By::Check));
            }
        }
        said.extend(references::Set::new(&self.manifests, &self.namespaces).check());
        let found =
            said.into_iter().map(|(manifest, problem, by)| finding_of(&manifest.file, &manifest.title(), problem, by));
        self.report.findings.extend(found.collect::<Vec<_>>());
        self.report.findings.sort_by(|one, other| (&one.file, one.place()).cmp(&(&other.file, other.place())));
    }

    fn say(&mut self, file: &str, object: &str, problem: Problem, by: By) {
        self.report.findings.push(finding_of(file, object, problem, by));
    }

    fn document(&mut self, file: &str, root: Node) {
        let found = manifest::find(&root, self.kinds);
        let kind = match found {
            Found::Ours(kind) => kind,
            Found::Other(kind) => {
                self.note_namespace(&root);
                self.note_secret(&root);
                *self.report.left_alone.entry(kind).or_default() += 1;
                return;
            }
            Found::List => {
                if let Some(items) = root.get("items") {
                    for item in items.items() {
                        self.document(file, item.clone());
                    }
                }
                return;
            }
            Found::Misnamed { kind, problem, by } => {
                self.report.checked += 1;
                let name = Manifest::new(file, root, &kind, &self.default_namespace).title();
                return self.say(file, &name, problem, by);
            }
            Found::None(why) => {
                let Place { line, .. } = root.place;
                return self.report.unchecked.push(format!("{file}:{line} {why}"));
            }
        };
        self.report.checked += 1;
        let mut manifest = Manifest::new(file, root, kind.name(), &self.default_namespace);
        let problems = metadata::check(&manifest.root);
        let problems: Vec<Problem> =
            problems.into_iter().chain(self.kinds.check(kind, &manifest.root, manifest.root.place)).collect();
        manifest.accepted = problems.is_empty();
        let unquoted = manifest.root.unquoted_dates();
        self.report.unquoted_dates.extend(unquoted.into_iter().map(|place| format!("{file}:{}", place.line)));
        let title = manifest.title();
        for problem in problems {
            self.say(file, &title, problem, By::ApiServer);
        }
        for problem in meaning::check(&manifest) {
            self.say(file, &title, problem, By::Operator);
        }
        self.manifests.push(manifest);
    }

    /// The labels of namespaces decide who may refer to whom.
    fn note_namespace(&mut self, root: &Node) {
        let (Some("Namespace"), Some(name)) =
            (root.get("kind").and_then(Node::text), root.at("metadata.name").and_then(Node::text))
        else {
            return;
        };
        let labels = root.at("metadata.labels").map(Node::entries).unwrap_or_default();
        let mut labels: BTreeMap<String, String> =
            labels.iter().filter_map(|entry| Some((entry.key.clone(), entry.value.text()?.to_owned()))).collect();
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
        self.namespaces.insert(name.to_owned(), labels);
    }
}

impl Checker {
    /// A connection's key may be among the files.
    fn note_secret(&mut self, root: &Node) {
        if root.get("kind").and_then(Node::text) != Some("Secret") {
            return;
        }
        if let Ok(secret) = serde_json::from_value::<Secret>(manifest::without_nulls(root.json())) {
            let namespace = secret.metadata.namespace.clone().unwrap_or_else(|| self.default_namespace.clone());
            let name = secret.metadata.name.clone().unwrap_or_default();
            self.secrets.insert((namespace, name), secret);
        }
    }
}

fn finding_of(file: &str, object: &str, problem: Problem, by: By) -> Finding {
    let Problem { field, place: Place { line, column }, message, .. } = problem;
    Finding { file: file.to_owned(), line, column, object: object.to_owned(), field, message, by }
}

/// Why a document is no YAML, for people who did not want to learn its grammar.
fn syntax(text: &str, lines_before: usize, unreadable: &yaml::Unreadable) -> String {
    let index = unreadable.place.line.saturating_sub(lines_before + 1);
    let around = text.lines().skip(index.saturating_sub(1)).take(2);
    let has_tab = |line: &str| line[..line.len() - line.trim_start().len()].contains('\t');
    if let Some(line) = text.lines().position(has_tab).filter(|line| line.abs_diff(index) <= 1) {
        return format!("line {} is indented with a tab: write spaces", lines_before + line + 1);
    }
    let is_template = around.clone().any(|line| line.contains("{{"));
    let hint = if is_template {
        ": put a value with {{ into quotes, and render templates first"
    } else if around.clone().any(|line| line.contains(": %") || line.contains(": @") || line.contains(": `")) {
        ": put a value that begins with %, @ or ` into quotes"
    } else if unreadable.message.contains("mapping values") && around.clone().any(|line| line.matches(": ").count() > 1)
    {
        ": put a value with a colon and a space into quotes"
    } else {
        ""
    };
    format!("this is no YAML ({}){hint}", unreadable.message)
}
