//! Tables for people: columns of plain text, or a block for each row where the terminal is too narrow for them. Pure.

use anstyle::{Effects, Style};
use unicode_width::UnicodeWidthStr;

use crate::lock::entry::harmless;

/// What stands between two columns.
const GAP: &str = "  ";

/// What the heads look like where colours are wanted.
const HEAD: Style = Style::new().effects(Effects::BOLD);

/// What the reader's terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// How many columns it has; nothing where it is none, and lines can be as long as they like.
    pub width: Option<usize>,
    /// Whether it shows colours, and they are wanted.
    pub colours: bool,
}

/// The heads and rows, each column as wide as its widest cell. Cells are foreign text: nothing in them moves
/// the cursor. A column in which no row has anything is left out.
pub fn render<const COLUMNS: usize>(
    look: Look,
    heads: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> String {
    let rows: Vec<[String; COLUMNS]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| harmless(cell)))
        .collect();
    let used: Vec<usize> = (0..COLUMNS)
        .filter(|column| rows.is_empty() || rows.iter().any(|row| !row[*column].is_empty()))
        .collect();
    let widths: Vec<usize> = used
        .iter()
        .map(|column| {
            let cells = rows.iter().map(|row| row[*column].width());
            cells.chain([heads[*column].width()]).max().unwrap_or(0)
        })
        .collect();
    let line: usize = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
    match look.width {
        Some(width) if width < line => blocks(look, heads, &used, &rows),
        _ => columns(look, heads, &used, &widths, &rows),
    }
}

fn columns<const COLUMNS: usize>(
    look: Look,
    heads: [&str; COLUMNS],
    used: &[usize],
    widths: &[usize],
    rows: &[[String; COLUMNS]],
) -> String {
    let line = |cell: &dyn Fn(usize) -> String| {
        let mut line = String::new();
        for (column, width) in used.iter().zip(widths) {
            let cell = cell(*column);
            line.push_str(&cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.width())));
            line.push_str(GAP);
        }
        line.truncate(line.trim_end().len());
        line
    };
    let head = line(&|column| heads[column].to_owned());
    let mut text = match look.colours {
        true => format!("{HEAD}{head}{HEAD:#}\n"),
        false => format!("{head}\n"),
    };
    for row in rows {
        text.push_str(&line(&|column| row[column].clone()));
        text.push('\n');
    }
    text
}

fn blocks<const COLUMNS: usize>(
    look: Look,
    heads: [&str; COLUMNS],
    used: &[usize],
    rows: &[[String; COLUMNS]],
) -> String {
    let block = |row: &[String; COLUMNS]| -> String {
        let cells = used.iter().filter(|column| !row[**column].is_empty());
        let lines = cells.map(|column| {
            let (head, cell) = (heads[*column], &row[*column]);
            match (head, look.colours) {
                ("", _) => format!("{cell}\n"),
                (head, true) => format!("{HEAD}{head}{HEAD:#} {cell}\n"),
                (head, false) => format!("{head} {cell}\n"),
            }
        });
        lines.collect()
    };
    let blocks: Vec<String> = rows.iter().map(block).collect();
    blocks.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [[String; 3]; 2] {
        [["a\u{1b}[2J", "", "b"], ["\u{7530}", "", "c"]].map(|row| row.map(str::to_owned))
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_cells_are_harmless() {
        assert_eq!(
            render(Look::default(), ["X", "EMPTY", "Y"], &rows()),
            "X           Y\na\\u{1b}[2J  b\n\u{7530}          c\n"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_a_block_for_each_row() {
        let look = |width, colours| Look {
            width: Some(width),
            colours,
        };
        let wide = render(look(13, false), ["X", "EMPTY", "Y"], &rows());
        assert_eq!(wide, render(Look::default(), ["X", "EMPTY", "Y"], &rows()));
        assert_eq!(
            render(look(12, false), ["X", "EMPTY", "Y"], &rows()),
            "X a\\u{1b}[2J\nY b\n\nX \u{7530}\nY c\n"
        );
        let coloured = render(look(80, true), ["X", "EMPTY", "Y"], &rows());
        assert!(
            coloured.starts_with("\u{1b}[1mX           Y\u{1b}[0m\n"),
            "{coloured:?}"
        );
    }
}
