//! Which of the commits after a request's base it conflicts with, found while their table is locked.
//!
//! Others wait meanwhile, so as little is read as the request allows. Of a blind append only four small tables are asked;
//! who removes or reads single files looks at the commits that removed files; and only who reads by predicates, or the
//! whole table, looks at all. The commits themselves come one by one, a few megabytes at a time.

use deltalakedb_log::commit::{self, CommitRequest, ConflictChecker, Current, WinningCommit, WinningFiles};
use deltalakedb_log::{Commit, Result, TableName, Version};

use crate::codec::{self, int};
use crate::commit::KEYS;
use crate::database::{Row, Session, Value, placeholders};
use crate::plan::Sql;

/// How many bytes of stored commits are read at once; of one that is larger, itself.
const READ_BYTES: i64 = 4 << 20;

/// The first commit after the base that the request conflicts with. `oldest` is the oldest version held.
pub(crate) async fn find(
    session: &mut dyn Session,
    request: &CommitRequest,
    current: &Current,
    (oldest, base): (Version, Version),
) -> Result<Option<WinningCommit>> {
    if base.saturating_add(1) < oldest {
        return Err(commit::base_not_held(&current.name, base));
    }
    let mut checker =
        ConflictChecker::new(request, current.state.as_ref().map(|(_, metadata)| metadata), &current.live);
    let table = request.table.0;
    let sql = match checker.files() {
        WinningFiles::None => first_of_small(table.into(), base, &checker),
        files => versions(table.into(), base, files, &checker),
    };
    let mut candidates = Vec::new();
    for mut row in session.query(&sql.text, sql.params).await? {
        // The least of nothing is null.
        if let (Some(version), bytes) = (row.opt_int()?, row.opt_int()?) {
            candidates.push((version, bytes));
        }
    }
    let mut candidates = candidates.as_slice();
    while let Some(next) = take(&mut candidates) {
        let sql = format!(
            "SELECT version, body FROM dl_table_versions WHERE table_id = ? AND version IN ({})",
            placeholders(next.len())
        );
        let params = std::iter::once(table.into()).chain(next.iter().map(|(version, _)| (*version).into()));
        let read = |mut row: Row| Ok((row.version()?, row.opt_blob()?));
        let mut winners =
            session.query(&sql, params.collect()).await?.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        winners.sort_unstable_by_key(|(version, _)| *version);
        for (version, body) in winners {
            let winner =
                parse(&current.name, version, &body.ok_or_else(|| commit::base_not_held(&current.name, base))?)?;
            if let Some(found) = checker.check(version, &winner)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

fn parse(table: &TableName, version: Version, stored: &[u8]) -> Result<Commit> {
    Commit::parse(codec::decompress(stored)?, &format!("version {version} of {table}"))
}

/// The next candidates to be read at once.
fn take<'a>(candidates: &mut &'a [(i64, Option<i64>)]) -> Option<&'a [(i64, Option<i64>)]> {
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

/// The first version after the base that changed the protocol, the metadata, or an application or domain that matters:
/// for each an end of an index, whatever lies between.
fn first_of_small(table: Value, base: Version, checker: &ConflictChecker<'_>) -> Sql {
    let mut all = Sql::new("SELECT min(version) AS version, NULL AS bytes FROM (", vec![]);
    for (i, (of, key, names)) in small(checker).into_iter().enumerate() {
        let union = if i == 0 { "" } else { " UNION ALL " };
        let keys =
            names.as_ref().map_or(String::new(), |names| format!("AND {key} IN ({}) ", placeholders(names.len())));
        let text = format!("{union}SELECT min(version) AS version FROM {of} WHERE table_id = ? {keys}AND version > ?");
        let params = std::iter::once(table.clone()).chain(names.unwrap_or_default()).chain([int(base)]);
        all.push(Sql::new(text, params.collect()));
    }
    all.push(Sql::new(") AS changed", vec![]));
    all
}

/// The versions after the base that may conflict, with the sizes of what is stored of them.
fn versions(table: Value, base: Version, files: WinningFiles, checker: &ConflictChecker<'_>) -> Sql {
    let mut all = Sql::new(
        "SELECT v.version, octet_length(v.body) FROM dl_table_versions v WHERE v.table_id = ? AND v.version > ?",
        vec![table, int(base)],
    );
    if files == WinningFiles::Removed {
        let mut any = vec![("dl_remove_files", "", None)];
        any.extend(small(checker));
        for (i, (of, key, names)) in any.into_iter().enumerate() {
            let or = if i == 0 { " AND (" } else { " OR " };
            let keys = names.as_ref().map_or(String::new(), |n| format!(" AND x.{key} IN ({})", placeholders(n.len())));
            let text = format!(
                "{or}EXISTS (SELECT 1 FROM {of} x WHERE x.table_id = v.table_id AND x.version = v.version{keys})"
            );
            all.push(Sql::new(text, names.unwrap_or_default()));
        }
        all.push(Sql::new(")", vec![]));
    }
    all.push(Sql::new(" ORDER BY v.version", vec![]));
    all
}

/// The tables that have few rows, with the keys that matter of each; `None` where all do.
fn small(checker: &ConflictChecker<'_>) -> Vec<(&'static str, &'static str, Option<Vec<Value>>)> {
    let names = |names: &[&str]| Some(names.iter().map(|name| codec::bytes(name)).collect::<Vec<_>>());
    let all = [
        ("dl_protocol_updates", "", None),
        ("dl_metadata_updates", "", None),
        ("dl_txn_actions", "app_id", names(checker.app_ids())),
        ("dl_domain_metadata", "domain", names(checker.domains())),
    ];
    all.into_iter().filter(|(.., names)| names.as_ref().is_none_or(|names| !names.is_empty())).collect()
}
