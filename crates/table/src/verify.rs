//! delta-rs as the independent reader that a mirror is verified with.

use std::sync::Arc;

use async_trait::async_trait;
use deltalakedb_log::{Location, Result, Stores, Version};
use deltalakedb_mirror::{Replayed, Replayer};

use crate::plain;

/// Replays a plain `_delta_log` with delta-rs, none of whose log reading is ours.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeltaRs;

#[async_trait]
impl Replayer for DeltaRs {
    async fn replay(&self, location: &Location, stores: &Arc<dyn Stores>, version: Version) -> Result<Replayed> {
        plain::replay_in(location, stores, Some(version)).await
    }
}
