//! The search for the live files of a version: the queries for a plan.

use deltalakedb_log::schema::Schema;

use crate::bounds::{BoundsSlots, Kind, WIDE};
use crate::database::Value;
use crate::plan::{Plan, SqlFragment};

/// The search for the live files of a version.
#[derive(Debug)]
pub(crate) struct FileQuery {
    pub(crate) table: Value,
    pub(crate) version: Value,
    /// Whether most of its files are live now.
    pub(crate) is_recent: bool,
    pub(crate) uses_range_scans: bool,
    /// The table's columns; `None` when only the list of all files is needed.
    pub(crate) schema: Option<Schema>,
    pub(crate) slots: BoundsSlots,
    pub(crate) plan: Plan,
    /// The spreads of live files in the slot of the driving index.
    pub(crate) spreads: Vec<i64>,
}

impl FileQuery {
    /// The query for these columns of the files found.
    pub(crate) fn statement(&self, columns: &str) -> SqlFragment {
        self.query(columns, self.plan.condition.as_ref())
    }

    /// The query for the number of files found, or only examined.
    pub(crate) fn count(&self, found: bool) -> SqlFragment {
        let mut all = self.query("1 AS one", self.plan.condition.as_ref().filter(|_| found));
        all.text = format!("SELECT count(*) FROM ({}) AS files", all.text);
        all
    }

    /// The query for the files after a key, in the order of their keys; the first of `columns` is the key.
    pub(crate) fn page(&self, columns: &str, after: Value, rows: usize) -> SqlFragment {
        let (table, version) = (self.table.clone(), self.version.clone());
        let of = |and: &str, mut params: Vec<Value>| {
            params.push(after.clone());
            SqlFragment::new(format!("table_id = ? AND {and} > ?"), params)
        };
        let live = of("removed_version IS NULL AND +version <= ? AND file_key", vec![table.clone(), version.clone()]);
        // The key is also the driving index among the removed files, unless few files were removed after the version.
        let ended = if self.is_recent && self.uses_range_scans {
            "removed_version > ? AND +version <= ? AND coalesce(file_key, file_key)"
        } else {
            "removed_version IS NOT NULL AND +removed_version > ? AND +version <= ? AND file_key"
        };
        let parts = vec![live, of(ended, vec![table, version.clone(), version])];
        let mut page = union(columns, parts, None);
        page.text.push_str(&format!(" ORDER BY file_key LIMIT {rows}"));
        page
    }

    fn query(&self, columns: &str, condition: Option<&SqlFragment>) -> SqlFragment {
        union(columns, self.parts(), condition)
    }

    /// Conditions that together select every file that may match, and each file once.
    fn parts(&self) -> Vec<SqlFragment> {
        let (table, version) = (self.table.clone(), self.version.clone());
        if !self.is_recent || !self.uses_range_scans {
            return vec![self.past()];
        }
        // The files that are live now, and those that were removed after the version: `version` selects among them. `+`
        // prevents an index on that column where an index on a bound or on the removal is better.
        let range_scans = match &self.plan.driving_index {
            Some(driving_index) => driving_index.range_scans(&self.spreads),
            None => vec![SqlFragment::default()],
        };
        let live = range_scans.into_iter().map(|range_scan| {
            let is_range_scan = !range_scan.text.is_empty();
            let mut sql = SqlFragment::new("table_id = ? AND removed_version IS NULL", vec![table.clone()]);
            if is_range_scan {
                sql.text.push_str(" AND ");
            }
            sql.push(range_scan);
            let until = if is_range_scan { " AND +version <= ?" } else { " AND version <= ?" };
            sql.push(SqlFragment::new(until, vec![version.clone()]));
            sql
        });
        let ended = SqlFragment::new(
            "table_id = ? AND removed_version > ? AND +version <= ?",
            vec![table.clone(), version.clone(), version.clone()],
        );
        live.chain([ended]).collect()
    }

    /// The condition for the files of an old version. A `+` prevents an index on that column.
    fn past(&self) -> SqlFragment {
        let text = "table_id = ? AND version <= ? AND (+removed_version IS NULL OR +removed_version > ?)";
        SqlFragment::new(text, vec![self.table.clone(), self.version.clone(), self.version.clone()])
    }

    /// A column's slot, and the condition for a file's bounds to be values of its rows; `None` when they never are.
    pub(crate) fn exact(&self, column: &str) -> Option<(usize, Kind, String)> {
        let column = self.schema.as_ref()?.column(column)?;
        let (n, slot) = self.slots.of(column)?;
        // A file without rows has no values, whatever its bounds are.
        let rows = "num_records IS NOT NULL AND num_records > coalesce(deleted_records, 0)";
        let exact = match (column.is_partition, column.data_type?.has_exact_statistics()) {
            // One value, so it was not truncated.
            (true, _) => format!("spread_{n} IS NOT NULL AND spread_{n} <= 0"),
            (false, true) => {
                format!(
                    "spread_{n} IS NOT NULL AND (spread_{n} < 0 OR (slot_flags IS NOT NULL AND slot_flags & {} = 0))",
                    1 << WIDE
                )
            }
            (false, false) => return None,
        };
        Some((n, slot.kind, format!("{rows} AND {exact}")))
    }
}

/// One query for the union of these conditions.
fn union(columns: &str, parts: Vec<SqlFragment>, condition: Option<&SqlFragment>) -> SqlFragment {
    let mut all = SqlFragment::default();
    for (i, mut part) in parts.into_iter().enumerate() {
        if let Some(condition) = condition {
            part.push(SqlFragment::new(" AND ", vec![]));
            part.push(condition.clone());
        }
        let union = if i == 0 { "" } else { " UNION ALL " };
        all.push(SqlFragment::new(format!("{union}SELECT {columns} FROM dl_add_files WHERE "), vec![]));
        all.push(part);
    }
    all
}
