//! What an operation has put into its table: the files, and the first put that failed.
//!
//! A failure is kept here and answered as a success. The writers above panic when they are asked to clean up after a
//! put that failed; the operation ends as if all went well, and [`super::write`] then ends it with the failure, removes
//! the files, and nothing is committed.

use std::sync::Arc;

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use parking_lot::Mutex;

#[derive(Clone, Debug, Default)]
pub(super) struct UploadTracker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    paths: Vec<Path>,
    failure: Option<Error>,
}

impl UploadTracker {
    /// A file is about to be put.
    pub(super) fn begin(&self, path: &Path) {
        self.0.lock().paths.push(path.clone());
    }

    /// The files put so far.
    pub(super) fn paths(&self) -> Vec<Path> {
        self.0.lock().paths.clone()
    }

    /// The first put that failed, once.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.0.lock().failure.take()
    }

    /// Keeps a failure.
    pub(super) fn keep<T>(&self, result: Result<T>, instead: T) -> Result<T> {
        Ok(result.unwrap_or_else(|e| {
            self.0.lock().failure.get_or_insert(e);
            instead
        }))
    }

    /// An upload in parts whose failures are kept.
    pub(super) fn watch(&self, upload: Box<dyn MultipartUpload>) -> Box<dyn MultipartUpload> {
        Box::new(Watched { upload, puts: self.clone() })
    }
}

/// The answer to a put that is not to be looked at.
pub(super) fn nothing() -> PutResult {
    PutResult { e_tag: None, version: None }
}

#[derive(Debug)]
struct Watched {
    upload: Box<dyn MultipartUpload>,
    puts: UploadTracker,
}

#[async_trait]
impl MultipartUpload for Watched {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, puts) = (self.upload.put_part(data), self.puts.clone());
        Box::pin(async move { puts.keep(part.await, ()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if self.puts.0.lock().failure.is_some() {
            self.abort().await?;
            return Ok(nothing());
        }
        self.puts.keep(self.upload.complete().await, nothing())
    }

    async fn abort(&mut self) -> Result<()> {
        self.puts.keep(self.upload.abort().await, ())
    }
}
