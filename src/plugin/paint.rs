//! Text for a terminal: colours where they are wanted, bars, and nothing that a terminal would obey.

use std::io::IsTerminal;

use anstyle::{Ansi256Color, AnsiColor, Style};
use clap::ValueEnum;
use unicode_width::UnicodeWidthChar;

use crate::{
    api::OkrStatus,
    view::row::{Row, TroubleKind},
};

/// When to write colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// How output is to look.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Look {
    /// Whether to write colours; auto is on a terminal without NO_COLOR.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN", help_heading = "Output")]
    pub color: Color,
    /// Columns to fill. Default: those of the terminal, and as many as needed where output is piped.
    #[arg(long, global = true, value_name = "COLUMNS", help_heading = "Output", value_parser = clap::value_parser!(u16).range(20..))]
    pub width: Option<u16>,
    /// https://no-color.org: any text but none.
    #[arg(long, env = "NO_COLOR", hide = true, global = true, default_value = "")]
    no_color: String,
}

/// How text is written.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    pub colors: bool,
    /// None for as many columns as there are.
    pub width: Option<usize>,
    pub is_terminal: bool,
}

impl Look {
    pub fn paint(&self) -> Paint {
        let is_terminal = std::io::stdout().is_terminal();
        let colors = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && self.no_color.is_empty(),
        };
        let terminal = || terminal_size::terminal_size().map(|(width, _)| width.0).filter(|_| is_terminal);
        Paint { colors, width: self.width.or_else(terminal).map(usize::from), is_terminal }
    }
}

impl Paint {
    pub fn styled(self, style: Style, text: &str) -> String {
        if self.colors && !style.is_plain() && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Orange is Behind, red is At Risk: the same as on the dashboard.
pub fn of_status(okr_status: OkrStatus) -> Style {
    let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
    match okr_status {
        OkrStatus::AtRisk => color(AnsiColor::Red).bold(),
        OkrStatus::Behind => Style::new().fg_color(Some(Ansi256Color(208).into())),
        OkrStatus::OnTrack => color(AnsiColor::Green),
        OkrStatus::InProgress => color(AnsiColor::Blue),
        OkrStatus::NotStarted | OkrStatus::Postponed | OkrStatus::Closed => DIM,
    }
}

pub fn of_trouble(trouble: TroubleKind) -> Style {
    match trouble {
        TroubleKind::Unreadable | TroubleKind::Failing => AnsiColor::Magenta.on_default(),
        TroubleKind::Stale => AnsiColor::Yellow.on_default(),
    }
}

/// Progress as `width` cells, with a mark where it should be. None where nothing is known.
pub fn bar(row: &Row, width: usize) -> Option<String> {
    let cells = |text: &Option<String>| {
        let percent = text.as_deref()?.parse::<f64>().ok()?.clamp(0.0, 100.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the width")]
        Some((percent / 100.0 * width as f64).round() as usize)
    };
    let (filled, expected) = (cells(&row.progress_percent), cells(&row.expected_progress_percent));
    if filled.is_none() && expected.is_none() {
        return None;
    }
    // Nobody expects anything of what is put off.
    let mark = expected.filter(|_| row.okr_status != OkrStatus::Postponed).map(|cell| cell.clamp(1, width) - 1);
    let cell = |index: usize| match (Some(index) == mark, index < filled.unwrap_or_default()) {
        (true, _) => '┃',
        (false, true) => '█',
        (false, false) => '░',
    };
    Some((0..width).map(cell).collect())
}

/// Text that people wrote, on one line, without what a terminal would obey or what turns its direction.
pub fn plain(text: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let ends = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().filter(|c| !turns(*c)).map(|c| if ends(c) { ' ' } else { c }).collect()
}

/// The same where it may have several lines.
pub fn plain_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(|line| plain(&line.replace('\t', "    ")))
}

/// Columns that it takes.
pub fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// At most `most` columns, the last an ellipsis where something was left out.
pub fn cut(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut room = most.saturating_sub(1);
    let fitting = text.chars().take_while(|c| {
        let width = c.width().unwrap_or_default();
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    });
    fitting.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_written() {
        assert_eq!(plain("a\x1b[31mb\nc\u{202e}d\u{9b}1m"), "a [31mb cd 1m");
        assert_eq!(plain("a\u{61c}b\u{2028}c"), "ab c");
    }

    #[test]
    fn text_is_cut_by_the_columns_it_takes() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "…");
    }
}
