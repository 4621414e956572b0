//! Reads and writes deletion vectors with the kernel (PROTOCOL.md, "Deletion Vectors").

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use delta_kernel::actions::deletion_vector_writer::{DeletionVector as KernelVector, StreamingDeletionVectorWriter};
use delta_kernel::{DeltaResult, Error, FileMeta, FileSlice, StorageHandler};
use deltalakedb_log::action::{Add, DeletionVector};
use deltalakedb_log::{Location, Object, Result, Stores, TxnLogError};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use roaring::RoaringTreemap;
use url::Url;

use super::{alias, stores};
use crate::error::Explain;
use crate::write_options::WriteOptions;

/// The property of tables in which rows may be hidden by deletion vectors.
pub(crate) const ENABLE_VECTORS: &str = "delta.enableDeletionVectors";

/// How many files of deletion vectors are read at the same time.
const CONCURRENT_READS: usize = 16;

/// The shortest inline vector, in characters of base 85: the bitmap's magic number.
const SHORTEST_INLINE: usize = 5;

/// A data file and the positions of its hidden rows, counted from 0.
#[derive(Clone, Debug)]
pub struct MaskedFile {
    /// The file as in the log.
    pub add: Add,
    /// The positions.
    pub hidden: RoaringTreemap,
}

/// Files with the rows that their deletion vectors hide. Each file of vectors is read once, however many vectors are in
/// it.
///
/// A vector whose checksum or number of rows is not what the log says is an error.
pub(crate) async fn load_masks(files: Vec<Add>, table: &Location, stores: &Arc<dyn Stores>) -> Result<Vec<MaskedFile>> {
    let vectors = files.iter().map(|add| add.deletion_vector.as_ref());
    let vectors: Vec<_> = vectors.map(|v| v.map(|v| descriptor(v, table)).transpose()).collect::<Result<_>>()?;
    let mut urls = BTreeSet::new();
    for vector in vectors.iter().flatten() {
        urls.extend(vector.absolute_path(table.url()).explain(|| unreadable(table))?);
    }
    let store = stores::table_store(stores, table)?;
    let bytes: HashMap<_, _> = stream::iter(urls)
        .map(async |url| {
            let failed = || format!("the deletion vectors in {url} cannot be read");
            let read = store.get(&alias::path_in_store(&url, table)).await.explain(failed)?;
            let bytes = read.bytes().await.explain(failed)?;
            Ok::<_, TxnLogError>((url, bytes))
        })
        .buffer_unordered(CONCURRENT_READS)
        .try_collect()
        .await?;
    let loaded: Arc<dyn StorageHandler> = Arc::new(LoadedFiles(bytes));
    let mask = |(add, vector): (Add, Option<DeletionVectorDescriptor>)| {
        let Some(vector) = vector else { return Ok(MaskedFile { add, hidden: RoaringTreemap::new() }) };
        let failed = || format!("the deletion vector of the file {:?} cannot be read", add.path);
        let hidden = vector.read(loaded.clone(), table.url()).explain(failed)?;
        if i64::try_from(hidden.len()) != Ok(vector.cardinality) {
            let (found, said) = (hidden.len(), vector.cardinality);
            return Err(TxnLogError::corrupt(format!(
                "{}: it hides {found} rows, not {said} as the log says",
                failed()
            )));
        }
        Ok(MaskedFile { add, hidden })
    };
    files.into_iter().zip(vectors).map(mask).collect()
}

/// Deletion vectors in a file of a table that no commit names yet.
pub(crate) struct WrittenVectors {
    /// The path of the file below the table.
    pub(crate) path: Path,
    /// The data files with their vectors, in the order in which they were given.
    pub(crate) adds: Vec<Add>,
}

/// Writes the deletion vectors of data files into one new file of their table.
#[tracing::instrument(name = "put_deletion_vectors", target = "deltalakedb::store", level = "debug", skip_all, fields(%table))]
pub(crate) async fn write_vectors(
    table: &Location,
    options: &WriteOptions,
    files: Vec<MaskedFile>,
) -> Result<WrittenVectors> {
    let failed = || format!("the deletion vectors of the table at {table} cannot be written");
    let uuid = options.clock.new_uuid();
    let (mut bytes, mut adds) = (Vec::new(), Vec::new());
    let mut writer = StreamingDeletionVectorWriter::new(&mut bytes);
    for MaskedFile { add, hidden } in files {
        let written = writer.write_deletion_vector(RunLengthVector(hidden)).explain(failed)?;
        let vector = DeletionVector {
            storage_type: "u".into(),
            path_or_inline_dv: z85::encode(uuid.as_bytes()),
            offset: Some(written.offset.into()),
            size_in_bytes: written.size_in_bytes.into(),
            cardinality: written.cardinality,
            extra: Object::default(),
        };
        let stats = add.stats.as_deref().map(without_tight_bounds);
        adds.push(Add { deletion_vector: Some(vector), stats, data_change: true, ..add });
    }
    writer.finalize().explain(failed)?;
    let path = Path::from(format!("deletion_vector_{uuid}.bin"));
    let store = options.stores.open(table, options.durability)?;
    store.put(&path, bytes.into()).await.explain(failed)?;
    Ok(WrittenVectors { path, adds })
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

fn descriptor(of: &DeletionVector, table: &Location) -> Result<DeletionVectorDescriptor> {
    let kind: DeletionVectorStorageType = of.storage_type.parse().explain(|| unreadable(table))?;
    let narrow = |v: i64| i32::try_from(v).map_err(|e| TxnLogError::corrupt(unreadable(table)).with_source(e));
    let offset = of.offset.map(narrow).transpose()?;
    let (path, size) = (of.path_or_inline_dv.as_str(), narrow(of.size_in_bytes)?);
    // The kernel indexes into the decoded bytes of an inline vector.
    if kind == DeletionVectorStorageType::Inline && path.len() < SHORTEST_INLINE {
        return Err(TxnLogError::corrupt(unreadable(table)));
    }
    DeletionVectorDescriptor::try_new(kind, path, offset, size, of.cardinality).explain(|| unreadable(table))
}

fn unreadable(table: &Location) -> String {
    format!("a deletion vector of the table at {table} is invalid")
}

/// Files that were read before, as the kernel's reader of vectors asks for them.
struct LoadedFiles(HashMap<Url, Bytes>);

impl StorageHandler for LoadedFiles {
    fn read_files(&self, files: Vec<FileSlice>) -> DeltaResult<Box<dyn Iterator<Item = DeltaResult<Bytes>>>> {
        let read = |(url, _): &FileSlice| self.0.get(url).cloned().ok_or_else(|| Error::file_not_found(url));
        Ok(Box::new(files.iter().map(read).collect::<Vec<_>>().into_iter()))
    }

    fn list_from(&self, path: &Url) -> DeltaResult<Box<dyn Iterator<Item = DeltaResult<FileMeta>>>> {
        Err(Error::unsupported(format!("listing {path}")))
    }

    fn copy_atomic(&self, _: &Url, to: &Url) -> DeltaResult<()> {
        Err(Error::unsupported(format!("writing {to}")))
    }

    fn put(&self, path: &Url, _: Bytes, _: bool) -> DeltaResult<()> {
        Err(Error::unsupported(format!("writing {path}")))
    }

    fn head(&self, path: &Url) -> DeltaResult<FileMeta> {
        Err(Error::unsupported(format!("looking up {path}")))
    }

    fn delete(&self, path: &Url) -> DeltaResult<()> {
        Err(Error::unsupported(format!("deleting {path}")))
    }
}
