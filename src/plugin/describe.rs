//! `kubectl okr describe`: everything about one key result or objective.

use jiff::Timestamp;

use crate::{
    api::{ChildStatus, OkrStatus, Time},
    view::{
        detail::{Detail, Force, Job, More},
        row::{Name, Row, Source},
        words,
    },
};

use super::{
    Session, Verdict, chart,
    cluster::ClusterError,
    list,
    named::{self, Named},
    paint::{self, Paint},
    table::{Cell, Column, table},
};

/// Shows how an objective or a key result stands, and why.
#[derive(Debug, clap::Args)]
pub struct DescribeArguments {
    /// NAME, or objective/NAME or keyresult/NAME where both kinds have one of that name.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Named>,
}

pub async fn run(
    arguments: &DescribeArguments,
    Session { cluster, paint, output, now }: Session<'_>,
) -> Result<Verdict, ClusterError> {
    for (index, detail) in named::details(&cluster, &arguments.names, now).await?.iter().enumerate() {
        if index > 0 {
            output.text("\n");
        }
        output.text(&Description { detail, paint, now }.text());
    }
    Ok(Verdict::Fine)
}

struct Description<'a> {
    detail: &'a Detail,
    paint: Paint,
    now: Timestamp,
}

impl Description<'_> {
    fn text(&self) -> String {
        let row = &self.detail.row;
        let mut lines = Lines { paint: self.paint, text: String::new() };
        lines.field("Name", &row.name);
        lines.field("Namespace", &row.namespace);
        lines.field("Kind", row.kind.name());
        if row.title != row.name {
            lines.field("Title", &row.title);
        }
        lines.optional("Owner", row.owner.as_deref());
        if let Some(Name { namespace, name }) = &row.objective {
            lines.field(
                "Objective",
                &if *namespace == row.namespace { name.clone() } else { format!("{namespace}/{name}") },
            );
        }
        self.standing(&mut lines, row);
        let Some(more) = &self.detail.more else { return lines.text };
        lines.optional("Weight", more.weight.map(|weight| format!("{weight} %")).as_deref());
        if let Some(period) = &more.period {
            let zone = period.time_zone.as_deref().unwrap_or("UTC");
            lines.field("Period", &format!("{} to {} ({zone})", period.start_date.0, period.end_date.0));
        }
        lines.optional("Description", more.description.as_deref());
        for link in &more.links {
            lines.field("Link", &format!("{}: {}", link.title, link.url));
        }
        self.check_in(&mut lines, more);
        self.source(&mut lines, row, more);
        if let Some(forecast) = &more.forecast {
            let reached =
                forecast.reaches_target_on.as_ref().map(|date| format!("; the target is reached on {}", date.0));
            let value = words::number(&forecast.end_value);
            lines.field("Forecast", &format!("{value} at the end{}", reached.unwrap_or_default()));
        }
        self.arithmetic(&mut lines, more);
        self.children(&mut lines, more);
        self.conditions(&mut lines, more);
        if let Some(chart) = &more.chart {
            lines.heading("History");
            lines.text.push_str(&chart::draw(chart, row.okr_status, self.paint, chart::Size::fitting(self.paint)));
        }
        lines.text
    }

    fn standing(&self, lines: &mut Lines, row: &Row) {
        let cell = list::standing(row);
        let since = row.okr_status_since.as_ref().map(|since| format!(", since {}", self.when(since)));
        let word = self.paint.styled(cell.style, &cell.text);
        lines.raw("Status", &format!("{word}{}", since.unwrap_or_default()));
        // Beside it stand its name and two percentages.
        let cells = self.paint.width.map_or(30, |width| width.saturating_sub(40).clamp(10, 30));
        if let Some(bar) = paint::bar(row, cells) {
            let bar = self.paint.styled(paint::of_status(row.okr_status), &bar);
            let percent = row
                .progress_percent
                .as_deref()
                .map_or_else(|| "no progress yet".to_owned(), |percent| format!("{percent} %"));
            let expected = row.expected_progress_percent.as_deref().map(|expected| format!(", expected {expected} %"));
            lines.raw("Progress", &format!("{bar} {percent}{}", expected.unwrap_or_default()));
        }
        if row.value.is_some() {
            let read = row.value_time.as_ref().map(|time| format!(", read {}", self.when(time)));
            lines.field("Value", &format!("{}{}", list::value(row), read.unwrap_or_default()));
        }
        lines.optional("Target", row.target_text.as_deref().map(words::number).as_deref());
        lines.optional("Why", row.explanation.as_deref());
        lines.optional("At rest", row.rest.as_deref());
        for trouble in &row.troubles {
            let text = format!("{}: {}", trouble.reason, trouble.message);
            let text = self.paint.styled(paint::of_trouble(trouble.kind), &paint::plain(&text));
            lines.raw(trouble.kind.word(), &text);
        }
    }

    fn when(&self, time: &Time) -> String {
        words::relative(time.0, self.now)
    }

    fn check_in(&self, lines: &mut Lines, more: &More) {
        let Some(shown) = &more.check_in else { return };
        let check_in = &shown.check_in;
        let force = match shown.force {
            Force::Counts => "",
            Force::Ended => ", which has ended",
            Force::Idle => ", which does not count now",
        };
        let status = words::status(OkrStatus::from(check_in.okr_status));
        lines.field("Check-in", &format!("{status} until {}{force}: {}", check_in.until.0, check_in.note));
    }

    fn source(&self, lines: &mut Lines, row: &Row, more: &More) {
        match &row.source {
            Source::BigQuery { connection: Some(connection) } => {
                lines.field(
                    "Source",
                    &format!(
                        "BigQuery, through {}/{} ({})",
                        connection.namespace, connection.name, connection.display_name
                    ),
                );
            }
            Source::BigQuery { connection: None } => lines.field("Source", "BigQuery, through no connection yet"),
            Source::Manual => lines.field("Source", "entered by people"),
            Source::Children => lines.field("Source", "rolled up from what belongs to it"),
            Source::Unknown => {}
        }
        if let Some(query) = &more.query {
            lines.block("Query", &query.query);
        }
        if let Some(Job { query, console }) = &more.job {
            let cached = if query.cache_hit { ", from the cache" } else { "" };
            let id = query.job_id.as_deref().unwrap_or("without an id");
            lines.field(
                "Last job",
                &format!("{id}: {} in {} ms{cached}", words::bytes(query.bytes_processed), query.duration_ms),
            );
            lines.optional("Console", console.as_deref());
        }
        lines.optional("Last sync", row.last_sync_time.as_ref().map(|time| self.when(time)).as_deref());
        let next = row
            .next_sync_time
            .as_ref()
            .map(|time| if time.0 <= self.now { "due now".to_owned() } else { self.when(time) });
        lines.optional("Next sync", next.as_deref());
    }

    fn arithmetic(&self, lines: &mut Lines, more: &More) {
        if more.arithmetic.is_empty() {
            return;
        }
        lines.heading("How it follows");
        for (step, text) in &more.arithmetic {
            lines.text.push_str(&format!("  {step:<18} {}\n", paint::plain(text)));
        }
    }

    fn children(&self, lines: &mut Lines, more: &More) {
        let children = &more.children;
        if children.is_empty() {
            return;
        }
        lines.heading("Counts for it");
        let column = |title, spare, cell: &dyn Fn(&ChildStatus) -> String| {
            Column::new(title, spare, children.iter().map(|child| Cell::new(cell(child))).collect())
        };
        let percent = |text: &Option<String>| text.as_ref().map(|text| format!("{text} %")).unwrap_or_default();
        lines.table(vec![
            column("NAME", 0, &|child| format!("{}/{}", child.namespace, child.name)),
            column("KIND", 3, &|child| child.kind.clone()),
            column("STATUS", 0, &|child| {
                child.okr_status.map(|status| words::status(status).to_owned()).unwrap_or_default()
            }),
            column("PROGRESS", 1, &|child| percent(&child.progress_percent)).to_the_right(),
            column("WEIGHT", 4, &|child| percent(&child.weight_percent)).to_the_right(),
            column("ADDS", 2, &|child| percent(&child.contribution)).to_the_right(),
            column("DOES NOT COUNT BECAUSE", 5, &|child| child.not_counted.clone().unwrap_or_default()).least(20),
        ]);
    }

    fn conditions(&self, lines: &mut Lines, more: &More) {
        if more.conditions.is_empty() {
            return;
        }
        lines.heading("Conditions");
        let column = |title, spare, cell: &dyn Fn(&crate::api::Condition) -> String| {
            Column::new(title, spare, more.conditions.iter().map(|condition| Cell::new(cell(condition))).collect())
        };
        lines.table(vec![
            column("TYPE", 0, &|condition| condition.type_.clone()),
            column("STATUS", 0, &|condition| condition.status.clone()),
            column("REASON", 1, &|condition| condition.reason.clone()),
            column("SINCE", 2, &|condition| self.when(&condition.last_transition_time)),
            column("MESSAGE", 3, &|condition| condition.message.clone()).least(24),
        ]);
    }
}

/// `Name:  text` lines.
struct Lines {
    paint: Paint,
    text: String,
}

impl Lines {
    fn raw(&mut self, name: &str, text: &str) {
        let name = format!("{name}:");
        self.text.push_str(&format!("{} {text}\n", self.paint.styled(paint::BOLD, &format!("{name:<12}"))));
    }

    fn field(&mut self, name: &str, text: &str) {
        self.raw(name, &paint::plain(text));
    }

    fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.field(name, text);
        }
    }

    /// Text that has lines of its own.
    fn block(&mut self, name: &str, text: &str) {
        let mut lines = paint::plain_lines(text);
        match (lines.next(), text.lines().nth(1)) {
            (Some(only), None) => self.raw(name, &only),
            _ => {
                self.raw(name, "");
                for line in paint::plain_lines(text) {
                    self.text.push_str(&format!("  {line}\n"));
                }
            }
        }
    }

    fn heading(&mut self, name: &str) {
        self.text.push_str(&format!("\n{}\n", self.paint.styled(paint::BOLD, &format!("{name}:"))));
    }

    fn table(&mut self, mut columns: Vec<Column>) {
        columns.retain(Column::says_anything);
        let narrower = Paint { width: self.paint.width.map(|width| width.saturating_sub(2)), ..self.paint };
        for line in table(columns, narrower).lines() {
            self.text.push_str(&format!("  {line}\n"));
        }
    }
}
