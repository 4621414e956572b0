//! Changes of rows in files that have a deletion vector before a commit or after it.
//!
//! A commit that marks rows removes a file with its old vector and adds it with the new one: only the difference of the
//! vectors has changed. delta-rs 1.1 finds that difference in files with one row group only, and of other files with a
//! vector it reads the hidden rows instead of the visible ones (`cdf/scan_utils.rs`). So it does not get these actions.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use deltalakedb_log::action::{Action, Add, Remove};
use deltalakedb_log::schema::Schema;
use deltalakedb_log::stats::FileStats;
use deltalakedb_log::{Location, Object, PathKey, Result, Stores, TxnLogError, Version};
use roaring::RoaringTreemap;

use super::deletion_vectors::{MaskedFile, load_masks};

/// The changes of one version in files with deletion vectors, and the times of its commit in milliseconds since 1970.
#[derive(Debug, Default)]
pub(super) struct VectorChanges {
    pub(super) timestamp: Option<i64>,
    pub(super) in_commit_timestamp: Option<i64>,
    files: Vec<ChangedVector>,
}

/// A file as it was before a commit and after it; `None` where it was not in the table.
#[derive(Debug)]
struct ChangedVector {
    before: Option<Add>,
    after: Option<Add>,
}

/// Rows of a file that a version inserted or deleted.
#[derive(Clone, Debug)]
pub(crate) struct ChangedFile {
    pub(crate) change_type: &'static str,
    pub(crate) version: Version,
    /// The time of the commit, in milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// The changed rows are those that are not hidden.
    pub(crate) file: MaskedFile,
}

impl VectorChanges {
    /// Takes these changes out of a commit. A commit with change data files has none: readers use only those files.
    pub(super) fn take(actions: &mut Vec<Action>) -> Result<Self> {
        let mut taken = Self::default();
        let info = actions.iter().find_map(|action| match action {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        });
        if let Some(info) = info {
            (taken.timestamp, taken.in_commit_timestamp) = (info.timestamp(), info.in_commit_timestamp());
        }
        let has_vector = |action: &Action| match action {
            Action::Add(add) => add.data_change && add.deletion_vector.is_some(),
            Action::Remove(remove) => remove.data_change && remove.deletion_vector.is_some(),
            _ => false,
        };
        if actions.iter().any(|action| matches!(action, Action::Cdc(_))) || !actions.iter().any(has_vector) {
            return Ok(taken);
        }
        let path = |action: &Action| match action {
            Action::Add(add) if add.data_change => Some(PathKey::new(&add.path)),
            Action::Remove(remove) if remove.data_change => Some(PathKey::new(&remove.path)),
            _ => None,
        };
        let mut files: HashMap<PathKey, (Option<Remove>, Option<Arc<Add>>)> = actions
            .iter()
            .filter(|action| has_vector(action))
            .filter_map(path)
            .map(|path| (path, (None, None)))
            .collect();
        for action in mem::take(actions) {
            let of_file = path(&action).and_then(|path| files.get_mut(&path));
            match (action, of_file) {
                (Action::Remove(remove), Some((removed, _))) => *removed = Some(remove),
                (Action::Add(add), Some((_, added))) => *added = Some(add),
                (action, _) => actions.push(action),
            }
        }
        let vector = |(removed, added)| ChangedVector::of(removed, added);
        taken.files = files.into_values().map(vector).collect::<Result<_>>()?;
        Ok(taken)
    }

    /// The rows that were inserted and deleted, with the vectors of the files read.
    pub(super) async fn load(
        self,
        version: Version,
        columns: &Schema,
        table: &Location,
        stores: &Arc<dyn Stores>,
    ) -> Result<Vec<ChangedFile>> {
        let timestamp = self.in_commit_timestamp.or(self.timestamp).unwrap_or_default();
        let sides = self.files.iter().flat_map(|file| file.before.iter().chain(&file.after));
        let mut masks = load_masks(sides.cloned().collect(), table, stores).await?.into_iter();
        let mut changes = Vec::new();
        for ChangedVector { before, after } in self.files {
            let mut mask = |side: Option<Add>| side.and_then(|_| masks.next());
            let (before, after) = (mask(before), mask(after));
            let mut push = |change_type: &'static str, file: MaskedFile| {
                changes.push(ChangedFile { change_type, version, timestamp, file });
            };
            match (before, after) {
                (Some(before), Some(after)) => {
                    let all = all_rows(columns, &after.add, &before.add, version)?;
                    let only = |rows: RoaringTreemap| MaskedFile { add: after.add.clone(), hidden: &all - rows };
                    push("delete", only(&after.hidden - &before.hidden));
                    push("insert", only(&before.hidden - &after.hidden));
                }
                (Some(before), None) => push("delete", before),
                (None, Some(after)) => push("insert", after),
                (None, None) => {}
            }
        }
        Ok(changes)
    }
}

impl ChangedVector {
    fn of(removed: Option<Remove>, added: Option<Arc<Add>>) -> Result<Self> {
        let added = added.map(Arc::unwrap_or_clone);
        let Some(removed) = removed else { return Ok(Self { before: None, after: added }) };
        // What a remove does not say, the add of the same file does.
        let partition_values = removed.partition_values.or_else(|| Some(added.as_ref()?.partition_values.clone()));
        let size = removed.size.or_else(|| Some(added.as_ref()?.size));
        let (Some(partition_values), Some(size)) = (partition_values, size) else {
            return Err(TxnLogError::corrupt(format!(
                "the changes cannot be read: the remove of the file {:?} has no size or no partition values",
                removed.path
            )));
        };
        let before = Add {
            path: removed.path,
            partition_values,
            size,
            modification_time: 0,
            data_change: true,
            stats: removed.stats.or_else(|| added.as_ref()?.stats.clone()),
            tags: None,
            deletion_vector: removed.deletion_vector,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
            extra: Object::default(),
        };
        Ok(Self { before: Some(before), after: added })
    }
}

/// The positions of all rows in a file.
fn all_rows(columns: &Schema, after: &Add, before: &Add, version: Version) -> Result<RoaringTreemap> {
    let number = |add: &Add| FileStats::new(columns, add).num_records().and_then(|rows| u64::try_from(rows).ok());
    let rows = number(after).or_else(|| number(before)).ok_or_else(|| {
        TxnLogError::corrupt(format!(
            "the changes of version {version} cannot be read: the file {:?} has a deletion vector, and the log does not \
             say how many rows it has",
            after.path
        ))
    })?;
    let mut all = RoaringTreemap::new();
    all.insert_range(0..rows);
    Ok(all)
}
