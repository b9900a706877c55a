//! `kubectl okr list`: the tree of objectives and key results, the worst first.

use anstyle::Style;
use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    api::OkrStatus,
    view::{
        Gaps, Visible,
        brief::Kind,
        overview::{self, Asking, Filter, Line, Overview, StatusFilter, Totals, WORST_FIRST},
        row::{Name, Row, Source, TroubleKind},
        words,
    },
};

use super::{
    Session, Verdict,
    cluster::ClusterError,
    objects,
    paint::{self, Paint},
    table::{Cell, Column, table},
};

/// Lists objectives and key results, the worst first.
///
/// Key results stand below their objective. A bar shows progress, its mark ┃ where progress should be by now. SYNC says when
/// BigQuery was last asked, or what is wrong.
#[derive(Debug, clap::Args)]
pub struct ListArguments {
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// Only objects with these labels.
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Only objects of this owner.
    #[arg(long)]
    pub owner: Option<String>,
    /// Only what stands so: a status such as AtRisk, or Failing or Stale.
    #[arg(long, value_parser = status)]
    pub status: Option<StatusFilter>,
    /// Only what reads through this connection.
    #[arg(long, value_name = "[NAMESPACE/]NAME")]
    pub connection: Option<String>,
    /// Only what has this in its name, title or owner.
    #[arg(long)]
    pub text: Option<String>,
    /// wide shows owners, connections and titles; json and yaml are for programs.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: ListOutput,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
}

fn status(text: &str) -> Result<StatusFilter, String> {
    StatusFilter::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = StatusFilter::all().map(StatusFilter::name).collect();
        format!("it is none of {}", names.join(", "))
    })
}

/// The same items as the dashboard's /api/v1.
#[derive(Serialize)]
struct Items {
    items: Vec<Row>,
}

pub async fn run(
    arguments: &ListArguments,
    Session { cluster, paint, output, now }: Session<'_>,
) -> Result<Verdict, ClusterError> {
    let scope = (!arguments.all_namespaces).then_some(cluster.namespace.as_str());
    let objects = objects::list(&cluster, scope, arguments.selector.as_deref()).await?;
    let filter = Filter {
        namespace: None,
        owner: arguments.owner.clone(),
        status: arguments.status,
        connection: arguments.connection.as_deref().map(|text| named(text, &cluster.namespace)),
        text: arguments.text.clone(),
    };
    let asking = Asking { filter: &filter, visible: &Visible::All, gaps: &Gaps::default(), now };
    let overview = overview::overview(&objects, &asking, 1, usize::MAX);
    match arguments.output {
        ListOutput::Json => output.json(&items(overview)),
        ListOutput::Yaml => output.yaml(&items(overview)),
        ListOutput::Table | ListOutput::Wide => {
            if overview.lines.is_empty() {
                let place = scope.map_or_else(|| "any namespace".to_owned(), |scope| format!("namespace {scope}"));
                let such = if filter == Filter::default() && arguments.selector.is_none() { "" } else { "such " };
                output.note(&format!("There are no {such}objectives or key results in {place}."));
                return Ok(Verdict::Fine);
            }
            let is_wide = arguments.output == ListOutput::Wide;
            let shape = Shape { paint, is_wide, has_namespaces: scope.is_none(), now };
            output.text(&rows(&overview.lines, &shape));
            if shape.paint.is_terminal {
                output.text(&format!("\n{}\n", summary(&overview.totals, shape.paint)));
            }
        }
    }
    Ok(Verdict::Fine)
}

fn named(text: &str, namespace: &str) -> Name {
    let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
    Name { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn items(overview: Overview) -> Items {
    Items { items: overview.lines.into_iter().filter(|line| !line.is_context).map(|line| line.row).collect() }
}

pub struct Shape {
    pub paint: Paint,
    pub is_wide: bool,
    pub has_namespaces: bool,
    pub now: Timestamp,
}

/// The table of `lines`.
pub fn rows(lines: &[Line], shape: &Shape) -> String {
    let column =
        |title, spare, cell: &dyn Fn(&Line) -> Cell| Column::new(title, spare, lines.iter().map(cell).collect());
    let text = |text: Option<&String>| Cell::new(text.map(String::as_str).unwrap_or_default());
    let bar = if shape.paint.width.is_some_and(|width| width < 100) { 10 } else { 20 };
    let mut columns = vec![
        column("NAME", 0, &name).least(16),
        column("STATUS", 0, &|line| marked(&line.row)).least(13),
        column("PROGRESS", 4, &|line| {
            Cell::styled(paint::bar(&line.row, bar).unwrap_or_default(), paint::of_status(line.row.okr_status))
        })
        .least(bar),
        column("", 1, &|line| {
            Cell::new(line.row.progress_percent.as_ref().map(|percent| format!("{percent} %")).unwrap_or_default())
        })
        .to_the_right(),
        column("EXPECTED", 7, &|line| {
            Cell::new(
                line.row.expected_progress_percent.as_ref().map(|percent| format!("{percent} %")).unwrap_or_default(),
            )
        })
        .to_the_right(),
        column("VALUE", 3, &|line| Cell::new(value(&line.row))).to_the_right().least(12),
        column("TARGET", 6, &|line| Cell::new(line.row.target_text.as_deref().map(words::number).unwrap_or_default())),
        column("SYNC", 5, &|line| sync(&line.row, shape.now)).least(16),
    ];
    if shape.has_namespaces {
        columns.insert(0, column("NAMESPACE", 2, &|line| text(Some(&line.row.namespace))));
    }
    if shape.is_wide {
        columns.extend([
            column("NEXT", 11, &|line| next(&line.row, shape.now)),
            column("CONNECTION", 8, &|line| Cell::new(connection(&line.row))),
            column("OWNER", 9, &|line| text(line.row.owner.as_ref())),
            column("TITLE", 10, &|line| text(Some(&line.row.title))),
        ]);
    }
    columns.retain(Column::says_anything);
    table(columns, shape.paint)
}

fn name(line: &Line) -> Cell {
    let style = match (line.is_context, line.row.kind) {
        (true, _) => paint::DIM,
        (false, Kind::Objective) => paint::BOLD,
        (false, Kind::KeyResult) => Style::new(),
    };
    Cell::styled(format!("{}{}", "  ".repeat(line.depth), line.row.name), style)
}

/// How it stands, with a mark where something is wrong: the column that says what may not fit.
fn marked(row: &Row) -> Cell {
    let Cell { text, style } = standing(row);
    let is_wrong = !row.troubles.is_empty() && !row.is_unreadable();
    Cell { text: if is_wrong { format!("{text} !") } else { text }, style }
}

pub fn standing(row: &Row) -> Cell {
    if row.is_unreadable() {
        return Cell::styled(TroubleKind::Unreadable.word(), paint::of_trouble(TroubleKind::Unreadable));
    }
    Cell::styled(words::status(row.okr_status), paint::of_status(row.okr_status))
}

pub fn value(row: &Row) -> String {
    let Some(value) = &row.value else { return String::new() };
    let unit = row.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default();
    words::number(value) + &unit
}

/// When BigQuery was last asked, or what is wrong.
fn sync(row: &Row, now: Timestamp) -> Cell {
    match (row.troubles.first(), &row.last_sync_time) {
        (Some(trouble), _) => {
            Cell::styled(format!("{}: {}", trouble.kind.word(), trouble.reason), paint::of_trouble(trouble.kind))
        }
        (None, Some(last)) => Cell::new(words::relative(last.0, now)),
        (None, None) => Cell::styled(if row.source == Source::Manual { "manual" } else { "" }, paint::DIM),
    }
}

fn next(row: &Row, now: Timestamp) -> Cell {
    match &row.next_sync_time {
        None => Cell::default(),
        Some(next) if next.0 <= now => Cell::new("due now"),
        Some(next) => Cell::new(words::relative(next.0, now)),
    }
}

fn connection(row: &Row) -> &str {
    match &row.source {
        Source::BigQuery { connection: Some(connection) } => &connection.display_name,
        Source::BigQuery { connection: None } | Source::Manual | Source::Children | Source::Unknown => "",
    }
}

/// "2 objectives, 9 key results: 1 At Risk, 8 On Track; 1 failing".
fn summary(totals: &Totals, paint: Paint) -> String {
    let counted = |count: usize, unit| words::counted(count as u64, unit);
    let standing = |okr_status: OkrStatus| {
        let count = totals.of(okr_status);
        let text = format!("{count} {}", words::status(okr_status));
        (count > 0).then(|| paint.styled(paint::of_status(okr_status), &text))
    };
    let standings: Vec<String> = WORST_FIRST.into_iter().filter_map(standing).collect();
    let troubles = [(totals.failing, TroubleKind::Failing), (totals.stale, TroubleKind::Stale)];
    let troubles = troubles.into_iter().filter(|(count, _)| *count > 0).map(|(count, trouble)| {
        paint.styled(paint::of_trouble(trouble), &format!("{count} {}", trouble.word().to_lowercase()))
    });
    let mut text =
        format!("{}, {}", counted(totals.objectives, "objective"), counted(totals.key_results, "key result"));
    for (mark, parts) in [(": ", standings), ("; ", troubles.collect())] {
        if !parts.is_empty() {
            text.push_str(mark);
            text.push_str(&parts.join(", "));
        }
    }
    text
}
