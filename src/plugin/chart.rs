//! `kubectl okr chart`: the history of a value in characters, beside the line that it should follow.

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    api::OkrStatus,
    view::{
        chart::{Chart, Place},
        words,
    },
};

use super::{
    Session, Verdict,
    cluster::ClusterError,
    named::{self, Named},
    paint::{self, Paint},
};

/// Draws the history of values, with the line that they should follow.
#[derive(Debug, clap::Args)]
pub struct ChartArguments {
    /// NAME, or objective/NAME or keyresult/NAME where both kinds have one of that name.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<Named>,
    /// Lines of the plot.
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u16).range(3..=200))]
    pub height: Option<u16>,
}

/// Columns and lines of a plot, axes left aside.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl Size {
    /// As wide as the terminal, and 80 columns where there is none.
    pub fn fitting(paint: Paint) -> Self {
        Self { width: paint.width.unwrap_or(80).clamp(20, 160), height: 14 }
    }
}

pub async fn run(
    arguments: &ChartArguments,
    Session { cluster, paint, output, now }: Session<'_>,
) -> Result<Verdict, ClusterError> {
    let mut size = Size::fitting(paint);
    size.height = arguments.height.map_or(size.height, usize::from);
    for detail in named::details(&cluster, &arguments.names, now).await? {
        let row = &detail.row;
        let unit = row.unit.as_deref().map(|unit| format!(", in {unit}")).unwrap_or_default();
        let status = paint.styled(paint::of_status(row.okr_status), words::status(row.okr_status));
        let title = format!("{}{}", paint::plain(&row.title), paint::plain(&unit));
        let spare = paint.width.map(|width| width.saturating_sub(words::status(row.okr_status).len() + " - ".len()));
        let title = spare.map_or_else(|| title.clone(), |spare| paint::cut(&title, spare));
        output.text(&format!("{title} - {status}\n"));
        match detail.more.as_ref().and_then(|more| more.chart.as_ref()) {
            Some(chart) => output.text(&draw(chart, row.okr_status, paint, size)),
            None => output.text("There is no history yet.\n"),
        }
    }
    Ok(Verdict::Fine)
}

/// What stands in a cell of the plot; what comes later covers what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Nothing,
    Now,
    Target,
    Expected,
    Forecast,
    Line,
    Point,
}

impl Mark {
    fn sign(self) -> char {
        match self {
            Mark::Nothing => ' ',
            Mark::Now => '┊',
            Mark::Target => '─',
            Mark::Expected => '·',
            Mark::Forecast => '+',
            Mark::Line => '•',
            Mark::Point => '●',
        }
    }
}

/// The plot with its axes and its legend, each line ended.
pub fn draw(chart: &Chart, okr_status: OkrStatus, paint: Paint, size: Size) -> String {
    let (low, high) = chart.values;
    let labels: Vec<String> = (0..size.height)
        .map(|line| {
            let is_labelled = line == 0 || line + 1 == size.height || line == size.height / 2;
            let share = 1.0 - line as f64 / (size.height - 1).max(1) as f64;
            if is_labelled { label(low + (high - low) * share, high - low) } else { String::new() }
        })
        .collect();
    let margin = labels.iter().map(|label| label.len()).max().unwrap_or_default();
    let width = size.width.saturating_sub(margin + 2).max(10);
    let mut plot = Plot { chart, marks: vec![vec![Mark::Nothing; width]; size.height] };
    plot.all();
    let mut text = String::new();
    for (label, marks) in labels.iter().zip(&plot.marks) {
        let mut line =
            format!("{label:>margin$} {}", paint.styled(paint::DIM, if label.is_empty() { "│" } else { "┤" }));
        // Cells of one kind are painted together.
        for run in marks.chunk_by(|one, other| one == other) {
            let signs: String = run.iter().map(|mark| mark.sign()).collect();
            let style = match run[0] {
                Mark::Point | Mark::Line => paint::of_status(okr_status),
                Mark::Nothing | Mark::Now | Mark::Target | Mark::Expected | Mark::Forecast => paint::DIM,
            };
            line.push_str(&paint.styled(style, &signs));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let mut dates = [chart.times.0, chart.times.1].map(|time| date(time, &chart.zone));
    if dates[0].len() + dates[1].len() >= width {
        dates = dates.map(|date| date.split_once('-').map_or_else(String::new, |(_, day)| day.to_owned()));
    }
    let axis = format!("{} └{}", " ".repeat(margin), "─".repeat(width));
    text.push_str(&format!("{}\n", paint.styled(paint::DIM, &axis)));
    let between = width.saturating_sub(dates[0].len() + dates[1].len()).max(1);
    text.push_str(&format!("{}  {}{}{}\n", " ".repeat(margin), dates[0], " ".repeat(between), dates[1]));
    for line in legend(&plot.marks, width) {
        text.push_str(&format!("{}  {}\n", " ".repeat(margin), paint.styled(paint::DIM, &line)));
    }
    text
}

/// What is on the plot, and only that, in lines of at most `width`.
fn legend(marks: &[Vec<Mark>], width: usize) -> Vec<String> {
    let has = |mark: Mark| marks.iter().flatten().any(|other| *other == mark);
    let names = [
        (Mark::Point, "read"),
        (Mark::Expected, "expected"),
        (Mark::Target, "target"),
        (Mark::Forecast, "forecast"),
        (Mark::Now, "now"),
    ];
    let shown = names.into_iter().filter(|(mark, _)| has(*mark)).map(|(mark, name)| format!("{} {name}", mark.sign()));
    shown.fold(Vec::new(), |mut lines: Vec<String>, name| {
        match lines.last_mut() {
            Some(line) if paint::width(line) + 3 + paint::width(&name) <= width => line.push_str(&format!("   {name}")),
            Some(_) | None => lines.push(name),
        }
        lines
    })
}

struct Plot<'a> {
    chart: &'a Chart,
    /// By line from the top, then by column.
    marks: Vec<Vec<Mark>>,
}

impl Plot<'_> {
    fn all(&mut self) {
        let Chart { times, zone: _, values, points, expected, zones: _, target, forecast, now } = self.chart;
        if let Some(now) = now {
            self.line((*now, values.0), (*now, values.1), Mark::Now);
        }
        if let Some(target) = target {
            self.line((times.0, *target), (times.1, *target), Mark::Target);
        }
        for pair in expected.windows(2) {
            self.line(pair[0], pair[1], Mark::Expected);
        }
        if let Some((from, to)) = forecast {
            self.line(*from, *to, Mark::Forecast);
        }
        for pair in points.windows(2) {
            self.line(pair[0].at, pair[1].at, Mark::Line);
        }
        for point in points {
            self.line(point.at, point.at, Mark::Point);
        }
    }

    /// Marks every cell from one place to another.
    fn line(&mut self, from: Place, to: Place, mark: Mark) {
        let (from, to) = (self.cell(from), self.cell(to));
        let steps = (from.0 - to.0).abs().max((from.1 - to.1).abs()).ceil().max(1.0);
        let mut step = 0.0;
        while step <= steps {
            let share = step / steps;
            let (column, line) = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "what is not on the plot is not found"
            )]
            let cell = self.marks.get_mut(line.round() as usize).and_then(|line| line.get_mut(column.round() as usize));
            if let Some(cell) = cell.filter(|cell| **cell < mark) {
                *cell = mark;
            }
            step += 1.0;
        }
    }

    /// Column and line of a place, from the top left.
    fn cell(&self, (time, value): Place) -> (f64, f64) {
        let Chart { times, values, .. } = self.chart;
        let (columns, lines) = (self.marks[0].len() as f64 - 1.0, self.marks.len() as f64 - 1.0);
        let share = |at: f64, (low, high): (f64, f64)| {
            if high > low { ((at - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
        };
        (share(time, *times) * columns, (1.0 - share(value, *values)) * lines)
    }
}

/// With as many decimals as tell the labels of such a range apart.
fn label(value: f64, range: f64) -> String {
    let decimals = match range {
        range if range >= 20.0 => 0,
        range if range >= 2.0 => 1,
        range if range >= 0.2 => 2,
        range if range >= 0.002 => 4,
        _ => return format!("{value:.2e}"),
    };
    if value.abs() >= 1e12 { format!("{value:.2e}") } else { words::number(&format!("{value:.decimals$}")) }
}

fn date(seconds: f64, zone: &TimeZone) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "a second of a period")]
    let time = Timestamp::from_second(seconds as i64);
    time.map(|time| time.to_zoned(zone.clone()).date().to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_every_range_are_told_apart() {
        assert_eq!(label(1234.0, 100.0), "1,234");
        assert_eq!(label(0.05, 0.1), "0.0500");
        assert_eq!((label(1e-38, 2e-38), label(-1e-39, 2e-38)), ("1.00e-38".to_owned(), "-1.00e-39".to_owned()));
        assert_eq!(label(1e39, 2e39), "1.00e39");
    }
}
