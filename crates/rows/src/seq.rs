//! Sequence numbers of row versions: a hybrid logical clock in the layout of Snowflake ids.
//!
//! A [`SeqId`] has 63 bits, so it is a positive BIGINT: 41 bits of milliseconds, 10 bits of the node that assigned it
//! and 12 bits of a counter within the millisecond. Its milliseconds are those of the wall clock as long as that clock
//! advances. When it does not, or when a millisecond has no free counter, the [`SeqClock`] advances by itself.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use deltalakedb_log::{Clock, Result, TxnLogError};

const COUNTER_BITS: u32 = 12;
const NODE_BITS: u32 = 10;
const MILLISECOND_BITS: u32 = 41;
/// The bits of a tick: milliseconds and counter.
const TICK_BITS: u32 = MILLISECOND_BITS + COUNTER_BITS;

/// Milliseconds from 1970 to 2024-01-01T00:00:00Z, where the milliseconds of a [`SeqId`] begin. They end in September
/// 2093.
const EPOCH_MS: i64 = 1_704_067_200_000;

/// The `_seq` of a row version: unique, and in the order of commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqId(u64);

impl SeqId {
    /// Less than every assigned number.
    pub const ZERO: Self = Self(0);
    /// No number is greater.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The number as a BIGINT.
    pub fn as_i64(self) -> i64 {
        self.0.cast_signed()
    }

    /// When it was assigned, in milliseconds since 1970: the time of the wall clock, or later.
    pub fn timestamp_ms(self) -> i64 {
        EPOCH_MS + (self.0 >> (NODE_BITS + COUNTER_BITS)).cast_signed()
    }

    /// The node that assigned it.
    pub fn node(self) -> u16 {
        (self.0 >> COUNTER_BITS & low_bits(NODE_BITS)) as u16
    }

    /// Its place among the numbers of its node in the same millisecond.
    pub fn counter(self) -> u16 {
        (self.0 & low_bits(COUNTER_BITS)) as u16
    }

    fn from_tick(tick: u64, node: u16) -> Self {
        let milliseconds = tick >> COUNTER_BITS;
        let counter = tick & low_bits(COUNTER_BITS);
        Self(milliseconds << (NODE_BITS + COUNTER_BITS) | u64::from(node) << COUNTER_BITS | counter)
    }

    /// Milliseconds and counter, without the node.
    fn tick(self) -> u64 {
        self.0 >> (NODE_BITS + COUNTER_BITS) << COUNTER_BITS | self.0 & low_bits(COUNTER_BITS)
    }
}

fn low_bits(count: u32) -> u64 {
    (1 << count) - 1
}

impl TryFrom<i64> for SeqId {
    type Error = TxnLogError;
    fn try_from(seq: i64) -> Result<Self> {
        u64::try_from(seq)
            .map(Self)
            .map_err(|_| TxnLogError::invalid(format!("{seq} is not a sequence number: expected 0 or more")))
    }
}

impl fmt::Display for SeqId {
    /// The decimal number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SeqId {
    type Err = TxnLogError;
    /// Parses the decimal number.
    fn from_str(text: &str) -> Result<Self> {
        let number = text.parse::<i64>().map_err(|e| {
            TxnLogError::invalid(format!("{text:?} is not a sequence number: expected a decimal number")).with_source(e)
        })?;
        Self::try_from(number)
    }
}

/// Assigns [`SeqId`]s, each greater than every earlier one, from any number of threads.
///
/// It follows the wall clock, and when that stands still or is set back it continues from the last number: it neither
/// waits nor fails. Numbers are not persisted here. A process that starts again must pass a persisted number that is
/// not less than any number it used before, such as the [`SeqClock::high_water`] written with each commit.
#[derive(Debug)]
pub struct SeqClock {
    clock: Arc<dyn Clock>,
    node: u16,
    resumed_above: SeqId,
    /// The last assigned tick.
    last: AtomicU64,
}

impl SeqClock {
    /// The number of nodes: a node is less.
    pub const NODES: u16 = 1 << NODE_BITS;

    /// A clock for `node` that assigns numbers above `high_water`; [`SeqId::ZERO`] if there were none. The high water
    /// mark may be that of another node.
    ///
    /// Fails if `node` has more than 10 bits.
    pub fn resume_above(high_water: SeqId, node: u16, clock: Arc<dyn Clock>) -> Result<Self> {
        if node >= Self::NODES {
            let last = Self::NODES - 1;
            return Err(TxnLogError::invalid(format!("{node} is not a node id: expected a number from 0 to {last}")));
        }
        // In the millisecond of the mark, a smaller node would assign smaller numbers: it begins in the next one.
        let tick = high_water.tick();
        let last = if node < high_water.node() { tick | low_bits(COUNTER_BITS) } else { tick };
        Ok(Self { clock, node, resumed_above: high_water, last: AtomicU64::new(last) })
    }

    /// Assigns the next number.
    ///
    /// Fails if the milliseconds have no more bits, which means that the wall clock is past September 2093. Nothing is
    /// assigned then, so that it works again once the wall clock is corrected.
    pub fn next_seq(&self) -> Result<SeqId> {
        let wall = u64::try_from(self.clock.now_ms().saturating_sub(EPOCH_MS)).unwrap_or(0);
        // A wall clock beyond the bits gives a tick beyond them.
        let wall = wall.min(1 << MILLISECOND_BITS) << COUNTER_BITS;
        let mut next = 0;
        let advanced = self.last.try_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            next = wall.max(last + 1);
            (next >> TICK_BITS == 0).then_some(next)
        });
        match advanced {
            Ok(_) => Ok(SeqId::from_tick(next, self.node)),
            Err(_) => Err(TxnLogError::invalid(
                "no sequence number is left, because its milliseconds end in September 2093: correct the clock of \
                 this machine",
            )),
        }
    }

    /// The number to persist: not less than any that this clock assigned, nor than the one it resumed above.
    pub fn high_water(&self) -> SeqId {
        SeqId::from_tick(self.last.load(Ordering::Relaxed), self.node).max(self.resumed_above)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use uuid::Uuid;

    use super::*;

    /// A wall clock that shows what a test sets.
    #[derive(Debug)]
    struct SetClock(AtomicI64);

    impl SetClock {
        fn set(&self, ms: i64) {
            self.0.store(ms, Ordering::Relaxed);
        }
    }

    impl Clock for SetClock {
        fn now_ms(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }

        fn new_uuid(&self) -> Uuid {
            Uuid::nil()
        }
    }

    /// A Monday in 2026.
    const NOW: i64 = 1_795_996_800_000;

    fn resumed(high_water: SeqId, node: u16, now_ms: i64) -> (Arc<SetClock>, SeqClock) {
        let wall = Arc::new(SetClock(AtomicI64::new(now_ms)));
        let clock = SeqClock::resume_above(high_water, node, Arc::clone(&wall) as _).unwrap();
        (wall, clock)
    }

    #[test]
    fn a_number_holds_time_node_and_counter() {
        let (wall, clock) = resumed(SeqId::ZERO, 1023, NOW);
        let parts = |seq: SeqId| (seq.timestamp_ms(), seq.node(), seq.counter());
        assert_eq!(parts(clock.next_seq().unwrap()), (NOW, 1023, 0));
        assert_eq!(parts(clock.next_seq().unwrap()), (NOW, 1023, 1));
        wall.set(NOW + 7);
        let seq = clock.next_seq().unwrap();
        assert_eq!(parts(seq), (NOW + 7, 1023, 0));
        // 41, 10 and 12 bits, from the left.
        assert_eq!(seq.as_i64(), (NOW + 7 - 1_704_067_200_000) << 22 | 1023 << 12);
        assert_eq!(parts(SeqId::MAX), (3_903_090_455_551, 1023, 4095));
    }

    #[test]
    fn a_number_is_written_as_its_decimal_number() {
        let check = |text: &str, want: Option<i64>| assert_eq!(text.parse().ok().map(SeqId::as_i64), want, "{text:?}");
        check("0", Some(0));
        check("385534201389367296", Some(385_534_201_389_367_296));
        check("9223372036854775807", Some(i64::MAX));
        for wrong in ["", "-1", "9223372036854775808", "1.0", "0x1", " 1"] {
            check(wrong, None);
        }
        assert_eq!(SeqId::MAX.to_string(), "9223372036854775807");
        assert!(SeqId::try_from(-1).is_err());
    }

    #[test]
    fn a_wall_clock_that_stands_still_stops_nothing() {
        let (_, clock) = resumed(SeqId::ZERO, 5, NOW);
        let mut last = SeqId::ZERO;
        for n in 0..3 * 4096 + 1 {
            let seq = clock.next_seq().unwrap();
            assert!(seq > last, "{seq} after {last}");
            assert_eq!((seq.timestamp_ms(), i64::from(seq.counter())), (NOW + n / 4096, n % 4096));
            last = seq;
        }
    }

    #[test]
    fn numbers_increase_when_the_wall_clock_is_set_back_or_jumps() {
        let (wall, clock) = resumed(SeqId::ZERO, 5, NOW);
        let mut last = SeqId::ZERO;
        const HOUR: i64 = 3_600_000;
        // Before 2024, before 1970, and the limits of the type as well.
        for ms in [0, -1, -51, -HOUR, -24 * 365 * HOUR, -NOW, -2 * NOW, 1, HOUR, 24 * 365 * HOUR, 0, i64::MIN] {
            wall.set(NOW + ms);
            for _ in 0..10 {
                let seq = clock.next_seq().unwrap();
                assert!(seq > last, "{seq} after {last}, with the wall clock off by {ms} ms");
                assert!(seq.timestamp_ms() >= NOW + ms, "{seq} is before {ms} ms");
                last = seq;
            }
        }
        assert_eq!(last.timestamp_ms(), NOW + 24 * 365 * HOUR, "the time is the maximum shown");
    }

    #[test]
    fn numbers_after_a_restart_are_above_the_high_water_mark() {
        for (node, next_node) in [(5, 5), (5, 6), (6, 5), (0, 1023), (1023, 0)] {
            let (_, clock) = resumed(SeqId::ZERO, node, NOW);
            let mut last = SeqId::ZERO;
            for _ in 0..5000 {
                last = clock.next_seq().unwrap();
            }
            let high_water = clock.high_water();
            assert_eq!(high_water, last);
            for ms in [0, 1, -3_600_000, 3_600_000] {
                let (_, clock) = resumed(high_water, next_node, NOW + ms);
                assert!(clock.high_water() >= high_water, "nodes {node} and {next_node}");
                let next = clock.next_seq().unwrap();
                assert!(next > high_water, "{next} after {high_water}, nodes {node} and {next_node}, {ms} ms");
                assert_eq!(clock.high_water(), next);
            }
        }
    }

    #[test]
    fn numbers_beyond_the_bits_are_an_error_until_the_clock_is_corrected() {
        let (wall, clock) = resumed(SeqId::ZERO, 5, NOW);
        clock.next_seq().unwrap();
        for ms in [3_903_090_455_552, i64::MAX] {
            wall.set(ms);
            let error = clock.next_seq().unwrap_err().to_string();
            assert!(error.contains("correct the clock"), "{error}");
        }
        wall.set(NOW + 1);
        assert_eq!(clock.next_seq().unwrap().timestamp_ms(), NOW + 1);

        wall.set(3_903_090_455_551);
        for counter in 0..4096 {
            assert_eq!(clock.next_seq().unwrap().counter(), counter);
        }
        assert!(clock.next_seq().is_err());
        for node in [5, 1023] {
            let (_, clock) = resumed(SeqId::MAX, node, NOW);
            assert!(clock.next_seq().is_err());
            assert_eq!(clock.high_water(), SeqId::MAX);
        }
    }

    #[test]
    fn a_node_has_ten_bits() {
        let clock = |node| SeqClock::resume_above(SeqId::ZERO, node, Arc::new(deltalakedb_log::SystemClock));
        assert!(clock(1023).is_ok());
        assert_eq!(clock(1024).unwrap_err().to_string(), "1024 is not a node id: expected a number from 0 to 1023");
    }

    #[test]
    fn many_threads_never_get_the_same_number() {
        let (wall, clock) = resumed(SeqId::ZERO, 5, NOW);
        let each: Vec<Vec<SeqId>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|thread| {
                    let (wall, clock) = (&wall, &clock);
                    scope.spawn(move || {
                        let mut numbers = Vec::new();
                        for n in 0..20_000 {
                            wall.set(NOW + (n * 7 + thread) % 13);
                            numbers.push(clock.next_seq().unwrap());
                        }
                        numbers
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for numbers in &each {
            assert!(numbers.is_sorted_by(|a, b| a < b), "each thread sees increasing numbers");
        }
        let mut all: Vec<_> = each.concat();
        all.sort();
        let count = all.len();
        all.dedup();
        assert_eq!((count, all.len()), (160_000, 160_000));
    }
}
