//! What is wrong, where, and how it is written down.

use std::io::{self, Write};

use serde::Serialize;

use crate::plugin::paint::plain;

use super::{Report, run, yaml::Place};

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// `OkrKeyResult/converted-leads`; what of it is known.
    pub object: String,
    /// `spec.measure.reach.target`; empty where it concerns more than one field.
    pub field: String,
    /// Says what to write instead.
    pub message: String,
    pub by: By,
}

/// Who would object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum By {
    /// It is refused, and nothing is stored.
    ApiServer,
    /// It is stored, and the operator says in its status that it cannot work so, or does not as it reads.
    Operator,
    /// It is stored, but hardly as it was meant.
    Check,
}

impl Finding {
    pub fn place(&self) -> Place {
        Place { line: self.line, column: self.column }
    }

    fn note(&self) -> &'static str {
        match self.by {
            By::ApiServer => "",
            By::Operator => " [the API server accepts it, the operator does not]",
            By::Check => " [the API server accepts it]",
        }
    }

    fn sentence(&self) -> String {
        let field = if self.field.is_empty() { String::new() } else { format!("{}: ", self.field) };
        format!("{field}{}{}", self.message, self.note())
    }
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// path:line:column: kind/name: sentence
    Text,
    /// A list of findings with their fields; with --run a mapping of findings and runs.
    Json,
    /// Workflow commands of GitHub Actions, which show the findings beside the changed lines.
    Github,
}

/// Writes the findings to standard output, a line for each: a file that somebody else wrote must not look like more of
/// them, or like a command to a terminal or to GitHub. Whoever reads it may stop early.
pub fn write(report: &Report, format: Format, coloured: bool, with_runs: bool) -> io::Result<()> {
    let Report { findings, ran, .. } = report;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match format {
        Format::Json if with_runs => {
            serde_json::to_writer_pretty(&mut out, &serde_json::json!({"findings": findings, "runs": ran}))?;
            writeln!(out)?;
        }
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, findings)?;
            writeln!(out)?;
        }
        Format::Text => {
            for finding in findings {
                let Finding { file, line, column, object, .. } = finding;
                let (file, object, sentence) = (plain(file), plain(object), plain(&finding.sentence()));
                if coloured {
                    writeln!(out, "\x1b[1m{file}:{line}:{column}:\x1b[0m {object}: \x1b[31m{sentence}\x1b[0m")?;
                } else {
                    writeln!(out, "{file}:{line}:{column}: {object}: {sentence}")?;
                }
            }
        }
        Format::Github => {
            for finding in findings {
                let Finding { file, line, column, object, .. } = finding;
                let level = if finding.by == By::ApiServer { "error" } else { "warning" };
                let (file, title) = (property(file), property(object));
                let message = data(&finding.sentence());
                writeln!(out, "::{level} file={file},line={line},col={column},title={title}::{message}")?;
            }
        }
    }
    if format != Format::Json {
        for line in ran.iter().flat_map(run::lines) {
            writeln!(out, "{}", plain(&line))?;
        }
    }
    out.flush()
}

/// GitHub's escapes for what follows the second pair of colons. The log is read at terminals too.
fn data(text: &str) -> String {
    plain(&text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A"))
}

/// And for what stands before it.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
