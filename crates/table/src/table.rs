//! A Delta table, wherever its log is.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalakedb_catalog::{CatalogUri, catalog_in_environment, connect};
use deltalakedb_log::action::Add;
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::snapshot::{At, Head};
use deltalakedb_log::stores::{Stores, environment};
use deltalakedb_log::{
    Catalog, Counts, Durability, FileTxnLogReader, Location, Predicate, Result, TableEntry, TableId, TableName,
    TableOwner, TableRef, TxnLogError, TxnLogReader, TxnLogReaderExt, check_owner, require,
};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use crate::delta_rs::{LogView, StringEncoding, VirtualTable, arrow_schema, data_file_path, generated};
use crate::error::Explain;
use crate::write_options::WriteOptions;

/// The folder of symlink manifests, and the file name of a manifest.
pub(crate) const MANIFESTS: &str = "_symlink_format_manifest";
pub(crate) const MANIFEST: &str = "manifest";

/// A Delta table: rows in Parquet files at a location, and a log that lists its files.
///
/// A table has no state of its own. Every call reads one version of the log, by default the newest, and no other.
#[derive(Clone)]
pub struct DeltaTable {
    pub(crate) location: Location,
    pub(crate) source: Source,
    pub(crate) stores: Arc<dyn Stores>,
}

/// The kind of a table's log.
#[derive(Clone)]
pub(crate) enum Source {
    /// In a catalog.
    Catalog { catalog: Arc<dyn Catalog>, id: TableId, name: TableName, owner: Option<TableOwner> },
    /// In its `_delta_log`; no catalog manages it.
    Plain,
    /// Read by this reader.
    Reader(Arc<dyn TxnLogReader>),
}

impl DeltaTable {
    /// Opens a table by its URI.
    ///
    /// `deltasql://sqlite//var/data/meta.db?table=sales.orders` is a table of a catalog. A location (`/data/orders`,
    /// `s3://bucket/orders`) is the table there in the catalog in `DELTALAKEDB_CATALOG`; without such a catalog, or if
    /// it has no table there, its log is its `_delta_log`.
    pub async fn open(uri: &str) -> Result<Self> {
        if CatalogUri::is_catalog_uri(uri) {
            return Self::open_in(connect(uri).await?, &table_of(uri)?).await;
        }
        let location = Location::parse(uri)?;
        if let Some(catalog) = catalog_in_environment()? {
            let (catalog, table) = (connect(&catalog).await?, TableRef::Location(location.clone()));
            if catalog.find(&table).await?.is_some() {
                return Self::open_in(catalog, &table).await;
            }
        }
        Self::open_plain(location, environment()).await
    }

    /// The table at a location with its `_delta_log` as the log, even if a catalog manages it.
    pub async fn open_plain(location: Location, stores: Arc<dyn Stores>) -> Result<Self> {
        let table = Self { location, source: Source::Plain, stores };
        table.reader().await?;
        Ok(table)
    }

    /// A table of a catalog.
    pub async fn open_in(catalog: Arc<dyn Catalog>, table: &TableRef) -> Result<Self> {
        let entry = require(catalog.as_ref(), table).await?;
        Ok(Self::of_entry(catalog, entry))
    }

    /// The table of an entry of a catalog.
    pub fn of_entry(catalog: Arc<dyn Catalog>, entry: TableEntry) -> Self {
        let source = Source::Catalog { catalog, id: entry.id, name: entry.name, owner: entry.owner };
        Self { location: entry.location, source, stores: environment() }
    }

    /// Uses the given object stores for its files.
    pub fn with_stores(self, stores: Arc<dyn Stores>) -> Self {
        Self { stores, ..self }
    }

    /// A table whose data files are at `uri`, a location or a table of a catalog, and whose log is read by `reader`. It
    /// is read-only.
    pub async fn open_with_reader(uri: &str, reader: Arc<dyn TxnLogReader>) -> Result<Self> {
        let location = if CatalogUri::is_catalog_uri(uri) {
            require(connect(uri).await?.as_ref(), &table_of(uri)?).await?.location
        } else {
            Location::parse(uri)?
        };
        Ok(Self { location, source: Source::Reader(reader), stores: environment() })
    }

    /// The location of its data files.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The path of one of its data files, if the table is on a local disk.
    pub fn local_file(&self, file: &Add) -> Result<Option<PathBuf>> {
        let path = data_file_path(&file.path)?;
        Ok(self.location.local_path().map(|folder| folder.join(path.as_ref())))
    }

    /// Its object stores.
    pub fn stores(&self) -> &Arc<dyn Stores> {
        &self.stores
    }

    /// Its name in the catalog; `None` outside one.
    pub fn name(&self) -> Option<&TableName> {
        match &self.source {
            Source::Catalog { name, .. } => Some(name),
            Source::Plain | Source::Reader(_) => None,
        }
    }

    /// Rejects a change by a program that is not its owner, before any file is written. The commit checks it again.
    pub(crate) fn check_owner(&self, options: &WriteOptions) -> Result<()> {
        match &self.source {
            Source::Catalog { name, owner, .. } => check_owner(name, owner.as_ref(), options.owner.as_ref()),
            Source::Plain | Source::Reader(_) => Ok(()),
        }
    }

    /// A reader of its current log.
    pub async fn reader(&self) -> Result<Arc<dyn TxnLogReader>> {
        match &self.source {
            Source::Catalog { catalog, id, .. } => Ok(catalog.reader(*id)),
            Source::Plain => Ok(Arc::new(FileTxnLogReader::open_in(&self.location, self.stores.as_ref()).await?)),
            Source::Reader(reader) => Ok(reader.clone()),
        }
    }

    /// Its newest version, with protocol and metadata.
    pub async fn head(&self) -> Result<Head> {
        self.reader().await?.head().await
    }

    /// The number of files, bytes and rows at a version, without reading a data file.
    pub async fn counts(&self, at: At) -> Result<Counts> {
        let reader = self.reader().await?;
        let version = reader.snapshot(at).await?.version();
        reader.counts(version).await
    }

    /// The minimum and maximum of a column, without reading a data file; `None` if the log does not have them exactly.
    pub async fn min_max(&self, at: At, column: &str) -> Result<Option<(Literal, Literal)>> {
        let reader = self.reader().await?;
        let version = reader.snapshot(at).await?.version();
        reader.min_max(version, column).await
    }

    /// Its columns in Arrow types, as in [`Self::scan`].
    pub async fn schema(&self, at: At) -> Result<SchemaRef> {
        let metadata = self.view_at(at).await?.snapshot()?.head.metadata;
        Ok(generated::marked(&metadata, arrow_schema(&metadata, StringEncoding::Utf8)?))
    }

    /// The add actions of its live files as columns: path, size, partition values, statistics. With `flat`, `min.price`
    /// is a column; otherwise `min` is a struct.
    pub async fn add_actions(&self, at: At, flat: bool) -> Result<RecordBatch> {
        VirtualTable::matching(&self.view_at(at).await?, Predicate::Unknown).await?.add_actions(flat)
    }

    /// The files that have deletion vectors, with a flag for each row that is kept.
    pub async fn deletion_vectors(&self, at: At) -> Result<Vec<(String, Vec<bool>)>> {
        VirtualTable::matching(&self.view_at(at).await?, Predicate::Unknown).await?.deletion_vectors().await
    }

    /// Writes the symlink manifests (`_symlink_format_manifest`), by which readers without Delta find its files.
    pub async fn generate_manifests(&self, at: At) -> Result<()> {
        let reader = self.reader().await?;
        let version = reader.snapshot(at).await?.version();
        let mut manifests: BTreeMap<String, String> = BTreeMap::from([(String::new(), String::new())]);
        let mut files = reader.files(version, None).await?;
        while let Some(add) = files.try_next().await? {
            let url = self.location.url().join(&add.path);
            let url = url.explain(|| format!("{self} has a file whose path cannot be read: {:?}", add.path))?;
            let place = url.to_file_path().map_or_else(|()| url.to_string(), |path| path.display().to_string());
            let folder = add.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let manifest = manifests.entry(folder.to_string()).or_default();
            manifest.push_str(&place);
            manifest.push('\n');
        }
        if manifests.len() > 1 {
            manifests.retain(|_, manifest| !manifest.is_empty());
        }
        let store = self.stores.open(&self.location, Durability::Full)?;
        let root = object_store::path::Path::from(MANIFESTS);
        let mut there: HashSet<_> = store.list(Some(&root)).map_ok(|meta| meta.location).try_collect().await?;
        for (folder, manifest) in manifests {
            let path = [MANIFESTS, &folder, MANIFEST].into_iter().filter(|part| !part.is_empty());
            let path = object_store::path::Path::from_url_path(path.collect::<Vec<_>>().join("/"))
                .explain(|| format!("{self} has a folder whose name cannot be read: {folder:?}"))?;
            there.remove(&path);
            store.put(&path, manifest.into()).await?;
        }
        // Manifests of folders without files would name deleted files.
        for path in there.into_iter().filter(|path| path.filename() == Some(MANIFEST)) {
            store.delete(&path).await?;
        }
        Ok(())
    }

    /// Its log at a version, for readers only: without txns and domains.
    pub(crate) async fn view_at(&self, at: At) -> Result<LogView> {
        let reader = self.reader().await?;
        let head = match at {
            At::Latest => reader.head().await?,
            at => reader.snapshot(at).await?.head,
        };
        Ok(LogView::of_head(&self.location, &self.stores, reader, head))
    }
}

/// The table in a catalog URI.
fn table_of(uri: &str) -> Result<TableRef> {
    let table = CatalogUri::parse(uri)?.table.map(TableRef::Name);
    table.ok_or_else(|| TxnLogError::invalid(format!("{uri} is a catalog and names no table: add ?table=NAME")))
}

impl fmt::Display for DeltaTable {
    /// Its name, or its location outside a catalog.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "the table {name}"),
            None => write!(f, "the table at {}", self.location),
        }
    }
}

impl fmt::Debug for DeltaTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaTable")
            .field("name", &self.name())
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
