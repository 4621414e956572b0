//! The end of history in the background: all tables one after the other, some at a time, and then again.

use std::fmt;
use std::time::Duration;

use deltalakedb_log::Result;
use futures::TryStreamExt;
use futures::stream::BoxStream;

use crate::expiry::{ExpireOptions, ExpiryStep};
use crate::publish::Mirror;

/// How many steps a slice has.
const STEPS: usize = 20;
/// How many versions of a table end in a step: readers of `_delta_log` get a checkpoint for each.
const VERSIONS: u64 = 10_000;

/// Does what [`Mirror::expire_all`] does again and again, in slices of bounded work.
pub struct ExpiryCycle {
    mirror: Mirror,
    options: ExpireOptions,
    /// From the end of one cycle to the beginning of the next, in milliseconds.
    interval_ms: i64,
    /// When the next cycle begins, in milliseconds since 1970.
    next_ms: i64,
    /// What is left of the cycle that is under way.
    steps: Option<BoxStream<'static, Result<ExpiryStep>>>,
}

impl ExpiryCycle {
    /// A cycle that begins at once, and so long after its end again.
    pub fn new(mirror: Mirror, options: &ExpireOptions, interval: Duration) -> Self {
        let options = ExpireOptions { at_most: Some(VERSIONS), ..options.clone() };
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Self { mirror, options, interval_ms, next_ms: i64::MIN, steps: None }
    }

    /// The next steps, if it is time: what each of them did. After an error, such as that of a catalog that does not answer,
    /// the next slice begins the cycle again.
    pub async fn slice(&mut self) -> Result<Vec<ExpiryStep>> {
        let mut done = Vec::new();
        if self.steps.is_none() && self.mirror.clock.now_ms() < self.next_ms {
            return Ok(done);
        }
        // Put back at the end: an error ends the cycle.
        let mut steps = self.steps.take().unwrap_or_else(|| self.mirror.expire_all(&self.options));
        while done.len() < STEPS {
            match steps.try_next().await? {
                Some(step) => done.push(step),
                None => {
                    self.next_ms = self.mirror.clock.now_ms().saturating_add(self.interval_ms);
                    return Ok(done);
                }
            }
        }
        self.steps = Some(steps);
        Ok(done)
    }
}

impl fmt::Debug for ExpiryCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpiryCycle")
            .field("options", &self.options)
            .field("next_ms", &self.next_ms)
            .finish_non_exhaustive()
    }
}
