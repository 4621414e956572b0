//! What tests record or fail between a mirror and its catalog.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use deltalakedb_log::{ErrorKind, Result, TxnLogError, TxnLogReader};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::intercepted_catalog::{InterceptedReader, Interceptor};

/// Counts the statements whose rows are being read.
#[derive(Debug)]
pub(crate) struct OpenReads(pub(crate) Arc<AtomicI64>);

/// A statement whose rows are being read, until it is dropped.
struct Reading(Arc<AtomicI64>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Interceptor for OpenReads {
    fn reader(self: &Arc<Self>, reader: Arc<dyn TxnLogReader>) -> Arc<dyn TxnLogReader> {
        Arc::new(InterceptedReader::new(reader, self.clone()))
    }

    fn rows<T: Send + 'static>(
        self: &Arc<Self>,
        call: &'static str,
        rows: BoxStream<'static, Result<T>>,
    ) -> BoxStream<'static, Result<T>> {
        // These are read in pages, without an open statement between two of them.
        if ["files_by_key", "tombstones"].contains(&call) {
            return rows;
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        let reading = Reading(self.0.clone());
        rows.map(move |row| {
            let _ = &reading;
            row
        })
        .boxed()
    }
}

/// Fails this number of queries for removable tables.
#[derive(Debug)]
pub(crate) struct UnansweredRemovals(pub(crate) AtomicI64);

#[async_trait]
impl Interceptor for UnansweredRemovals {
    async fn before(&self, call: &'static str) -> Result<()> {
        if call == "removable_tables" && self.0.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Err(TxnLogError::new(ErrorKind::Unavailable, "the catalog does not answer"));
        }
        Ok(())
    }
}
