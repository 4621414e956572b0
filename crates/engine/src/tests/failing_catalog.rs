//! A catalog whose commits fail.

use async_trait::async_trait;

use super::intercepted_catalog::Interceptor;
use super::*;

/// What commits to a catalog do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CatalogFailure {
    /// Nothing is committed.
    DiskIsFull,
    /// They are made, and no caller gets an answer, then or later.
    AnswersAreLost,
    /// They are made, and their callers get no further.
    CommitsHang,
}

/// Lets commits fail as long as `failure` says so.
#[derive(Debug)]
pub(super) struct FailingCommits {
    pub(super) failure: Arc<Mutex<Option<CatalogFailure>>>,
    /// Notified of each commit whose caller gets no further.
    pub(super) committed: Arc<Notify>,
}

fn no_answer() -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, "the catalog does not answer: check the connection")
}

#[async_trait]
impl Interceptor for FailingCommits {
    async fn before(&self, call: &'static str) -> Result<()> {
        let failure = *self.failure.lock();
        match (call, failure) {
            ("commit_all", Some(CatalogFailure::DiskIsFull)) => {
                Err(TxnLogError::new(ErrorKind::Unavailable, "the disk of the catalog is full: free some space"))
            }
            ("find_commit", Some(CatalogFailure::AnswersAreLost)) => Err(no_answer()),
            _ => Ok(()),
        }
    }

    async fn after(&self, call: &'static str) -> Result<()> {
        let failure = *self.failure.lock();
        match (call, failure) {
            ("commit_all", Some(CatalogFailure::AnswersAreLost)) => Err(no_answer()),
            ("commit_all", Some(CatalogFailure::CommitsHang)) => {
                self.committed.notify_one();
                std::future::pending().await
            }
            _ => Ok(()),
        }
    }
}
