//! The rows of a file that are not hidden, as the Parquet reader selects rows.

use arrow::array::BooleanBufferBuilder;
use parquet::arrow::arrow_reader::RowSelection;
use roaring::RoaringTreemap;

/// With one hidden row in so many, or more, a bit for each row is made sooner than the ranges between them.
const ROWS_OF_A_MASK: u64 = 64;

/// The rows of a file with that many that are not among the hidden ones, all of which are in the file.
pub(super) fn of_visible_rows(hidden: &RoaringTreemap, rows: usize) -> RowSelection {
    let has_runs = hidden.bitmaps().any(|(_, bitmap)| bitmap.statistics().n_run_containers > 0);
    if !has_runs && hidden.len().saturating_mul(ROWS_OF_A_MASK) >= rows as u64 {
        mask_of(hidden, rows)
    } else {
        ranges_of(hidden, rows)
    }
}

fn mask_of(hidden: &RoaringTreemap, rows: usize) -> RowSelection {
    let mut visible = BooleanBufferBuilder::new(rows);
    visible.append_n(rows, true);
    // A position below the number of rows fits.
    hidden.iter().for_each(|position| visible.set_bit(position as usize, false));
    RowSelection::from_boolean_buffer(visible.finish())
}

fn ranges_of(hidden: &RoaringTreemap, rows: usize) -> RowSelection {
    let mut visible = Vec::new();
    let mut next = 0;
    for (high, bitmap) in hidden.bitmaps() {
        let first = u64::from(high) << 32;
        let mut positions = bitmap.iter();
        while let Some(run) = positions.next_range() {
            let (start, end) = (first + u64::from(*run.start()), first + u64::from(*run.end()) + 1);
            visible.push(next..start);
            next = end;
        }
    }
    visible.push(next..rows as u64);
    let ranges = visible.into_iter().filter(|range| !range.is_empty());
    // A position below the number of rows fits.
    let ranges = ranges.map(|range| range.start as usize..range.end as usize);
    RowSelection::from_consecutive_ranges(ranges, rows)
}

#[cfg(test)]
mod tests {
    use parquet::arrow::arrow_reader::RowSelector;

    use super::*;

    #[test]
    fn hidden_rows_are_skipped_and_every_row_is_counted() {
        let (select, skip) = (RowSelector::select, RowSelector::skip);
        let check = |hidden: &[u64], rows: usize, expected: &[RowSelector]| {
            let mut vector: RoaringTreemap = hidden.iter().copied().collect();
            for _ in 0..2 {
                let selection = of_visible_rows(&vector, rows);
                assert_eq!(selection.iter().copied().collect::<Vec<_>>(), expected, "{hidden:?} of {rows}");
                assert_eq!(selection.row_count(), rows - hidden.len());
                vector.optimize();
            }
        };
        check(&[], 5, &[select(5)]);
        check(&[0], 5, &[skip(1), select(4)]);
        check(&[4], 5, &[select(4), skip(1)]);
        check(&[1, 2, 4], 6, &[select(1), skip(2), select(1), skip(1), select(1)]);
        check(&[0, 1, 2], 3, &[skip(3)]);
        let run: Vec<u64> = (65_000..66_000).collect();
        check(&run, 70_000, &[select(65_000), skip(1_000), select(4_000)]);
    }
}
