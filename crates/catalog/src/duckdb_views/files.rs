//! The files of views: changes are staged in temporary tables, and then each file gets its place in a chunk.

use std::collections::{BTreeMap, BTreeSet};

use deltalakedb_log::{FileKey, Result, TableName, TxnLogError};
use duckdb::params;

use super::column::{Column, InstantEncoding, literal};
use super::statements::{self, CHUNK_FILES, ChunkKind, SCHEMA};
use super::{DuckDbViews, ViewedFile};

impl DuckDbViews {
    /// Begins the changes of a table's files.
    pub fn begin_changes(&self) -> Result<()> {
        self.run(
            "CREATE OR REPLACE TEMP TABLE removed_keys (key VARCHAR);
             CREATE OR REPLACE TEMP TABLE added_files (key VARCHAR, path VARCHAR, size BIGINT, modified_at BIGINT, records BIGINT,
                 hidden_rows BIGINT, partition_values VARCHAR, statistics VARCHAR);
             CREATE OR REPLACE TEMP TABLE added_rows (path VARCHAR, position BIGINT);",
        )
    }

    /// Files that the table has no longer, or that it may have already, by their keys.
    pub fn remove_files(&self, keys: &[FileKey]) -> Result<()> {
        let mut rows = self.connection.appender("removed_keys").map_err(|e| self.failed(e))?;
        keys.iter().try_for_each(|key| rows.append_row(params![format!("{key:?}")])).map_err(|e| self.failed(e))?;
        rows.flush().map_err(|e| self.failed(e))
    }

    /// Files that the table has now.
    pub fn add_files(&self, files: &[ViewedFile]) -> Result<()> {
        let mut rows = self.connection.appender("added_files").map_err(|e| self.failed(e))?;
        for file in files {
            let row = params![
                format!("{:?}", file.key),
                file.path,
                file.size,
                file.modified_at_ms,
                file.records,
                file.hidden.len() as u64,
                file.partition_values,
                file.statistics,
            ];
            rows.append_row(row).map_err(|e| self.failed(e))?;
        }
        rows.flush().map_err(|e| self.failed(e))?;
        let mut rows = self.connection.appender("added_rows").map_err(|e| self.failed(e))?;
        for file in files {
            for position in &file.hidden {
                rows.append_row(params![file.path, position]).map_err(|e| self.failed(e))?;
            }
        }
        rows.flush().map_err(|e| self.failed(e))
    }

    /// Deletes the removed files; the result are their chunks.
    pub(super) fn remove_staged(&self, id: &str) -> Result<BTreeSet<i64>> {
        let staged: u64 =
            self.query("SELECT count(*) FROM removed_keys", |row| row.get::<_, u64>(0))?.into_iter().sum();
        if staged == 0 {
            return Ok(BTreeSet::new());
        }
        let removed = "table_id = ? AND key IN (SELECT key FROM removed_keys)";
        let rows = format!(
            "DELETE FROM {SCHEMA}.hidden_rows WHERE table_id = ? AND path IN (SELECT path FROM {SCHEMA}.files WHERE \
             {removed} AND hidden_rows > 0)"
        );
        self.execute(&rows, params![id, id])?;
        let chunks = format!("DELETE FROM {SCHEMA}.files WHERE {removed} RETURNING chunk");
        Ok(self.query_with(&chunks, params![id], |row| row.get(0))?.into_iter().collect())
    }

    /// Inserts the added files, each into a chunk of its kind that is not full; the result are these chunks.
    pub(super) fn insert_staged(&self, id: &str, in_utc: &BTreeSet<String>) -> Result<BTreeSet<i64>> {
        let added = self.query("SELECT path, hidden_rows FROM added_files ORDER BY path", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?))
        })?;
        if added.is_empty() {
            return Ok(BTreeSet::new());
        }
        let full = self.query_with(
            &format!("SELECT kind, chunk, count(*) FROM {SCHEMA}.files WHERE table_id = ? GROUP BY ALL ORDER BY chunk"),
            params![id],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, usize>(2)?)),
        )?;
        let mut next_chunk = full.iter().map(|(_, chunk, _)| chunk + 1).max().unwrap_or(0);
        let mut room: BTreeMap<i64, Vec<(i64, usize)>> = BTreeMap::new();
        for (kind, chunk, files) in full.into_iter().filter(|(_, _, files)| *files < CHUNK_FILES) {
            room.entry(kind).or_default().push((chunk, CHUNK_FILES - files));
        }
        self.run("CREATE OR REPLACE TEMP TABLE places (path VARCHAR, kind BIGINT, chunk BIGINT)")?;
        let mut places = self.connection.appender("places").map_err(|e| self.failed(e))?;
        let mut changed = BTreeSet::new();
        for (path, hidden) in &added {
            let instants = if in_utc.contains(path) { InstantEncoding::Utc } else { InstantEncoding::Instant };
            let kind = ChunkKind { has_hidden_rows: *hidden > 0, instants }.to_number();
            let room = room.entry(kind).or_default();
            if room.is_empty() {
                room.push((next_chunk, CHUNK_FILES));
                next_chunk += 1;
            }
            let Some((chunk, left)) = room.last_mut() else { continue };
            places.append_row(params![path, kind, *chunk]).map_err(|e| self.failed(e))?;
            changed.insert(*chunk);
            *left -= 1;
            if *left == 0 {
                room.pop();
            }
        }
        places.flush().map_err(|e| self.failed(e))?;
        drop(places);
        self.execute(
            &format!(
                "INSERT INTO {SCHEMA}.files
                 SELECT ?, key, path, size, make_timestamp(modified_at * 1000), records, hidden_rows,
                     CAST(CAST(partition_values AS JSON) AS MAP(VARCHAR, VARCHAR)), statistics, kind, chunk
                 FROM added_files JOIN places USING (path)"
            ),
            params![id],
        )?;
        self.execute(
            &format!("INSERT INTO {SCHEMA}.hidden_rows SELECT ?, path, position FROM added_rows"),
            params![id],
        )?;
        Ok(changed)
    }

    /// A file may be in a table twice, with two deletion vectors. A view would hide the rows of both.
    pub(super) fn check_one_vector_each(&self, table: &TableName, id: &str, is_whole: bool) -> Result<()> {
        let twice = format!(
            "SELECT path FROM (
                 SELECT path FROM added_files
                 UNION ALL
                 SELECT path FROM {SCHEMA}.files WHERE table_id = ? AND NOT ? AND path IN (SELECT path FROM added_files)
                     AND key NOT IN (SELECT key FROM removed_keys))
             GROUP BY path HAVING count(*) > 1 LIMIT 1"
        );
        match self.query_with(&twice, params![id, is_whole], |row| row.get::<_, String>(0))?.first() {
            Some(path) => Err(TxnLogError::invalid(format!(
                "{table} has the data file {path} twice, such as with two deletion vectors, which a view cannot have: rewrite \
                 the file"
            ))),
            None => Ok(()),
        }
    }

    /// Which of the added files store instants as times without a zone, as their footers say.
    pub(super) fn files_in_utc(&self, table: &TableName, columns: &[Column]) -> Result<BTreeSet<String>> {
        let instants = columns.iter().filter(|column| !column.is_partition).flat_map(Column::instants);
        let mut names: BTreeSet<String> = instants.filter_map(|mut path| path.pop()).collect();
        let mut found = BTreeSet::new();
        if names.is_empty() {
            return Ok(found);
        }
        if names.contains("element") {
            // Names of older writers.
            names.extend(["array", "array_element", "item"].map(String::from));
        }
        let names: Vec<_> = names.iter().map(|name| literal(name)).collect();
        let paths = self.query("SELECT path FROM added_files ORDER BY path", |row| row.get::<_, String>(0))?;
        for some in paths.chunks(CHUNK_FILES) {
            let sql = format!(
                "SELECT file_name, bool_or(no_zone), bool_and(no_zone) FROM (
                     SELECT file_name, type = 'INT96' OR contains(logical_type, 'isAdjustedToUTC=0') AS no_zone
                     FROM parquet_schema({}) WHERE name IN ({}) AND
                     (type = 'INT96' OR contains(logical_type, 'TimestampType') OR starts_with(converted_type, 'TIMESTAMP')))
                 GROUP BY file_name",
                statements::path_list(some),
                names.join(", ")
            );
            let files = self.query(&sql, |row| {
                let flag = |n| row.get::<_, Option<bool>>(n).map(|flag| flag.unwrap_or(false));
                Ok((row.get::<_, String>(0)?, flag(1)?, flag(2)?))
            })?;
            for (path, some, all) in files {
                if some != all {
                    return Err(TxnLogError::invalid(format!(
                        "the data file {path} of {table} has times with and without a zone in columns of the type \
                         timestamp, which a view cannot tell apart: rewrite the file"
                    )));
                }
                found.extend(all.then_some(path));
            }
        }
        Ok(found)
    }
}
