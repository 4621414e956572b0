//! The pause before a failed try is repeated: it doubles with each failure, up to a maximum, and has a random part.

use std::time::Duration;

use deltalakedb_log::Clock;

/// The first and the longest pause between two tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBackoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Default for RetryBackoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl RetryBackoff {
    /// The pause after so many failures without a success: between half of the doubled pause and all of it, so that
    /// tables that failed together are not tried again together.
    pub(super) fn pause(self, failures: u32, clock: &dyn Clock) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let longest = doubled.min(self.max);
        let part = f64::from(clock.new_uuid().as_fields().0) / f64::from(u32::MAX);
        longest / 2 + (longest / 2).mul_f64(part)
    }
}

#[cfg(test)]
mod tests {
    use deltalakedb_log::SeededClock;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_are_random() {
        let backoff = RetryBackoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
        let pauses = |seed: u64, failures: u32| {
            let clock = SeededClock::new(0, seed);
            (0..200).map(|_| backoff.pause(failures, &clock)).collect::<Vec<_>>()
        };
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (33, 60), (u32::MAX, 60)] {
            let (least, most) = (Duration::from_millis(longest * 500), Duration::from_secs(longest));
            let all = pauses(1, failures);
            assert!(all.iter().all(|pause| (least..=most).contains(pause)), "{failures}: {all:?}");
            let spread = all.iter().max().unwrap().saturating_sub(*all.iter().min().unwrap());
            assert!(spread > (most - least).mul_f64(0.8), "{failures}: {spread:?}");
        }
        assert_eq!(pauses(1, 3), pauses(1, 3), "the same seed, the same pauses");
        assert_ne!(pauses(1, 3), pauses(2, 3));
    }
}
