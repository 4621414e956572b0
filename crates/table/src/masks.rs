//! Which rows of data files are hidden: deletion vectors as bitmaps.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use deltalakedb_log::action::{Action, Add, Remove};
use deltalakedb_log::snapshot::Head;
use deltalakedb_log::{Object, Result, TxnLogError};

use crate::delta_rs::{LogView, MaskedFile, NewFiles, StringEncoding, arrow_schema, load_masks, write_vectors};
use crate::position_scan::{NumberedFile, RowPositions, check_positions};
use crate::table::DeltaTable;
use crate::write_options::WriteOptions;

/// Deletion vectors that were written and are not committed yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WrittenMasks {
    /// The actions that replace each file by the same file with its vector. A file of which no row is visible is only
    /// removed.
    pub actions: Vec<Action>,
    /// The files of the vectors, which the caller removes if it does not commit them.
    pub files: NewFiles,
    /// A time before the files were written, in milliseconds since 1970.
    pub began_at_ms: i64,
}

impl DeltaTable {
    /// Files of the table with the rows that their deletion vectors hide; none of a file without a vector. A file of
    /// vectors is read at once, from the first to the last vector of these files.
    ///
    /// # Errors
    /// [`Corrupt`](deltalakedb_log::ErrorKind::Corrupt) for a vector whose checksum or number of rows differs from the
    /// log.
    pub async fn load_masks(&self, files: Vec<Add>) -> Result<Vec<MaskedFile>> {
        load_masks(files, &self.location, &self.stores).await
    }

    /// The visible rows of files of the table, for DataFusion. `head` is that of a version with these files, whatever
    /// rows are hidden in them.
    ///
    /// Behind the table's columns, text columns among them as view arrays, are
    /// [`FILE_COLUMN`](crate::FILE_COLUMN), the number of a row's file, and
    /// [`POSITION_COLUMN`](crate::POSITION_COLUMN), the number of the row in the file, from 0. Files in which no row can
    /// satisfy the filters of a query are not read, as their statistics in the log say.
    pub fn numbered_rows(&self, head: Head, files: Vec<NumberedFile>) -> Result<Arc<dyn TableProvider>> {
        let columns = arrow_schema(&head.metadata, StringEncoding::Utf8View)?;
        let files = files.into_iter().map(Arc::new).collect();
        let rows = RowPositions::new(self.location.clone(), self.stores.clone(), head, &columns, files)?;
        Ok(Arc::new(rows))
    }

    /// Writes deletion vectors for files of the table into new files, each with many vectors, and commits nothing. The
    /// new files are durable when this returns.
    ///
    /// `add` of each file is its current state, and `hidden` has all rows to be hidden, including those that its current
    /// vector hides; fewer rows than that vector hides are refused. The commit of the actions conflicts with every other
    /// change of these files.
    ///
    /// # Errors
    /// [`Invalid`](deltalakedb_log::ErrorKind::Invalid) for rows that cannot be hidden, and
    /// [`Corrupt`](deltalakedb_log::ErrorKind::Corrupt) for a file whose footer does not agree with the log about its
    /// rows. Footers that were read lately are in memory.
    pub async fn write_masks(&self, files: Vec<MaskedFile>, options: &WriteOptions) -> Result<WrittenMasks> {
        self.check_owner(options)?;
        let began_at_ms = options.clock.now_ms();
        let state = LogView::nothing_yet(&self.location, &self.stores).writing(options);
        let removed = |add: &Add| Action::Remove(Remove::of(add, began_at_ms, true));
        let mut actions: Vec<_> = files.iter().map(|file| removed(&file.add)).collect();
        let (mut masked, mut checked) = (Vec::with_capacity(files.len()), Vec::with_capacity(files.len()));
        for file in files {
            let rows = self.rows_in(&file)?;
            checked.push((file.add.clone(), Some(rows)));
            if file.hidden.len() < rows {
                masked.push(file);
            }
        }
        check_positions(&self.location, &self.stores, checked).await?;
        let mut written = NewFiles::none(&state)?;
        if !masked.is_empty() {
            let vectors = write_vectors(&state, masked).await?;
            written.extend(&vectors.files);
            actions.extend(vectors.adds.into_iter().map(Action::add));
        }
        Ok(WrittenMasks { actions, files: written, began_at_ms })
    }

    /// The number of rows in a file, if the rows to be hidden are among them, and are not fewer than are hidden already.
    fn rows_in(&self, MaskedFile { add, hidden }: &MaskedFile) -> Result<u64> {
        let refuse = |what: &str| Err(TxnLogError::invalid(format!("the file {:?} of {self} {what}", add.path)));
        let stats = add.stats.as_deref().and_then(|stats| serde_json::from_str::<Object>(stats).ok());
        let Some(rows) = stats.and_then(|stats| stats.get::<u64>("numRecords")) else {
            return refuse("has no number of rows in its statistics, which a deletion vector needs: rewrite the file");
        };
        let already = add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality.unsigned_abs());
        match hidden.max() {
            None => refuse("has no row to be hidden: omit it"),
            Some(_) if hidden.len() < already => refuse(&format!(
                "has {already} hidden rows, of which some would be visible again: add those to the rows to be hidden"
            )),
            Some(last) if last >= rows => {
                refuse(&format!("has {rows} rows, and a deletion vector would hide the row at position {last}"))
            }
            Some(_) => Ok(rows),
        }
    }
}
