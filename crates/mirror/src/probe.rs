//! Checks that an object store refuses to overwrite a file, which a log requires.

use bytes::Bytes;
use deltalakedb_log::{Location, Result, TxnLogError};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::mirror::Mirror;

impl Mirror {
    /// Once per location, before anything is published there: an existing file must not be overwritten.
    pub(crate) async fn prove(&self, location: &Location, store: &dyn ObjectStore) -> Result<()> {
        if self.is_proven(location) {
            return Ok(());
        }
        let probe = Path::from(format!("_delta_log/.probe-{}", self.clock.new_uuid()));
        let put = || store.put_opts(&probe, Bytes::from_static(b"probe").into(), PutOptions::from(PutMode::Create));
        put().await?;
        let again = put().await;
        store.delete(&probe).await?;
        match again {
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                self.note_proven(location);
                Ok(())
            }
            Ok(_) => Err(TxnLogError::invalid(format!(
                "the object store of {location} overwrites existing files despite put-if-absent: it cannot hold a \
                 Delta log safely"
            ))),
            Err(e) => Err(e.into()),
        }
    }
}
