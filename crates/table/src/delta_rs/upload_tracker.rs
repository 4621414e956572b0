//! The uploads of an operation to its table: the files, and the first put that failed.
//!
//! A failure is recorded here and reported as a success, because the writers in delta-rs panic when they clean up after
//! a failed put; the operation completes, and [`super::write`] then fails with the recorded error, removes the files,
//! and commits nothing.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use parking_lot::Mutex;
use tracing::{Instrument, Span};

#[derive(Clone, Debug, Default)]
pub(super) struct UploadTracker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    paths: Vec<Path>,
    failure: Option<Error>,
}

impl UploadTracker {
    /// Records a file before it is put.
    pub(super) fn begin(&self, path: &Path) {
        self.0.lock().paths.push(path.clone());
    }

    /// The files put so far.
    pub(super) fn paths(&self) -> Vec<Path> {
        self.0.lock().paths.clone()
    }

    /// The first put that failed; returned once.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.0.lock().failure.take()
    }

    /// Records a failure.
    pub(super) fn keep<T>(&self, result: Result<T>, instead: T) -> Result<T> {
        Ok(result.unwrap_or_else(|e| {
            self.0.lock().failure.get_or_insert(e);
            instead
        }))
    }

    /// A multipart upload whose failures are recorded; the span ends with it.
    pub(super) fn watch(&self, upload: Box<dyn MultipartUpload>, span: Span) -> Box<dyn MultipartUpload> {
        Box::new(Watched { upload, puts: self.clone(), span })
    }
}

/// A result of a put that is ignored.
pub(super) fn nothing() -> PutResult {
    PutResult { e_tag: None, version: None }
}

#[derive(Debug)]
struct Watched {
    upload: Box<dyn MultipartUpload>,
    puts: UploadTracker,
    span: Span,
}

#[async_trait]
impl MultipartUpload for Watched {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, puts) = (self.upload.put_part(data).instrument(self.span.clone()), self.puts.clone());
        Box::pin(async move { puts.keep(part.await, ()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.puts.0.lock().failure.is_some() {
            self.abort().await?;
            return Ok(nothing());
        }
        self.puts.keep(self.upload.complete().instrument(self.span.clone()).await, nothing())
    }

    async fn abort(&mut self) -> Result<()> {
        self.puts.keep(self.upload.abort().await, ())
    }
}
