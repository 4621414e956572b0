//! Finds the first commit after a request's base that conflicts with it, while the table is locked.
//!
//! Other writers wait for the lock, so as little is read as the request allows: nothing for a blind append, unless the
//! head says that protocol or metadata changed since; four small tables for a request with a txn or a domain; the
//! commits that removed files for a request that removes or reads single files. Only a request that reads by
//! predicates, or the whole table, reads all commits. The commits are read one by one, a few megabytes at a time.

use deltalakedb_log::commit::{self, ConflictChecker, WinningCommit, WinningFiles};
use deltalakedb_log::{Commit, Result, TableId, TableName, Version};

use crate::codec::{self, int};
use crate::database::{DatabaseTransaction, KEYS, Row, Value, placeholders};
use crate::plan::SqlFragment;

/// How many bytes of stored commits are read at once; a larger commit is read by itself.
const READ_BYTES: i64 = 4 << 20;

/// The first stored commit after the base that conflicts with the request of the checker.
pub(crate) async fn find(
    tx: &mut dyn DatabaseTransaction,
    (table, name): (TableId, &TableName),
    checker: &mut ConflictChecker<'_>,
    base: Version,
) -> Result<Option<WinningCommit>> {
    let table = table.0;
    let sql = match checker.files() {
        WinningFiles::None => first_of_small(table.into(), base, checker),
        files => versions(table.into(), base, files, checker),
    };
    let mut candidates = Vec::new();
    for mut row in tx.query(&sql.text, sql.params).await? {
        // MIN of no rows is null.
        if let (Some(version), bytes) = (row.opt_int()?, row.opt_int()?) {
            candidates.push((version, bytes));
        }
    }
    // A commit with several kinds of changes occurs several times.
    candidates.sort_unstable();
    candidates.dedup();
    let mut candidates = candidates.as_slice();
    while let Some(next) = next_candidates(&mut candidates) {
        let sql = format!(
            "SELECT version, body FROM dl_commit_bodies WHERE table_id = ? AND version IN ({})",
            placeholders(next.len())
        );
        let params = std::iter::once(table.into()).chain(next.iter().map(|(version, _)| (*version).into()));
        let read = |mut row: Row| Ok((row.version()?, row.blob()?));
        let mut winners = tx.query(&sql, params.collect()).await?.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        if winners.len() < next.len() {
            return Err(commit::base_not_retained(name, base));
        }
        winners.sort_unstable_by_key(|(version, _)| *version);
        for (version, body) in winners {
            if let Some(found) = checker.check(version, &parse(name, version, &body)?)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn parse(table: &TableName, version: Version, stored: &[u8]) -> Result<Commit> {
    Commit::parse(codec::decompress(stored)?, &format!("version {version} of {table}"))
}

/// The next candidates, to be read at once.
fn next_candidates<'a>(candidates: &mut &'a [(i64, Option<i64>)]) -> Option<&'a [(i64, Option<i64>)]> {
    let mut bytes = 0;
    let fits = |(_, more): &&(i64, Option<i64>)| {
        bytes += more.unwrap_or(0);
        bytes <= READ_BYTES
    };
    let n = candidates.iter().take(KEYS).take_while(fits).count().max(1).min(candidates.len());
    let (next, rest) = candidates.split_at(n);
    *candidates = rest;
    (n > 0).then_some(next)
}

/// The first version after the base that changed the protocol, the metadata, or a relevant application or domain: one
/// index lookup for each, independent of the number of versions.
fn first_of_small(table: Value, base: Version, checker: &ConflictChecker<'_>) -> SqlFragment {
    let mut all = SqlFragment::new("SELECT min(version) AS version, NULL AS bytes FROM (", vec![]);
    all.push(changed_rows("min(version) AS version", &table, base, small_tables(checker)));
    all.push(SqlFragment::new(") AS changed", vec![]));
    all
}

/// The versions after the base that may conflict, in any order, with the sizes of their stored bodies.
fn versions(table: Value, base: Version, files: WinningFiles, checker: &ConflictChecker<'_>) -> SqlFragment {
    if files != WinningFiles::Removed {
        let all = "SELECT version, body_bytes FROM dl_table_versions WHERE table_id = ? AND version > ?";
        return SqlFragment::new(all, vec![table, int(base)]);
    }
    // SQLite keeps the join order of a CROSS JOIN.
    let mut all = SqlFragment::new("SELECT v.version, v.body_bytes FROM (", vec![]);
    let removing = ChangedRows { of: "dl_table_versions", and: "files_removed > 0 AND ".into(), params: Vec::new() };
    all.push(changed_rows("version", &table, base, [vec![removing], small_tables(checker)].concat()));
    let join = ") AS changed CROSS JOIN dl_table_versions v WHERE v.table_id = ? AND v.version = changed.version";
    all.push(SqlFragment::new(join, vec![table]));
    all
}

/// A table with few rows, or few relevant rows.
#[derive(Clone)]
struct ChangedRows {
    of: &'static str,
    /// The condition for these rows, followed by `AND`.
    and: String,
    params: Vec<Value>,
}

/// A column of the rows of these tables after the base.
fn changed_rows(column: &str, table: &Value, base: Version, of: Vec<ChangedRows>) -> SqlFragment {
    let mut all = SqlFragment::default();
    for (i, ChangedRows { of, and, params }) in of.into_iter().enumerate() {
        let union = if i == 0 { "" } else { " UNION ALL " };
        let text = format!("{union}SELECT {column} FROM {of} WHERE table_id = ? AND {and}version > ?");
        all.push(SqlFragment::new(text, [vec![table.clone()], params, vec![int(base)]].concat()));
    }
    all
}

/// The tables with few rows, with the relevant keys of each.
fn small_tables(checker: &ConflictChecker<'_>) -> Vec<ChangedRows> {
    let all = |of| ChangedRows { of, and: String::new(), params: Vec::new() };
    let keyed = |of, key: &str, names: &[&str]| {
        let params: Vec<_> = names.iter().map(|name| codec::bytes(name)).collect();
        let and = format!("{key} IN ({}) AND ", placeholders(names.len()));
        (!names.is_empty()).then_some(ChangedRows { of, and, params })
    };
    let mut small = vec![all("dl_protocol_updates"), all("dl_metadata_updates")];
    small.extend(keyed("dl_txn_actions", "app_id", checker.app_ids()));
    small.extend(keyed("dl_domain_metadata", "domain", checker.domains()));
    small
}
