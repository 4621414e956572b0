//! Putting version checksums into `_delta_log`.

use bytes::Bytes;
use deltalakedb_log::{Commit, Durability, Result, TableEntry, Version};
use object_store::{ObjectStore, PutMode};

use crate::checksum::{VersionChecksum, info, path};
use crate::maintenance::delete;
use crate::mirror::Mirror;
use crate::put::read;

impl Mirror {
    /// Puts a checksum unless one exists, and returns whether it was put. It becomes visible as a whole, without waiting
    /// for a sync.
    #[tracing::instrument(target = "deltalakedb::store", level = "debug", skip_all, fields(table = %table.name, version = version))]
    pub(crate) async fn put_checksum(&self, table: &TableEntry, version: Version, bytes: Bytes) -> Result<bool> {
        let store = self.stores.open(&table.location, Durability::Catalog)?;
        match store.put_opts(&path(version), bytes.into(), PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Ensures that the checksum of a version is right: a wrong one is deleted first. Returns whether it was written.
    pub(crate) async fn mend_checksum(&self, table: &TableEntry, version: Version) -> Result<bool> {
        let (reader, store) = (self.catalog.reader(table.id), self.store(table)?);
        let expected = VersionChecksum::count(reader.as_ref(), version).await?;
        if let Some(there) = read(store.as_ref(), &path(version)).await? {
            if expected.difference(&there).is_none() {
                return Ok(false);
            }
            delete(store.as_ref(), &path(version)).await?;
        }
        let body = reader.commit_bytes(version).await?.unwrap_or_default();
        let actions = Commit::parse_without_files(&body, "a stored commit")?;
        self.put_checksum(table, version, expected.render(info(&actions))).await
    }
}
