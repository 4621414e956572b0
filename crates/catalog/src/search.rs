//! The search for the live files of a version: the queries that a plan becomes.

use deltalakedb_log::schema::Schema;

use crate::bounds::{Kind, Slots, WIDE};
use crate::database::Value;
use crate::plan::{Plan, Sql};

/// The search for the live files of a version.
#[derive(Debug)]
pub(crate) struct Search {
    pub(crate) table: Value,
    pub(crate) version: Value,
    pub(crate) is_newest: bool,
    pub(crate) seeks: bool,
    /// The table's columns; `None` when nothing but all files is wanted.
    pub(crate) schema: Option<Schema>,
    pub(crate) slots: Slots,
    pub(crate) plan: Plan,
    /// The classes of live files in the leading slot.
    pub(crate) classes: Vec<i64>,
}

impl Search {
    /// The query for these columns of the files found.
    pub(crate) fn statement(&self, columns: &str) -> Sql {
        self.query(columns, self.plan.condition.as_ref())
    }

    /// The query for the number of files found, or only gone through.
    pub(crate) fn count(&self, found: bool) -> Sql {
        let mut all = self.query("1 AS one", self.plan.condition.as_ref().filter(|_| found));
        all.text = format!("SELECT count(*) FROM ({}) AS files", all.text);
        all
    }

    fn query(&self, columns: &str, condition: Option<&Sql>) -> Sql {
        let mut all = Sql::default();
        for (i, mut part) in self.parts().into_iter().enumerate() {
            if let Some(condition) = condition {
                part.push(Sql::new(" AND ", vec![]));
                part.push(condition.clone());
            }
            let union = if i == 0 { "" } else { " UNION ALL " };
            all.push(Sql::new(format!("{union}SELECT {columns} FROM dl_add_files WHERE "), vec![]));
            all.push(part);
        }
        all
    }

    /// Conditions that together hold for every file that may be meant, and for each file only one.
    fn parts(&self) -> Vec<Sql> {
        let (table, version) = (self.table.clone(), self.version.clone());
        if !self.is_newest || !self.seeks {
            return vec![self.live()];
        }
        // A newer commit may end a file between two statements: `version` tells which files are meant all the same.
        // `+` keeps a column out of the choice of an index: live files are found by their end, past ones by their start.
        let seeks = match &self.plan.lead {
            Some(lead) => lead.seeks(&self.classes),
            None => vec![Sql::default()],
        };
        let live = seeks.into_iter().map(|seek| {
            let mut sql = Sql::new("table_id = ? AND removed_version IS NULL", vec![table.clone()]);
            if !seek.text.is_empty() {
                sql.text.push_str(" AND ");
            }
            sql.push(seek);
            sql.push(Sql::new(" AND +version <= ?", vec![version.clone()]));
            sql
        });
        let ended = Sql::new(
            "table_id = ? AND removed_version > ? AND +version <= ?",
            vec![table.clone(), version.clone(), version.clone()],
        );
        live.chain([ended]).collect()
    }

    /// The condition for every live file.
    pub(crate) fn live(&self) -> Sql {
        Sql::new(
            "table_id = ? AND version <= ? AND (+removed_version IS NULL OR +removed_version > ?)",
            vec![self.table.clone(), self.version.clone(), self.version.clone()],
        )
    }

    /// A column's slot, and the condition for a file's bounds in it to be values of its rows; `None` when they never
    /// are.
    pub(crate) fn exact(&self, column: &str) -> Option<(usize, Kind, String)> {
        let column = self.schema.as_ref()?.column(column)?;
        let (n, slot) = self.slots.of(column)?;
        // A file without rows has no values, whatever its bounds.
        let rows = "num_records IS NOT NULL AND num_records > coalesce(deleted_records, 0)";
        let exact = match (column.is_partition, column.data_type?.has_exact_statistics()) {
            // One value, so it was not cut.
            (true, _) => format!("class_{n} IS NOT NULL AND class_{n} <= 0"),
            (false, true) => {
                format!(
                    "class_{n} IS NOT NULL AND (class_{n} < 0 OR (nulls IS NOT NULL AND nulls & {} = 0))",
                    1 << WIDE
                )
            }
            (false, false) => return None,
        };
        Some((n, slot.kind, format!("{rows} AND {exact}")))
    }
}
