//! Relations by name, as one statement reads them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use deltalakedb_log::{Result, TableName};

use crate::delta_rs::StringEncoding;
use crate::provider::DeltaTableProvider;
use crate::transaction::Transaction;

/// Relations that a statement can name: the tables of a catalog, or those of another owner.
#[async_trait]
pub trait Relations: Send + Sync {
    /// The relations with these names, all as they are at one point in time, which their providers keep. They are
    /// returned in any order. A [guest](super::SqlGuest) omits names that it does not have; the catalog, which is asked
    /// for these, rejects unknown ones.
    async fn hold(&self, names: &[TableName]) -> Result<Vec<HeldRelation>>;
}

/// A relation as one statement reads it.
#[derive(Clone)]
pub struct HeldRelation {
    name: TableName,
    provider: Arc<dyn TableProvider>,
    /// The same provider, for a Delta table.
    delta: Option<Arc<DeltaTableProvider>>,
}

impl HeldRelation {
    /// The relation of that name, whose rows the provider has.
    pub fn new(name: TableName, provider: Arc<dyn TableProvider>) -> Self {
        Self { name, provider, delta: None }
    }

    pub(super) fn of_delta(name: TableName, table: DeltaTableProvider) -> Self {
        let table = Arc::new(table);
        Self { name, provider: table.clone(), delta: Some(table) }
    }

    /// Its name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// Its rows.
    pub fn provider(&self) -> &Arc<dyn TableProvider> {
        &self.provider
    }

    /// The Delta table, of which the transaction of the statement records what it reads.
    pub(super) fn delta(&self) -> Option<&Arc<DeltaTableProvider>> {
        self.delta.as_ref()
    }
}

impl fmt::Debug for HeldRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldRelation").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The tables as the transaction sees them.
#[async_trait]
impl Relations for Transaction {
    async fn hold(&self, names: &[TableName]) -> Result<Vec<HeldRelation>> {
        let mut held = Vec::with_capacity(names.len());
        for name in names {
            let table = DeltaTableProvider::of_state(self.state(name).await?, StringEncoding::Utf8View).await?;
            held.push(HeldRelation::of_delta(name.clone(), table));
        }
        Ok(held)
    }
}
