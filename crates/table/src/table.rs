//! A Delta table, wherever its log is.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalakedb_catalog::{CatalogUri, catalog_in_environment, connect};
use deltalakedb_log::predicate::Literal;
use deltalakedb_log::snapshot::{At, Head};
use deltalakedb_log::stores::{Stores, environment};
use deltalakedb_log::{
    Catalog, Counts, Durability, FileTxnLogReader, Location, Predicate, Result, TableEntry, TableId, TableName,
    TableOwner, TableRef, TxnLogError, TxnLogReader, TxnLogReaderExt, check_owner, require,
};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;

use crate::delta_rs::{LogView, VirtualTable};
use crate::error::Explain;
use crate::write_options::WriteOptions;

/// The folder of the files by which readers without Delta find a table's data files, and what each is called.
pub(crate) const MANIFESTS: &str = "_symlink_format_manifest";
pub(crate) const MANIFEST: &str = "manifest";

/// A Delta table: rows in Parquet at a place, and a log that says which of its files are the table.
///
/// A table holds no state of its own. Every call reads one version of the log, the newest unless it names one, and
/// answers from that alone.
#[derive(Clone)]
pub struct DeltaTable {
    pub(crate) location: Location,
    pub(crate) source: Source,
    pub(crate) stores: Arc<dyn Stores>,
}

/// Where a table's log is.
#[derive(Clone)]
pub(crate) enum Source {
    /// In a catalog.
    Catalog { catalog: Arc<dyn Catalog>, id: TableId, name: TableName, owner: Option<TableOwner> },
    /// In its `_delta_log`; no catalog manages it.
    Plain,
    /// Wherever this reads it.
    Reader(Arc<dyn TxnLogReader>),
}

impl DeltaTable {
    /// Opens a table by its URI.
    ///
    /// `deltasql://sqlite//var/data/meta.db?table=sales.orders` is a table of a catalog. A place (`/data/orders`,
    /// `s3://bucket/orders`) is the table the catalog in `DELTALAKEDB_CATALOG` has there; with no such catalog, or none
    /// there in it, its log is its `_delta_log`.
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

    /// The table at a place whose log is its `_delta_log`, whatever a catalog says.
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

    /// The table that an entry of a catalog is of.
    pub fn of_entry(catalog: Arc<dyn Catalog>, entry: TableEntry) -> Self {
        let source = Source::Catalog { catalog, id: entry.id, name: entry.name, owner: entry.owner };
        Self { location: entry.location, source, stores: environment() }
    }

    /// The same table, whose files are in the object stores that are given.
    pub fn with_stores(self, stores: Arc<dyn Stores>) -> Self {
        Self { stores, ..self }
    }

    /// A table whose data files are at `uri`, a place or a table of a catalog, and whose log is what `reader` reads. It
    /// can only be read.
    pub async fn open_with_reader(uri: &str, reader: Arc<dyn TxnLogReader>) -> Result<Self> {
        let location = match CatalogUri::is_catalog_uri(uri) {
            true => require(connect(uri).await?.as_ref(), &table_of(uri)?).await?.location,
            false => Location::parse(uri)?,
        };
        Ok(Self { location, source: Source::Reader(reader), stores: environment() })
    }

    /// Where its data files are.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The object stores it is in.
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

    /// Refuses who changes it without being its owner, before any file is written. Only the commit decides.
    pub(crate) fn check_owner(&self, options: &WriteOptions) -> Result<()> {
        match &self.source {
            Source::Catalog { name, owner, .. } => check_owner(name, owner.as_ref(), options.owner.as_ref()),
            Source::Plain | Source::Reader(_) => Ok(()),
        }
    }

    /// Its log as it is now.
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

    /// How many files, bytes and rows it has at a version, without reading a data file.
    pub async fn counts(&self, at: At) -> Result<Counts> {
        let reader = self.reader().await?;
        let version = reader.snapshot(at).await?.version();
        reader.counts(version).await
    }

    /// The least and the greatest value of a column, without reading a data file; `None` where the log does not hold
    /// them exactly.
    pub async fn min_max(&self, at: At, column: &str) -> Result<Option<(Literal, Literal)>> {
        let reader = self.reader().await?;
        let version = reader.snapshot(at).await?.version();
        reader.min_max(version, column).await
    }

    /// Its columns in Arrow types, as [`Self::scan`] yields them.
    pub async fn schema(&self, at: At) -> Result<SchemaRef> {
        VirtualTable::without_files(&self.held(at).await?).await?.schema()
    }

    /// The add actions of its live files as columns: path, size, partition values, statistics. Flat, `min.price` is a
    /// column; otherwise `min` is a struct.
    pub async fn add_actions(&self, at: At, flat: bool) -> Result<RecordBatch> {
        VirtualTable::matching(&self.held(at).await?, Predicate::Unknown).await?.add_actions(flat)
    }

    /// The files that have deletion vectors, and for each row of theirs whether it is kept.
    pub async fn deletion_vectors(&self, at: At) -> Result<Vec<(String, Vec<bool>)>> {
        VirtualTable::matching(&self.held(at).await?, Predicate::Unknown).await?.deletion_vectors().await
    }

    /// Writes the manifests by which readers without Delta find its files (`_symlink_format_manifest`).
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
        // Those of folders that have no files any more would name files that are gone.
        for path in there.into_iter().filter(|path| path.filename() == Some(MANIFEST)) {
            store.delete(&path).await?;
        }
        Ok(())
    }

    /// Its log at a version, for whoever only reads: they need to know neither applications nor domains.
    pub(crate) async fn held(&self, at: At) -> Result<LogView> {
        let reader = self.reader().await?;
        let head = match at {
            At::Latest => reader.head().await?,
            at => reader.snapshot(at).await?.head,
        };
        Ok(LogView::of_head(&self.location, &self.stores, reader, head))
    }
}

/// The table a catalog URI names.
fn table_of(uri: &str) -> Result<TableRef> {
    let table = CatalogUri::parse(uri)?.table.map(TableRef::Name);
    table.ok_or_else(|| TxnLogError::invalid(format!("{uri} is a catalog and names no table: add ?table=NAME")))
}

impl fmt::Display for DeltaTable {
    /// Its name, or its place outside a catalog.
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
