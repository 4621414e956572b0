//! A catalog with one table in a folder of its own, and its mirror.

use std::path::PathBuf;
use std::sync::Arc;

use deltalakedb_log::action::{Action, Metadata, Protocol, Version};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{file, metadata, protocol};
use deltalakedb_log::{Catalog, CommitRequest, SystemClock, TableEntry, TableId, TableRef, TxnLogError};
use deltalakedb_mirror::Mirror;
use deltalakedb_tests::{Database, catalog, location};
use uuid::Uuid;

pub(crate) struct Shop {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) mirror: Mirror,
    pub(crate) id: TableId,
}

impl Shop {
    /// The table is new, and nothing of it is published.
    pub(crate) async fn new(properties: &str) -> Self {
        Self::with(Database::Sqlite, protocol(), metadata(properties)).await
    }

    pub(crate) async fn with(database: Database, protocol: Protocol, metadata: Metadata) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(database, dir.path()).await;
        let id = TableId(Uuid::new_v4());
        let new = NewTable::new("t".parse().unwrap(), location(&dir.path().join("t")));
        let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
        let request = CommitRequest::new(id, Uuid::new_v4(), Base::Create(new), actions);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        Self::of(dir, catalog, id)
    }

    /// The table is in the folder `t`.
    pub(crate) fn of(dir: tempfile::TempDir, catalog: Arc<dyn Catalog>, id: TableId) -> Self {
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        Self { dir, catalog, mirror, id }
    }

    pub(crate) async fn try_commit(&self, actions: Vec<Action>) -> Result<Version, TxnLogError> {
        let head = self.entry().await.current_version;
        let request = CommitRequest::new(self.id, Uuid::new_v4(), Base::Exactly(head), actions);
        Ok(self.catalog.commit_all(vec![request]).await?.committed()?[0].version)
    }

    pub(crate) async fn commit(&self, actions: Vec<Action>) -> Version {
        self.try_commit(actions).await.unwrap()
    }

    pub(crate) async fn append(&self, path: &str) -> Version {
        self.commit(vec![Action::add(file(path, 0, 9))]).await
    }

    pub(crate) async fn entry(&self) -> TableEntry {
        self.catalog.find(&TableRef::Id(self.id)).await.unwrap().unwrap()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("t")
    }
}
