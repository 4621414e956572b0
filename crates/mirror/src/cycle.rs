//! The end of history in the background: all tables one after the other, some at a time, and then again.

use std::fmt;
use std::time::Duration;

use deltalakedb_log::{Result, TxnLogError};

use crate::expiry::{ExpireOptions, ExpiryStep, ExpirySteps};
use crate::mirror::Mirror;

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
    steps: Option<ExpirySteps>,
    /// The error that ended the last slice, behind steps that were done.
    failed: Option<TxnLogError>,
}

impl ExpiryCycle {
    /// A cycle that begins at once, and so long after its end again.
    pub fn new(mirror: Mirror, options: &ExpireOptions, interval: Duration) -> Self {
        let options = ExpireOptions { at_most: Some(VERSIONS), ..options.clone() };
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Self { mirror, options, interval_ms, next_ms: i64::MIN, steps: None, failed: None }
    }

    /// The next steps, if it is time: what each of them did. A failure of one table is reported, and tried again in the
    /// next cycle; after an error, such as that of a catalog that does not answer, the next slice continues where this
    /// one stopped.
    pub async fn slice(&mut self) -> Result<Vec<ExpiryStep>> {
        let mut done = Vec::new();
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        if self.steps.is_none() && self.mirror.clock.now_ms() < self.next_ms {
            return Ok(done);
        }
        let steps = self.steps.get_or_insert_with(|| ExpirySteps::new(self.mirror.clone(), self.options.clone()));
        while done.len() < STEPS {
            match steps.next().await {
                Ok(Some(step)) => done.push(step),
                Ok(None) => {
                    self.steps = None;
                    self.next_ms = self.mirror.clock.now_ms().saturating_add(self.interval_ms);
                    break;
                }
                // The finished steps are returned first, the error by the next call.
                Err(e) => {
                    self.failed = Some(e);
                    break;
                }
            }
        }
        match self.failed.take_if(|_| done.is_empty()) {
            Some(e) => Err(e),
            None => Ok(done),
        }
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
