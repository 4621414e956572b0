//! Whether the rows of a table in the catalog are those of its commits.
//!
//! `N.json` has the bytes of a commit, which the catalog stores; checkpoints and checksums are made of rows. So a row
//! that was changed in the database by hand makes files of `_delta_log` look wrong that are right.

use std::collections::HashMap;

use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::{Commit, FileDetails, FileKey, Result, TableEntry, TxnLogReader, Version, first_commit};
use futures::TryStreamExt;

use crate::commits;

/// A difference between the live files of a version in the rows and in the commits up to it. All these commits are
/// parsed, so it is only asked when something else differs.
pub(crate) async fn wrong_row(reader: &dyn TxnLogReader, base: Version, version: Version) -> Result<Option<String>> {
    let mut files = files_of_commits(reader, base, version).await?;
    let mut rows = reader.files_by_key(version).await?;
    while let Some(row) = rows.try_next().await? {
        let Some((_, of_commit)) = files.remove(&row.key()) else {
            let path = &row.path;
            return Ok(Some(format!("the catalog has a row for the file {path}, which is not live by its commits")));
        };
        if let Some(what) = of_commit.difference(&details(&row.key(), &row), &[]) {
            let path = &row.path;
            return Ok(Some(format!("the row of the file {path} in the catalog has other {what} than its commit")));
        }
    }
    let missing = files.into_values().map(|(path, _)| path).min();
    Ok(missing.map(|path| format!("the catalog has no row for the file {path}, which is live by its commits")))
}

/// What ends such a difference.
pub(crate) fn import_again(table: &TableEntry) -> String {
    let (name, place) = (&table.name, &table.location);
    if table.owner.is_some() {
        // An import has neither the owner nor what the owner has not committed yet.
        return "restore the catalog and the data of the table's owner from backups of one time".into();
    }
    format!(
        "restore the catalog from a backup, or import the table again: `dl drop {name}`, and \
         `dl import {place} --as {name}`"
    )
}

/// The path and the details of each file. Its statistics are not kept, because a table may have very many files.
type KnownFiles = HashMap<FileKey, (String, FileDetails)>;

fn known(add: &Add) -> (FileKey, (String, FileDetails)) {
    let key = add.key();
    (key, (add.path.clone(), details(&key, add)))
}

/// The live files of a version by its commits. Those of a history that begins with a state are believed at its begin.
async fn files_of_commits(reader: &dyn TxnLogReader, base: Version, version: Version) -> Result<KnownFiles> {
    let is_whole = base == 0 && first_commit(reader, base).await? == base;
    let (mut files, mut next): (KnownFiles, Version) = if is_whole {
        (HashMap::new(), base)
    } else {
        let begin = reader.files_by_key(base).await?;
        (begin.map_ok(|add| known(&add)).try_collect().await?, base + 1)
    };
    while next <= version {
        for (newest, bytes) in commits::next_page(reader, next, version).await? {
            let actions = Commit::parse(bytes, &format!("version {newest} in the catalog"))?.into_actions();
            for action in &actions {
                if let Action::Remove(remove) = action {
                    files.remove(&remove.key());
                }
            }
            for action in actions {
                if let Action::Add(add) = action {
                    files.extend([known(&add)]);
                }
            }
            next = newest + 1;
        }
    }
    Ok(files)
}

fn details(key: &FileKey, add: &Add) -> FileDetails {
    let mut details = FileDetails::default();
    details.insert(key, add);
    details
}
