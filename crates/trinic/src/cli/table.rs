//! Plain tables: columns as wide as their longest cell, two spaces apart, no lines, so that `awk` reads them.

use serde_json::Value;

/// Formats rows under a header. Every row has as many cells as the header.
pub(super) fn format<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(header, widths);
    for row in rows {
        text.push_str(&line(row.each_ref().map(String::as_str), widths));
    }
    text
}

/// Every value inside, one a row; those inside others with all their names.
pub(super) fn flatten(prefix: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&name, value, rows);
            }
        }
        Value::Null => {}
        other => rows.push([prefix.to_owned(), other.to_string()]),
    }
}

fn line<const N: usize>(cells: [&str; N], widths: [usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        let missing = width.saturating_sub(cell.chars().count());
        line.extend(std::iter::repeat_n(' ', missing + 2));
    }
    line.truncate(line.trim_end().len());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let rows = [
            ["i-1".to_owned(), "running".to_owned()],
            ["i-123".to_owned(), String::new()],
        ];
        assert_eq!(
            format(["ID", "STATE"], &rows),
            "ID     STATE\ni-1    running\ni-123\n"
        );
    }
}
