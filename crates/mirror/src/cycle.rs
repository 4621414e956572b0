//! Expiry in the background: all tables one after the other, in slices, repeatedly.

use std::fmt;
use std::time::Duration;

use deltalakedb_log::{Result, TxnLogError};

use crate::expiry::{ExpireOptions, ExpiryStep, ExpirySteps};
use crate::mirror::Mirror;

/// The number of steps in a slice.
const STEPS: usize = 20;
/// The number of versions of a table that a step expires: readers of `_delta_log` get a checkpoint for each step.
const VERSIONS: u64 = 10_000;

/// Repeats [`Mirror::expire_all`], in slices of bounded work.
pub struct ExpiryCycle {
    mirror: Mirror,
    options: ExpireOptions,
    /// The time from the end of one cycle to the start of the next, in milliseconds.
    interval_ms: i64,
    /// The start of the next cycle, in milliseconds since 1970.
    next_ms: i64,
    /// The remaining steps of the current cycle.
    steps: Option<ExpirySteps>,
    /// The error that ended the last slice after finished steps.
    failed: Option<TxnLogError>,
}

impl ExpiryCycle {
    /// A cycle that starts at once, and again this long after its end.
    pub fn new(mirror: Mirror, options: &ExpireOptions, interval: Duration) -> Self {
        let options = ExpireOptions { at_most: Some(VERSIONS), ..options.clone() };
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        Self { mirror, options, interval_ms, next_ms: i64::MIN, steps: None, failed: None }
    }

    /// Runs the next steps, if it is time, and returns their results. A failure of one table is reported, and retried
    /// in the next cycle; after an error, such as that of an unavailable catalog, the next slice continues where this
    /// one stopped.
    pub async fn slice(&mut self) -> Result<Vec<ExpiryStep>> {
        let mut finished = Vec::new();
        if let Some(e) = self.failed.take() {
            return Err(e);
        }
        if self.steps.is_none() && self.mirror.clock.now_ms() < self.next_ms {
            return Ok(finished);
        }
        let steps = self.steps.get_or_insert_with(|| ExpirySteps::new(self.mirror.clone(), self.options.clone()));
        while finished.len() < STEPS {
            match steps.next().await {
                Ok(Some(step)) => finished.push(step),
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
        match self.failed.take_if(|_| finished.is_empty()) {
            Some(e) => Err(e),
            None => Ok(finished),
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
