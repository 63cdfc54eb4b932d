//! Tables with columns that are as wide as their widest cell, like those of runc.

/// Narrowest column, in characters.
const NARROWEST: usize = 12;
/// Spaces between columns.
const GAP: usize = 3;

/// Lays out rows of equally many cells; the last column is not padded.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |i: usize| {
        let widest = rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max();
        (widest.unwrap_or(0) + GAP).max(NARROWEST)
    };
    let widths: Vec<usize> = (0..columns.saturating_sub(1)).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (i, cell) in row.iter().enumerate() {
            match widths.get(i) {
                Some(width) => out.push_str(&format!("{cell:<width$}")),
                None => out.push_str(cell),
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_those_of_runc() {
        let row = |cells: [&str; 3]| cells.map(str::to_string).to_vec();
        // What runc 1.1 prints for an empty list, and with a long cell.
        assert_eq!(table(&[row(["ID", "PID", "OWNER"])]), "ID          PID         OWNER\n");
        let got = table(&[row(["ID", "PID", "OWNER"]), row(["a-rather-long-id", "1", "root"])]);
        assert_eq!(got, "ID                 PID         OWNER\na-rather-long-id   1           root\n");
        assert_eq!(table(&[]), "");
    }
}
