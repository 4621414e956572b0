//! Writes deletion vectors to new files with the kernel.

use std::iter::Peekable;
use std::vec::IntoIter;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector_writer::{DeletionVector as KernelVector, StreamingDeletionVectorWriter};
use delta_kernel::{DeltaResult, Error};
use deltalakedb_log::action::{Add, DeletionVector};
use deltalakedb_log::{Object, Result};
use futures::future::join_all;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use roaring::RoaringTreemap;
use uuid::Uuid;

use super::capture::NewFiles;
use super::deletion_vectors::MaskedFile;
use super::log_view::LogView;
use crate::error::Explain;

/// The size in bytes from which on a file takes no further vector. Who reads some vectors of a file also reads what is
/// between them, and a file has to be in memory while it is written.
const TARGET_FILE_SIZE: i64 = 2 << 20;

/// How many files of vectors are written at the same time.
const CONCURRENT_WRITES: usize = 8;

/// Deletion vectors in files of a table that no commit names yet.
pub(crate) struct WrittenVectors {
    /// The files of the vectors.
    pub(crate) files: NewFiles,
    /// The data files with their vectors, in the order in which they were given.
    pub(crate) adds: Vec<Add>,
}

/// Writes the deletion vectors of data files into new files of their table. On failure these are removed.
#[tracing::instrument(name = "put_deletion_vectors", target = "deltalakedb::store", level = "debug", skip_all, fields(table = %state.location))]
pub(crate) async fn write_vectors(state: &LogView, files: Vec<MaskedFile>) -> Result<WrittenVectors> {
    let mut written = WrittenVectors { files: NewFiles::none(state)?, adds: Vec::with_capacity(files.len()) };
    match written.write(state, files).await {
        Ok(()) => Ok(written),
        Err(e) => {
            written.files.remove().await;
            Err(e)
        }
    }
}

impl WrittenVectors {
    async fn write(&mut self, state: &LogView, files: Vec<MaskedFile>) -> Result<()> {
        let failed = || format!("the deletion vectors of the table at {} cannot be written", state.location);
        let store = &state.options.stores.open(&state.location, state.options.durability)?;
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let mut puts = Vec::with_capacity(CONCURRENT_WRITES);
            while puts.len() < CONCURRENT_WRITES && files.peek().is_some() {
                let uuid = state.options.clock.new_uuid();
                let bytes = self.next_file(&uuid, &mut files).explain(failed)?;
                let path = Path::from(format!("deletion_vector_{uuid}.bin"));
                // Also a put that failed may have written it.
                self.files.push(path.clone());
                puts.push(async move { store.put(&path, bytes.into()).await });
            }
            for put in join_all(puts).await {
                put.explain(failed)?;
            }
        }
        Ok(())
    }

    /// The content of a file with the next vectors, whose data files are added to the written ones.
    fn next_file(&mut self, uuid: &Uuid, files: &mut Peekable<IntoIter<MaskedFile>>) -> DeltaResult<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut writer = StreamingDeletionVectorWriter::new(&mut bytes);
        for MaskedFile { add, hidden } in files.by_ref() {
            let written = writer.write_deletion_vector(RunLengthVector(hidden))?;
            let vector = DeletionVector {
                storage_type: "u".into(),
                path_or_inline_dv: z85::encode(uuid.as_bytes()),
                offset: Some(written.offset.into()),
                size_in_bytes: written.size_in_bytes.into(),
                cardinality: written.cardinality,
                extra: Object::default(),
            };
            let stats = add.stats.as_deref().map(without_tight_bounds);
            self.adds.push(Add { deletion_vector: Some(vector), stats, data_change: true, ..add });
            if i64::from(written.offset) + i64::from(written.size_in_bytes) >= TARGET_FILE_SIZE {
                break;
            }
        }
        writer.finalize()?;
        Ok(bytes)
    }
}

/// Statistics of a file whose rows with the least and the greatest values may be hidden.
fn without_tight_bounds(stats: &str) -> String {
    serde_json::from_str::<Object>(stats).map_or_else(
        |_| stats.to_string(),
        |mut stats| {
            stats.set("tightBounds", false);
            stats.to_json()
        },
    )
}

/// A vector whose runs of hidden rows are written as runs.
struct RunLengthVector(RoaringTreemap);

impl KernelVector for RunLengthVector {
    type IndexIterator = <RoaringTreemap as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IndexIterator {
        self.0.into_iter()
    }

    fn cardinality(&self) -> u64 {
        self.0.len()
    }

    fn serialize(mut self) -> DeltaResult<Bytes> {
        self.0.optimize();
        let mut bytes = Vec::with_capacity(self.0.serialized_size());
        self.0.serialize_into(&mut bytes).map_err(Error::generic_err)?;
        Ok(bytes.into())
    }
}
