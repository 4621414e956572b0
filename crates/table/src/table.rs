//! A Delta table, wherever its log is.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::common::Column;
use deltalakedb_log::catalog::{Catalog, TableRef, TxnLogReader, require};
use deltalakedb_log::snapshot::{At, Head, Snapshot};
use deltalakedb_log::{Location, Predicate, Result, TableId, TableName, TxnLogError};

use crate::delta_rs::{VirtualTable, session_context};
use crate::error::Explain;
use crate::filter::Filter;

/// A Delta table: rows in Parquet at a place, and a log that says which of its files are the table.
///
/// A table holds no state of its own. Every call reads one version of the log, the newest unless it names one, and
/// answers from that alone.
#[derive(Clone)]
pub struct DeltaTable {
    pub(crate) location: Location,
    pub(crate) reader: Arc<dyn TxnLogReader>,
    pub(crate) home: Option<Home>,
}

/// The catalog a table is in.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) id: TableId,
    pub(crate) name: TableName,
}

/// What to read of a table.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which state of the table.
    pub at: At,
    /// These columns in this order; `None` is all of them.
    pub columns: Option<Vec<String>>,
    /// A condition in SQL; rows that do not satisfy it are left out.
    pub filter_sql: Option<String>,
    /// At most so many rows.
    pub limit: Option<usize>,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: At::Latest, columns: None, filter_sql: None, limit: None }
    }
}

impl DeltaTable {
    /// A table of a catalog.
    pub async fn open_in(catalog: Arc<dyn Catalog>, table: &TableRef) -> Result<Self> {
        let entry = require(catalog.as_ref(), table).await?;
        let reader = catalog.reader(entry.id);
        let home = Home { catalog, id: entry.id, name: entry.name };
        Ok(Self { location: entry.location, reader, home: Some(home) })
    }

    /// A table whose data files are at `uri`, a path or a URL, and whose log is what `reader` reads. It can only be
    /// read.
    pub fn open_with_reader(uri: &str, reader: Arc<dyn TxnLogReader>) -> Result<Self> {
        Ok(Self { location: Location::parse(uri)?, reader, home: None })
    }

    /// Where its data files are.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Its name in the catalog; `None` outside one.
    pub fn name(&self) -> Option<&TableName> {
        self.home.as_ref().map(|home| &home.name)
    }

    /// Its log.
    pub fn reader(&self) -> &Arc<dyn TxnLogReader> {
        &self.reader
    }

    /// Its newest version, with protocol and metadata.
    pub async fn head(&self) -> Result<Head> {
        self.reader.head().await
    }

    /// Its columns in Arrow types, as [`Self::scan`] yields them.
    pub async fn schema(&self, at: At) -> Result<SchemaRef> {
        self.schema_of(self.reader.snapshot(at).await?).await
    }

    pub(crate) async fn schema_of(&self, base: Snapshot) -> Result<SchemaRef> {
        VirtualTable::without_files(&self.location, self.reader.clone(), base).await?.schema()
    }

    /// Reads rows, all of one version. Only files that may hold a matching row are looked at, and the cost of planning
    /// follows their number, not the table's. No order is promised.
    pub async fn scan(&self, scan: &Scan) -> Result<SendableRecordBatchStream> {
        let base = self.reader.snapshot(scan.at).await?;
        let session = session_context()?;
        let filter = match &scan.filter_sql {
            Some(sql) => Some(Filter::parse(sql, &session, &self.schema_of(base.clone()).await?)?),
            None => None,
        };
        let predicate = filter.as_ref().map_or(Predicate::Unknown, Filter::predicate);
        let provider = VirtualTable::matching(&self.location, self.reader.clone(), base, predicate).await?.provider()?;
        let schema = datafusion::catalog::TableProvider::schema(&provider);
        let failed = || format!("{self} cannot be read");
        let mut rows = session.read_table(Arc::new(provider)).explain(failed)?;
        if let Some(filter) = filter {
            rows = rows.filter(filter.expr).explain(failed)?;
        }
        if let Some(columns) = &scan.columns {
            let known = |c: &String| match schema.column_with_name(c) {
                Some(_) => Ok(Expr::Column(Column::new_unqualified(c))),
                None => {
                    let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                    Err(TxnLogError::invalid(format!("{self} has no column {c:?}: it has {}", names.join(", "))))
                }
            };
            rows = rows.select(columns.iter().map(known).collect::<Result<Vec<_>>>()?).explain(failed)?;
        }
        if scan.limit.is_some() {
            rows = rows.limit(0, scan.limit).explain(failed)?;
        }
        rows.execute_stream().await.explain(failed)
    }
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
        f.debug_struct("DeltaTable").field("name", &self.name()).field("location", &self.location).finish_non_exhaustive()
    }
}
