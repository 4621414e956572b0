//! Reads deletion vectors with the kernel (PROTOCOL.md, "Deletion Vectors").

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use delta_kernel::{DeltaResult, Error, FileMeta, FileSlice, StorageHandler};
use deltalakedb_log::action::{Add, DeletionVector};
use deltalakedb_log::{ErrorKind, Location, Result, Stores, TxnLogError};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, Result as StoreResult};
use roaring::RoaringTreemap;
use url::Url;

use super::{alias, stores};
use crate::error::{Explain, caused};

/// The property of tables in which rows may be hidden by deletion vectors.
pub(crate) const ENABLE_VECTORS: &str = "delta.enableDeletionVectors";

/// How many files of deletion vectors are read at the same time.
const CONCURRENT_READS: usize = 16;

/// The version of the format of a file of vectors, its first byte.
const FORMAT_VERSION: u8 = 1;

/// Where a file has its first vector.
const FIRST_OFFSET: i32 = 1;

/// The sizes of what precedes and follows a vector in its file: its size and its checksum.
const FRAME: u64 = 4 + 4;

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

/// Files with the rows that their deletion vectors hide. Of each file of vectors, the part from the first to the last of
/// these is read at once.
///
/// A vector whose checksum or number of rows is not what the log says is an error.
pub(crate) async fn load_masks(files: Vec<Add>, table: &Location, stores: &Arc<dyn Stores>) -> Result<Vec<MaskedFile>> {
    let mut spans: BTreeMap<Url, Range<u64>> = BTreeMap::new();
    let mut vectors = Vec::with_capacity(files.len());
    for add in &files {
        let Some(vector) = &add.deletion_vector else {
            vectors.push(None);
            continue;
        };
        let vector = StoredVector::of(vector, table)?;
        if let Some(url) = &vector.url {
            let span = spans.entry(url.clone()).or_insert_with(|| vector.range.clone());
            *span = span.start.min(vector.range.start)..span.end.max(vector.range.end);
        }
        vectors.push(Some(vector));
    }
    let store = stores::table_store(stores, table)?;
    let parts: HashMap<_, _> = stream::iter(spans)
        .map(async |(url, span): (Url, Range<u64>)| {
            let part = FilePart::read(&store, &alias::path_in_store(&url, table), span).await;
            let part = part.explain(|| format!("the deletion vectors in {url} cannot be read"))?;
            Ok::<_, TxnLogError>((url, part))
        })
        .buffer_unordered(CONCURRENT_READS)
        .try_collect()
        .await?;
    let mask = |(add, vector): (Add, Option<StoredVector>)| {
        let Some(vector) = vector else { return Ok(MaskedFile { add, hidden: RoaringTreemap::new() }) };
        let failed = || format!("the deletion vector of the file {:?} cannot be read", add.path);
        let damaged = |what: &str| TxnLogError::corrupt(format!("{}: {what}", failed()));
        let file = vector.file(&parts).ok_or_else(|| damaged("its file ends before it does"))?;
        let read = vector.descriptor.read(Arc::new(OneFile(file)), table.url());
        let hidden = read.map_err(|e| caused(ErrorKind::Corrupt, failed(), e))?;
        let (found, said) = (hidden.len(), vector.descriptor.cardinality);
        if i64::try_from(found) != Ok(said) {
            return Err(damaged(&format!("it hides {found} rows, not {said} as the log says")));
        }
        Ok(MaskedFile { add, hidden })
    };
    files.into_iter().zip(vectors).map(mask).collect()
}

/// A deletion vector as the log describes it.
struct StoredVector {
    /// As in a file that has only this vector.
    descriptor: DeletionVectorDescriptor,
    /// The file that has it; `None` if the log has it.
    url: Option<Url>,
    /// Its bytes in that file, with its size and its checksum. Those of the first vector include the file's version.
    range: Range<u64>,
}

impl StoredVector {
    fn of(vector: &DeletionVector, table: &Location) -> Result<Self> {
        let mut descriptor = descriptor(vector, table)?;
        let url = descriptor.absolute_path(table.url()).explain(|| unreadable(table))?;
        let start = descriptor.offset.unwrap_or(FIRST_OFFSET);
        // The kernel has checked that neither is negative.
        let end = u64::from(start.unsigned_abs()) + u64::from(descriptor.size_in_bytes.unsigned_abs()) + FRAME;
        let start = if start == FIRST_OFFSET { 0 } else { u64::from(start.unsigned_abs()) };
        descriptor.offset = url.is_some().then_some(FIRST_OFFSET);
        Ok(Self { descriptor, url, range: start..end })
    }

    /// A file that has only this vector; an empty one if the log has it, and `None` if its file ends before it does.
    fn file(&self, parts: &HashMap<Url, FilePart>) -> Option<Bytes> {
        let Some(part) = self.url.as_ref().and_then(|url| parts.get(url)) else { return Some(Bytes::new()) };
        let vector = part.get(&self.range)?;
        Some(if self.range.start == 0 { vector } else { [&[FORMAT_VERSION][..], &vector[..]].concat().into() })
    }
}

/// A part of a file of vectors.
struct FilePart {
    start: u64,
    bytes: Bytes,
}

impl FilePart {
    /// Reads a range of bytes, or as many of them as the file has.
    async fn read(store: &Arc<dyn ObjectStore>, path: &Path, span: Range<u64>) -> StoreResult<Self> {
        let start = span.start;
        match store.get_range(path, span).await {
            Ok(bytes) => Ok(Self { start, bytes }),
            // That a range begins behind the end of a file is an error without a type of its own.
            Err(e) => match store.head(path).await {
                Ok(file) if file.size <= start => Ok(Self { start, bytes: Bytes::new() }),
                _ => Err(e),
            },
        }
    }

    /// These bytes of the file; `None` if it does not have all of them.
    fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let at = |position: u64| usize::try_from(position.checked_sub(self.start)?).ok();
        let (start, end) = (at(range.start)?, at(range.end)?);
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
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

/// The bytes of the only file that the kernel's reader of a vector asks for.
struct OneFile(Bytes);

impl StorageHandler for OneFile {
    fn read_files(&self, _: Vec<FileSlice>) -> DeltaResult<Box<dyn Iterator<Item = DeltaResult<Bytes>>>> {
        Ok(Box::new(iter::once(Ok(self.0.clone()))))
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
