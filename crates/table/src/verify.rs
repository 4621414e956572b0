//! delta-rs as the independent reader for the verification of a mirror.

use std::sync::Arc;

use async_trait::async_trait;
use deltalakedb_log::{Location, Result, Stores, Version};
use deltalakedb_mirror::{ReplayedSnapshot, Replayer};

use crate::plain;

/// Replays a plain `_delta_log` with delta-rs, without this library's log reader.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeltaRs;

#[async_trait]
impl Replayer for DeltaRs {
    async fn replay(
        &self,
        location: &Location,
        stores: &Arc<dyn Stores>,
        version: Version,
    ) -> Result<ReplayedSnapshot> {
        plain::replay_in(location, stores, Some(version)).await
    }
}
