//! Columns that fit a width: what matters least goes first.

use anstyle::Style;

use super::paint::{self, Paint};

/// Between two columns.
const GAP: usize = 2;

pub struct Column {
    pub title: &'static str,
    pub cells: Vec<Cell>,
    /// How far it can be cut before it is left out.
    pub least: usize,
    /// What is left out first has the greatest; 0 stays.
    pub spare: u8,
    pub to_the_right: bool,
}

#[derive(Default)]
pub struct Cell {
    pub text: String,
    pub style: Style,
}

impl Cell {
    pub fn new(text: impl AsRef<str>) -> Self {
        Self { text: paint::plain(text.as_ref()), style: Style::new() }
    }

    pub fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { style, ..Self::new(text) }
    }
}

impl Column {
    pub fn new(title: &'static str, spare: u8, cells: Vec<Cell>) -> Self {
        Self { title, cells, least: 8, spare, to_the_right: false }
    }

    pub fn to_the_right(self) -> Self {
        Self { to_the_right: true, ..self }
    }

    pub fn least(self, least: usize) -> Self {
        Self { least, ..self }
    }

    /// Whether a row has anything in it.
    pub fn says_anything(&self) -> bool {
        self.cells.iter().any(|cell| !cell.text.is_empty())
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| paint::width(&cell.text)).chain([self.title.len()]).max().unwrap_or_default()
    }
}

/// The table, a line for the titles and one for each row.
pub fn table(mut columns: Vec<Column>, paint: Paint) -> String {
    let mut widths: Vec<usize> = columns.iter().map(Column::width).collect();
    if let Some(room) = paint.width {
        fit(&mut columns, &mut widths, room);
    }
    let rows = columns.iter().map(|column| column.cells.len()).max().unwrap_or_default();
    let mut text = String::new();
    for row in std::iter::once(None).chain((0..rows).map(Some)) {
        let mut line = String::new();
        for (column, width) in columns.iter().zip(&widths) {
            let (content, style) = match row {
                None => (column.title, paint::BOLD),
                Some(row) => column.cells.get(row).map_or(("", Style::new()), |cell| (&cell.text, cell.style)),
            };
            let content = paint::cut(content, *width);
            let padding = " ".repeat(width - paint::width(&content).min(*width));
            let content = paint.styled(style, &content);
            if !line.is_empty() {
                line.push_str(&" ".repeat(GAP));
            }
            line.push_str(&if column.to_the_right { padding + &content } else { content + &padding });
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Cuts the widest, then leaves out what can be spared, until the rest fits.
fn fit(columns: &mut Vec<Column>, widths: &mut Vec<usize>, room: usize) {
    loop {
        let taken = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(excess) = taken.checked_sub(room).filter(|excess| *excess > 0) else { return };
        let slack = |index: usize| widths[index].saturating_sub(columns[index].least);
        let all_slack: usize = (0..widths.len()).map(slack).sum();
        if all_slack >= excess {
            // From the one with the most to give, so that short columns stay whole.
            for _ in 0..excess {
                if let Some(widest) =
                    (0..widths.len()).max_by_key(|&index| widths[index].saturating_sub(columns[index].least))
                {
                    widths[widest] -= 1;
                }
            }
            return;
        }
        let spare =
            (0..columns.len()).filter(|&index| columns[index].spare > 0).max_by_key(|&index| columns[index].spare);
        let Some(spare) = spare else {
            // Nothing can be spared: what there is becomes short.
            for _ in 0..excess {
                if let Some(widest) = widths.iter_mut().max() {
                    *widest = (*widest - 1).max(1);
                }
            }
            return;
        };
        columns.remove(spare);
        widths.remove(spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paint(width: usize) -> Paint {
        Paint { colors: false, width: Some(width), is_terminal: false }
    }

    fn columns() -> Vec<Column> {
        let column = |title, spare, text: &str| Column::new(title, spare, vec![Cell::new(text)]);
        vec![
            column("NAME", 0, "annual-recurring-revenue"),
            column("STATUS", 0, "At Risk"),
            column("VALUE", 1, "45000").to_the_right(),
            column("CONNECTION", 2, "Company warehouse"),
        ]
    }

    #[test]
    fn a_wide_terminal_shows_all() {
        let text = table(columns(), paint(120));
        assert_eq!(text.lines().nth(1), Some("annual-recurring-revenue  At Risk  45000  Company warehouse"));
    }

    #[test]
    fn a_narrow_one_cuts_and_then_leaves_out() {
        let text = table(columns(), paint(44));
        assert_eq!(text.lines().nth(1), Some("annual-recur…  At Risk  45000  Company ware…"));
        assert_eq!(table(columns(), paint(24)), "NAME      STATUS   VALUE\nannual-…  At Risk  45000\n");
        assert_eq!(table(columns(), paint(20)), "NAME         STATUS\nannual-rec…  At Risk\n");
    }

    #[test]
    fn every_line_fits() {
        for width in 20..90 {
            let text = table(columns(), paint(width));
            assert!(text.lines().all(|line| paint::width(line) <= width), "{width}:\n{text}");
        }
    }
}
