//! The rows of a file that are not hidden, as the Parquet reader selects rows.

use parquet::arrow::arrow_reader::RowSelection;
use roaring::RoaringTreemap;

/// The rows of a file with that many that are not among the hidden ones, all of which are in the file.
pub(super) fn of_visible_rows(hidden: &RoaringTreemap, rows: usize) -> RowSelection {
    let mut next = 0;
    // One past the end closes the last range.
    let ends = hidden.iter().filter_map(|position| usize::try_from(position).ok()).chain([rows]);
    let ranges = ends.map(|end| {
        let range = next..end;
        next = end + 1;
        range
    });
    RowSelection::from_consecutive_ranges(ranges.filter(|range| !range.is_empty()), rows)
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::RowSelector;

    use super::*;

    #[test]
    fn hidden_rows_are_skipped_and_every_row_is_counted() {
        let (select, skip) = (RowSelector::select, RowSelector::skip);
        let check = |hidden: &[u64], rows: usize, expected: &[RowSelector]| {
            let selection = of_visible_rows(&hidden.iter().copied().collect(), rows);
            assert_eq!(selection.iter().copied().collect::<Vec<_>>(), expected, "{hidden:?} of {rows}");
            assert_eq!(selection.row_count(), rows - hidden.len());
        };
        check(&[], 5, &[select(5)]);
        check(&[0], 5, &[skip(1), select(4)]);
        check(&[4], 5, &[select(4), skip(1)]);
        check(&[1, 2, 4], 6, &[select(1), skip(2), select(1), skip(1), select(1)]);
        check(&[0, 1, 2], 3, &[skip(3)]);
    }
}
