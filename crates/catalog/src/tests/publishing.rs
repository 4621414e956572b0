//! Publishing concurrently with commits.

use deltalakedb_log::{Artifact, MirrorProgress, TableRef};
use std::time::Duration;

use deltalakedb_log::commit::CommitRequest;

use super::*;

/// Where rows are locked one by one, published versions are recorded while another transaction has locked the head, and
/// vice versa. A call that waited would fail after its `lock_timeout`.
#[tokio::test(flavor = "multi_thread")]
async fn publishing_and_commits_do_not_wait_for_each_other() {
    for database in databases("server") {
        let dir = tempfile::tempdir().unwrap();
        let uri = CatalogUri::parse(&database.uri(dir.path(), "publishing")).unwrap();
        // The server does not end the transaction that has the lock before that time.
        let postgres = PostgresOptions { idle_timeout: Duration::from_secs(600), ..PostgresOptions::default() };
        let catalog = SqlCatalog::connect(&uri, ConnectOptions { postgres, ..Default::default() }).await.unwrap();
        let id = create(&catalog).await;
        let commit =
            async |request: CommitRequest| catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        commit(append(id, 0, "a")).await;

        let committing = catalog.write(&[id]).await.unwrap();
        assert!(catalog.mark_next_published(id, 0, 0).await.unwrap());
        let lease = catalog.acquire_lease(id, Uuid::from_u128(1), 0, 1).await.unwrap().unwrap();
        catalog.mark_published(&lease, 1).await.unwrap();
        catalog.mark_failed(id, 2, Artifact::Commit, "the disk is full", 1).await.unwrap();
        catalog.mark_checkpointed(id, 1).await.unwrap();
        catalog.release_lease(&lease).await.unwrap();
        committing.commit().await.unwrap();

        let async_commit = catalog.write_async_commit(id).await.unwrap();
        commit(append(id, 1, "b")).await;
        async_commit.commit().await.unwrap();
        let entry = catalog.find(&TableRef::Id(id)).await.unwrap().unwrap();
        assert_eq!((entry.current_version, entry.published_version), (2, Some(1)), "{database:?}");
        catalog.close().await;
    }
}
