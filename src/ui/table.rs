//! Tables for people: columns of plain text. Pure.

/// What stands between two columns.
const GAP: &str = "  ";

/// The heads and rows, each column as wide as its widest cell. Cells are foreign text: nothing in them moves
/// the cursor.
pub fn render<const COLUMNS: usize>(heads: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    let heads = heads.map(str::to_owned);
    let rows: Vec<[String; COLUMNS]> = std::iter::once(&heads)
        .chain(rows)
        .map(|row| row.each_ref().map(|cell| harmless(cell)))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(&format!("{cell:<width$}{GAP}", width = width(column)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn harmless(cell: &str) -> String {
    let escaped = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    cell.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_cells_are_harmless() {
        let rows = [["a\u{1b}[2J".to_owned(), "b".to_owned()]];
        assert_eq!(render(["X", "Y"], &rows), "X           Y\na\\u{1b}[2J  b\n");
    }
}
