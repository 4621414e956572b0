//! The order of the epochs of a catalog.
//!
//! A catalog that was lost and is rebuilt from its mirrors, or that is restored from a backup, gets a new epoch. An
//! epoch is a UUID that begins with its time (version 7 of RFC 9562), so of two epochs of one catalog the later one is
//! known, also to a copy of the catalog that has never seen it: a database that was lost and comes back finds commits of
//! a later epoch in the mirror, and does not continue beside its successor.
//!
//! Earlier versions of this library drew random epochs, which are before every ordered one.

use uuid::Uuid;

use crate::ids::Clock;

/// Draws an epoch that is later than those of `before`.
pub fn new_epoch(clock: &dyn Clock, before: &[Uuid]) -> Uuid {
    let floor = before.iter().filter_map(time_of).max().map_or(0, |ms| ms.saturating_add(1));
    let ms = u64::try_from(clock.now_ms()).unwrap_or(0).max(floor);
    let random = clock.new_uuid().into_bytes();
    let [.., a, b, c, d, e, f, g, h, i, j] = random;
    uuid::Builder::from_unix_timestamp_millis(ms, &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
}

/// Whether an epoch was drawn after another one.
pub fn is_later(epoch: &Uuid, than: &Uuid) -> bool {
    time_of(epoch) > time_of(than)
}

/// The time of an ordered epoch, in milliseconds since 1970.
fn time_of(epoch: &Uuid) -> Option<u64> {
    let [a, b, c, d, e, f, ..] = *epoch.as_bytes();
    (epoch.get_version_num() == 7).then(|| u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SeededClock;

    #[test]
    fn a_new_epoch_is_later_than_every_earlier_one() {
        let clock = SeededClock::new(1_700_000_000_000, 7);
        let random = clock.new_uuid();
        let first = new_epoch(&clock, &[random]);
        assert!(is_later(&first, &random) && !is_later(&random, &first) && !is_later(&random, &random));
        // The clock of this machine is behind that of the one that drew the first epoch.
        let late = SeededClock::new(1_600_000_000_000, 8);
        let second = new_epoch(&late, &[random, first]);
        assert!(is_later(&second, &first) && !is_later(&first, &second) && !is_later(&second, &second));
    }
}
