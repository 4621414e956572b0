//! A catalog's tables for DataFusion, with a schema for each namespace.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::Result as PlanResult;
use deltalakedb_log::listing::tables;
use deltalakedb_log::namespaces::all_namespaces;
use deltalakedb_log::stores::{Stores, environment};
use deltalakedb_log::{Catalog, Result, TableEntry, TableId, TableName, TableRef, require};
use futures::TryStreamExt;
use parking_lot::RwLock;

use super::relations::{HeldRelation, Relations};
use crate::delta_rs::{LogView, StringEncoding, wait_beside};
use crate::error::to_datafusion_error;
use crate::provider::DeltaTableProvider;

/// All tables of a catalog, for registration in a DataFusion session.
///
/// A table is looked up by name when a query names it, without listing tables. A query that joins tables reads each at
/// the version when it is looked up, unless [`DeltaCatalogProvider::hold`] was called before: then all of them at one
/// point.
///
/// ```
/// # use datafusion::prelude::{SessionConfig, SessionContext};
/// # use deltalakedb_table::DeltaCatalogProvider;
/// # use std::sync::Arc;
/// # async fn example(catalog: Arc<dyn deltalakedb_log::Catalog>) -> Result<(), Box<dyn std::error::Error>> {
/// let config = SessionConfig::new().with_default_catalog_and_schema("lake", "default");
/// let session = SessionContext::new_with_config(config);
/// let tables = Arc::new(DeltaCatalogProvider::new(catalog));
/// session.register_catalog("lake", tables.clone());
/// tables.hold(&["sales.orders".parse()?, "sales.customers".parse()?]).await?;
/// session.sql("SELECT * FROM sales.orders NATURAL JOIN sales.customers").await?.show().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DeltaCatalogProvider {
    catalog: Arc<dyn Catalog>,
    stores: Arc<dyn Stores>,
    providers: Arc<RwLock<HashMap<TableName, Arc<dyn TableProvider>>>>,
    listed: Arc<RwLock<Listed>>,
    /// Whether tables that are not held are looked up.
    looks_up: bool,
}

/// The names at the last [`DeltaCatalogProvider::list`].
#[derive(Clone, Debug, Default)]
struct Listed {
    namespaces: BTreeSet<String>,
    tables: BTreeSet<TableName>,
}

impl DeltaCatalogProvider {
    /// All tables of a catalog.
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        let (providers, listed) = (Arc::default(), Arc::default());
        Self { catalog, stores: environment(), providers, listed, looks_up: true }
    }

    /// Uses the given object stores for the tables' files.
    pub fn with_stores(self, stores: Arc<dyn Stores>) -> Self {
        Self { stores, ..self }
    }

    /// Provides only registered tables.
    pub(super) fn with_registered_only(catalog: Arc<dyn Catalog>, stores: Arc<dyn Stores>) -> Self {
        Self { looks_up: false, stores, ..Self::new(catalog) }
    }

    /// Holds these tables, and no others, at their current versions, all at one point, until the next call.
    pub async fn hold(&self, names: &[TableName]) -> Result<()> {
        self.register_all(&Relations::hold(self, names).await?);
        Ok(())
    }

    /// Provides these relations, and no others, until the next call.
    pub(super) fn register_all(&self, relations: &[HeldRelation]) {
        *self.providers.write() = relations.iter().map(|r| (r.name().clone(), r.provider().clone())).collect();
    }

    /// Provides this relation beside the others, or instead of the one of that name.
    pub(super) fn register(&self, relation: &HeldRelation) {
        self.providers.write().insert(relation.name().clone(), relation.provider().clone());
    }

    /// Reads the names of all namespaces and tables. Only a runtime with a single thread needs that, for
    /// `information_schema` and other listings: there DataFusion's synchronous calls cannot query the catalog, and get
    /// these names.
    pub async fn list(&self) -> Result<()> {
        let listed = Listed {
            namespaces: all_namespaces(self.catalog.as_ref()).await?.into_iter().collect(),
            tables: tables(self.catalog.clone(), None).map_ok(|table| table.name).try_collect().await?,
        };
        *self.listed.write() = listed;
        Ok(())
    }

    /// The names of the tables of a namespace; DataFusion cannot await them, and cannot receive an error.
    fn names(&self, namespace: &str) -> Vec<String> {
        let names = tables(self.catalog.clone(), Some(namespace.into())).map_ok(|table| table.name.name);
        match wait_beside(names.try_collect()) {
            Some(Ok(names)) => names,
            Some(Err(e)) => {
                tracing::warn!("the tables cannot be listed: {e}");
                Vec::new()
            }
            None => {
                let listed = self.listed().tables.into_iter().filter(|table| table.namespace == namespace);
                listed.map(|table| table.name).collect()
            }
        }
    }

    /// Whether a table of that name exists.
    fn has(&self, name: &TableName) -> bool {
        let (catalog, table) = (self.catalog.clone(), TableRef::Name(name.clone()));
        match wait_beside(async move { catalog.find(&table).await }) {
            Some(Ok(found)) => found.is_some(),
            Some(Err(e)) => {
                tracing::warn!("the table {name} cannot be looked up: {e}");
                false
            }
            None => self.listed().tables.contains(name),
        }
    }

    /// The listed names and the registered tables.
    fn listed(&self) -> Listed {
        let mut listed = self.listed.read().clone();
        for name in self.providers.read().keys() {
            listed.namespaces.insert(name.namespace.clone());
            listed.tables.insert(name.clone());
        }
        listed
    }
}

/// The current versions of the tables: their heads are read in one statement.
#[async_trait]
impl Relations for DeltaCatalogProvider {
    async fn hold(&self, names: &[TableName]) -> Result<Vec<HeldRelation>> {
        let catalog = self.catalog.as_ref();
        let found = resolve(catalog, names).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let heads = catalog.begin(&found.iter().map(|t| t.id).collect::<Vec<TableId>>()).await?;
        let mut held = Vec::with_capacity(found.len());
        for (entry, head) in found.into_iter().zip(heads) {
            let state = LogView::of_head(&entry.location, &self.stores, catalog.reader(entry.id), head);
            let table = DeltaTableProvider::of_state(state, StringEncoding::Utf8View).await?;
            held.push(HeldRelation::of_delta(entry.name, table));
        }
        Ok(held)
    }
}

/// The entries of these tables, or an error with names similar to the first missing one.
pub(super) async fn resolve(catalog: &dyn Catalog, names: &[TableName]) -> Result<Vec<TableEntry>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        found.push(require(catalog, &TableRef::Name(name.clone())).await?);
    }
    Ok(found)
}

impl CatalogProvider for DeltaCatalogProvider {
    fn schema_names(&self) -> Vec<String> {
        let catalog = self.catalog.clone();
        match wait_beside(async move { all_namespaces(catalog.as_ref()).await }) {
            Some(Ok(names)) => names,
            Some(Err(e)) => {
                tracing::warn!("the namespaces cannot be listed: {e}");
                Vec::new()
            }
            None => self.listed().namespaces.into_iter().collect(),
        }
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(DeltaSchemaProvider { name: name.into(), all: self.clone() }))
    }
}

/// The tables of one namespace.
#[derive(Debug)]
struct DeltaSchemaProvider {
    name: String,
    all: DeltaCatalogProvider,
}

impl DeltaSchemaProvider {
    fn table_name(&self, name: &str) -> TableName {
        TableName { namespace: self.name.clone(), name: name.into() }
    }
}

#[async_trait]
impl SchemaProvider for DeltaSchemaProvider {
    fn table_names(&self) -> Vec<String> {
        self.all.names(&self.name)
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        let name = self.table_name(name);
        let provider = self.all.providers.read().get(&name).cloned();
        if provider.is_some() || !self.all.looks_up {
            return Ok(provider);
        }
        let catalog = &self.all.catalog;
        let Some(entry) = catalog.find(&TableRef::Name(name)).await.map_err(to_datafusion_error)? else {
            return Ok(None);
        };
        let reader = catalog.reader(entry.id);
        let head = reader.head().await.map_err(to_datafusion_error)?;
        let state = LogView::of_head(&entry.location, &self.all.stores, reader, head);
        let table = DeltaTableProvider::of_state(state, StringEncoding::Utf8View).await.map_err(to_datafusion_error)?;
        Ok(Some(Arc::new(table)))
    }

    fn table_exist(&self, name: &str) -> bool {
        let name = self.table_name(name);
        self.all.providers.read().contains_key(&name) || (self.all.looks_up && self.all.has(&name))
    }
}

impl fmt::Debug for DeltaCatalogProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaCatalogProvider").field("catalog", &self.catalog.describe()).finish_non_exhaustive()
    }
}
