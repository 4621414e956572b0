//! Tables that have files in the folders of other tables, as shallow clones do.
//!
//! A table names such a file by an absolute path. A catalog stores the folders, not the tables in them: a table may be
//! created at a place after files in it were named, and be dropped and created again.

use std::collections::{BTreeSet, HashSet};
use std::fmt;

use async_trait::async_trait;

use crate::action::{Add, Version};
use crate::error::{Result, TxnLogError};
use crate::ids::{TableId, TableName};
use crate::lifecycle::{InactiveTable, TableState};
use crate::location::Location;
use crate::location_key::LocationKey;
use crate::path::absolute_path;

/// The references between tables that a catalog stores.
///
/// # Contract
/// - A folder is stored in the same transaction as the commit or the load that adds the first file in it.
/// - *Exclusive*: a commit that names a file in a table's folder for the first time, and a drop of that table with its
///   files, are serialized, and the later one is rejected.
#[async_trait]
pub trait TableReferences: Send + Sync + fmt::Debug {
    /// The tables, in any state, that may need files of another table below a place: live ones, those that are being
    /// loaded, and those that can be undropped. Ordered by name.
    async fn referring_tables(&self, place: &Location) -> Result<Vec<InactiveTable>>;

    /// The live tables at whose places, or inside them, a table may have files: sources of a shallow clone. By name.
    async fn source_tables(&self, table: TableId) -> Result<Vec<InactiveTable>>;

    /// The folders outside its own in which a table has files, in order.
    async fn named_folders(&self, table: TableId) -> Result<Vec<LocationKey>>;

    /// Removes some of the folders, in which no retained version has files, if the table is still at this version;
    /// otherwise removes nothing.
    async fn forget_folders(&self, table: TableId, at_version: Version, folders: &[LocationKey]) -> Result<()>;
}

/// The folders of the files with absolute paths; local folders as spelled and with links followed. A path that no store
/// serves has none.
pub fn folders<'a>(adds: impl IntoIterator<Item = &'a Add>) -> BTreeSet<LocationKey> {
    let mut urls = HashSet::new();
    for add in adds {
        let vector = add.deletion_vector.as_ref().filter(|vector| vector.storage_type == "p");
        let paths = [Some(add.path.as_str()), vector.map(|vector| vector.path_or_inline_dv.as_str())];
        for url in paths.into_iter().flatten().filter_map(absolute_path) {
            if let Some((folder, _)) = url.rsplit_once('/') {
                urls.insert(folder.to_string());
            }
        }
    }
    // A text with a slash at the end names a folder.
    urls.iter().flat_map(|folder| LocationKey::all_of_url(&format!("{folder}/"))).collect()
}

/// Rejects dropping a table with its files while other tables need some of them.
pub fn check_not_referred_to(name: &TableName, by: &[InactiveTable]) -> Result<()> {
    const NAMED: usize = 5;
    if by.is_empty() {
        return Ok(());
    }
    let mut names: Vec<_> = by.iter().take(NAMED).map(|table| table.name.to_string()).collect();
    if by.len() > NAMED {
        names.push(format!("{} more", by.len() - NAMED));
    }
    let last = names.pop().unwrap_or_default();
    let names = if names.is_empty() { last } else { format!("{} and {last}", names.join(", ")) };
    Err(TxnLogError::invalid(format!(
        "files of {name} belong to {names}, too: drop these first, or drop {name} without its files"
    )))
}

/// Rejects files of a table whose files are being deleted.
pub fn check_source(name: &TableName, source: &InactiveTable) -> Result<()> {
    let (place, was) = (&source.location, &source.name);
    match source.state {
        TableState::Deleting => Err(TxnLogError::not_found(format!(
            "{name} cannot have files of {was} at {place}, which was dropped with its files: they are being deleted"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::actions::{file, with_dv};

    #[test]
    fn referenced_folders_are_those_of_absolute_paths() {
        let mut far = with_dv(file("part-1.parquet", 0, 9), "s3://lake/vectors/x.bin");
        if let Some(vector) = &mut far.deletion_vector {
            vector.storage_type = "p".into();
        }
        let files = [
            file("part-0.parquet", 0, 9),
            file("at=12:00/part%20.parquet", 0, 9),
            file("/nowhere/source/day=a%20b/part-0.parquet", 0, 9),
            file("file:///nowhere/source/day=a%20b/part-1.parquet", 0, 9),
            file("file:/nowhere/source/part-1.parquet", 0, 9),
            file("s3a://lake/source/part-1.parquet", 0, 9),
            file("s3n://lake/source/part-2.parquet", 0, 9),
            file("wasbs://lake@account.blob.core.windows.net/source/part-1.parquet", 0, 9),
            file("nosuch:x", 0, 9),
            far,
        ];
        let found: Vec<_> = folders(&files).iter().map(|folder| folder.as_str().to_string()).collect();
        let want = [
            "az://lake/source/",
            "file:///nowhere/source/",
            "file:///nowhere/source/day=a%20b/",
            "s3://lake/source/",
            "s3://lake/vectors/",
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn tables_that_need_the_files_are_named() {
        let name: TableName = "sales.orders".parse().unwrap();
        let said = |n: usize| {
            let table = |n: usize| InactiveTable {
                id: TableId(uuid::Uuid::nil()),
                name: format!("c{n}").parse().unwrap(),
                location: Location::parse("/nowhere").unwrap(),
                owner: None,
                state: TableState::Live,
                dropped_at: None,
                retained_until: None,
                base_version: Some(0),
                current_version: Some(0),
            };
            let by: Vec<_> = (1..=n).map(table).collect();
            check_not_referred_to(&name, &by).unwrap_err().to_string()
        };
        assert!(check_not_referred_to(&name, &[]).is_ok());
        for (n, says) in [
            (1, "belong to default.c1, too"),
            (2, "belong to default.c1 and default.c2, too"),
            (7, "default.c4, default.c5 and 2 more, too"),
        ] {
            assert!(said(n).contains(says), "{}", said(n));
        }
    }
}
