//! Summaries of a version that the database computes from columns, without reading the files.

use async_trait::async_trait;
use deltalakedb_log::predicate::{Literal, Predicate};
use deltalakedb_log::{
    Counts, Explanation, LogSummaries, Result, SetHash, SizeDelta, Subject, TxnLogError, TxnLogReader, Version,
};
use futures::TryStreamExt;

use crate::codec::int;
use crate::database::Row;
use crate::plan::{Plan, SqlFragment};
use crate::sql_catalog::SqlTxnLogReader;
use crate::table_lookup::no_table;

#[async_trait]
impl LogSummaries for SqlTxnLogReader {
    async fn explain(&self, version: Version, predicate: &Predicate) -> Result<Explanation> {
        let (search, _) = self.search(version, Some(predicate)).await?;
        let count = async |sql: SqlFragment| {
            let mut rows = self.db().query(&sql.text, sql.params).await?;
            let n = rows.pop().map(|mut row| row.int()).transpose()?.unwrap_or(0);
            u64::try_from(n).map_err(|_| TxnLogError::corrupt("a count is negative"))
        };
        Ok(Explanation {
            statement: Some(search.statement("path").to_string()),
            examined: count(search.count(false)).await?,
            found: count(search.count(true)).await?,
            kept: self.files(version, Some(predicate)).await?.try_fold(0, |n, _| async move { Ok(n + 1) }).await?,
        })
    }

    async fn counts(&self, version: Version) -> Result<Counts> {
        let (search, at) = self.search(version, None).await?;
        let mut files = search.statement(
            "size_bytes, num_records - coalesce(deleted_records, 0) AS rows_left, num_records, \
                        deletion_vector, deleted_records",
        );
        files.text = format!(
            "SELECT count(*), {}, {}, \
             coalesce(sum(CASE WHEN num_records IS NULL OR (deletion_vector IS NOT NULL AND deleted_records IS NULL) \
             THEN 1 ELSE 0 END), 0) FROM ({}) AS files",
            sum_of("size_bytes"),
            sum_of("rows_left"),
            files.text
        );
        let mut row = self.db().query(&files.text, files.params).await?.pop();
        let Some(row) = row.as_mut() else { return Err(no_table(self.db(), self.table).await) };
        self.check_retained(at).await?;
        let files = u64::try_from(row.int()?).map_err(|_| TxnLogError::corrupt("a count is negative"))?;
        let (bytes, rows, silent) = (read_sum(row)?, read_sum(row)?, row.int()?);
        Ok(Counts { files, bytes: saturated(bytes), rows: i64::try_from(rows).ok().filter(|_| silent == 0) })
    }

    async fn min_max(&self, version: Version, column: &str) -> Result<Option<(Literal, Literal)>> {
        let (mut search, at) = self.search(version, Some(&Predicate::Unknown)).await?;
        let Some((n, kind, exact)) = search.exact(column) else { return Ok(None) };
        search.plan = Plan::default();
        let mut query = SqlFragment::new("SELECT ", vec![]);
        for (side, order) in [("min", "ASC"), ("max", "DESC")] {
            let files = search.statement(&format!("{side}_{n} AS bound"));
            let text = format!(
                "(SELECT bound FROM ({}) AS files WHERE bound IS NOT NULL ORDER BY bound {order} LIMIT 1), ",
                files.text
            );
            query.push(SqlFragment::new(text, files.params));
        }
        let inexact = search.statement(&format!("CASE WHEN {exact} THEN 0 ELSE 1 END AS inexact"));
        let text = format!("(SELECT coalesce(sum(inexact), 0) FROM ({}) AS files)", inexact.text);
        query.push(SqlFragment::new(text, inexact.params));
        let mut row = self.db().query(&query.text, query.params).await?.pop();
        let Some(row) = row.as_mut() else { return Err(no_table(self.db(), self.table).await) };
        self.check_retained(at).await?;
        let (min, max, inexact) = (row.opt_blob()?, row.opt_blob()?, row.int()?);
        let decoded = min.zip(max).and_then(|(min, max)| kind.decode(&min).zip(kind.decode(&max)));
        Ok(decoded.filter(|_| inexact == 0))
    }

    async fn size_delta(&self, from: Version, to: Version) -> Result<SizeDelta> {
        // The files added in between, minus those removed: a file that was added and removed cancels out.
        let sum = |sign: i64, column: &str| {
            format!(
                "SELECT {sign}, count(*), {} FROM dl_add_files WHERE table_id = ? AND {column} > ? AND {column} <= ?",
                sum_of("size_bytes")
            )
        };
        let sql = format!(
            "{} UNION ALL {} UNION ALL SELECT 0, base_version, 0, 0 FROM dl_tables WHERE table_id = ?",
            sum(1, "version"),
            sum(-1, "removed_version")
        );
        let params = [self.id(), int(from), int(to)];
        let (mut files, mut bytes) = (0, 0);
        for mut row in self.db().query(&sql, [&params[..], &params, &[self.id()]].concat()).await? {
            let sign = i128::from(row.int()?);
            if sign == 0 {
                // For versions before the oldest, files that were live are no longer stored.
                if from < row.version()? {
                    return Err(self.missing_version(from).await);
                }
                continue;
            }
            files += sign * i128::from(row.int()?);
            bytes += sign * read_sum(&mut row)?;
        }
        Ok(SizeDelta { files: saturated(files), bytes: saturated(bytes) })
    }

    async fn set_hash(&self, version: Version) -> Result<SetHash> {
        let sql = "SELECT set_hash FROM dl_table_versions WHERE table_id = ? AND version = ?";
        let mut row = self.db().query(sql, vec![self.id(), int(version)]).await?.pop();
        let stored = row.as_mut().map(|row| row.blob()).transpose()?;
        let missing = || {
            let message = format!("{} has no version {version}", self.db().describe());
            TxnLogError::not_found(message).about(Subject::Version)
        };
        SetHash::from_bytes(&stored.ok_or_else(missing)?)
            .ok_or_else(|| TxnLogError::corrupt(format!("the set hash of version {version} is not 32 bytes")))
    }
}

/// The sum of a column in SQL for any values: as two sums, of its upper and of its lower half, neither of which can
/// overflow. [`read_sum`] combines them.
fn sum_of(column: &str) -> String {
    format!("CAST(coalesce(sum({column} >> 32), 0) AS bigint), CAST(coalesce(sum({column} & 4294967295), 0) AS bigint)")
}

fn read_sum(row: &mut Row) -> Result<i128> {
    Ok((i128::from(row.int()?) << 32) + i128::from(row.int()?))
}

fn saturated(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}
