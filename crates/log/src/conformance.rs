//! The contract of a catalog as a test suite over a factory: the test of an implementation is one call of [`run`], and
//! the test of a [writer](run_writer) of one table's log is another.
//!
//! Each check gets a fresh catalog. A violation panics with a sentence that names the violated rule.
#![allow(clippy::unwrap_used, clippy::panic, reason = "checks speak by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::action::{Action, Add, Version};
use crate::catalog::{Catalog, Point};
use crate::commit::{Base, CommitRequest, Committed, ConflictKind, Content, Isolation, NewTable, Outcome};
use crate::entry::{MirrorState, TableEntry, TableRef};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::history::{BaseFiles, BaseState, CommitTime, HistoryItem, LoggedCommit, TimeSource};
use crate::ids::{SeededClock, TableId};
use crate::load::{FutureTimes, HistoryLoad};
use crate::location::Location;
use crate::mirror::Artifact;
use crate::owner::Committer;
use crate::predicate::{Comparison, Literal, Predicate};
use crate::reader::{HistoryRange, TxnLogReader, TxnLogReaderExt, first_commit};
use crate::snapshot::At;

pub mod actions;
mod administration;
mod clients;
mod commits;
mod expiry;
mod holds;
mod interrupted;
mod lifecycle;
mod listing;
mod loads;
mod mirrors;
mod namespaces;
mod owners;
mod reader;
mod references;
mod suite;
mod tables;
mod times;
mod verbatim;
mod writer;

pub use suite::{run, run_with_clock};
pub use writer::run_writer;

use actions::{domain, file, metadata, protocol, remove, txn, with_dv};

/// A table of a catalog.
#[derive(Clone)]
struct TestTable {
    catalog: Arc<dyn Catalog>,
    id: TableId,
}

impl TestTable {
    async fn create(catalog: &Arc<dyn Catalog>, name: &str) -> Self {
        Self::create_with(catalog, name, "{}").await
    }

    async fn create_with(catalog: &Arc<dyn Catalog>, name: &str, configuration: &str) -> Self {
        let id = table_id(name);
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata(configuration))];
        let request = CommitRequest::new(id, Uuid::from_u128(1), Base::Create(new_table(name)), actions);
        let committed = catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        assert_eq!(committed[0].version, 0, "a new table begins at version 0");
        Self { catalog: catalog.clone(), id }
    }

    fn request(&self, base: Base, actions: Vec<Action>) -> CommitRequest {
        // Derived from the content: each check makes each commit once.
        let operation = Uuid::from_u128(u128::from_be_bytes(
            *blake3::hash(format!("{base:?}{actions:?}").as_bytes()).as_bytes().first_chunk().unwrap(),
        ));
        CommitRequest::new(self.id, operation, base, actions)
    }

    async fn try_commit(&self, request: CommitRequest) -> Result<Outcome> {
        self.catalog.commit_all(vec![request]).await
    }

    /// Commits on top of the head.
    async fn commit(&self, actions: Vec<Action>) -> Committed {
        let head = self.head().await;
        let outcome = self.try_commit(self.request(Base::Exactly(head), actions)).await.unwrap();
        outcome.committed().unwrap()[0]
    }

    async fn append(&self, path: &str) -> Committed {
        self.commit(vec![Action::add(file(path, 0, 9))]).await
    }

    async fn head(&self) -> Version {
        self.catalog.reader(self.id).head().await.unwrap().version
    }

    async fn paths(&self, version: Version) -> Vec<String> {
        let files = self.files(version, None).await;
        let mut paths: Vec<_> = files.into_iter().map(|f| f.path).collect();
        paths.sort();
        paths
    }

    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Vec<Add> {
        let log = self.catalog.reader(self.id);
        log.files(version, predicate).await.unwrap().try_collect().await.unwrap()
    }
}

fn table_id(name: &str) -> TableId {
    TableId(Uuid::from_u128(u128::from_be_bytes(*blake3::hash(name.as_bytes()).as_bytes().first_chunk().unwrap())))
}

fn new_table(name: &str) -> NewTable {
    let location = Location::parse(&format!("/nowhere/{name}")).unwrap();
    NewTable::new(name.parse().unwrap(), location)
}

/// Checks the error that a call ends with: its kind, and what its one sentence says.
pub fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, says: &[&str]) {
    let error = result.unwrap_err();
    let sentence = error.to_string();
    assert_eq!(error.kind(), kind, "{sentence}");
    for part in says {
        assert!(sentence.contains(part), "{sentence:?} does not say {part:?}");
    }
    assert!(!sentence.contains('\n'), "{sentence:?} is more than a line");
}

fn conflict(outcome: Outcome, want_version: Version, want: &ConflictKind) {
    match outcome {
        Outcome::Conflict(c) => assert_eq!((c.version, &c.kind), (want_version, want), "{c}"),
        other => panic!("expected {want:?}, got {other:?}"),
    }
}

async fn entry(c: &Arc<dyn Catalog>, table: TableId) -> TableEntry {
    c.find(&TableRef::Id(table)).await.unwrap().unwrap()
}
