//! Ids, time and randomness: all of them come from one [`Clock`], so a test can be reproduced from a seed.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::error::TxnLogError;

/// Our own id of a table. The id in a table's metadata does not identify it: it may be any string, and copies share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub Uuid);

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TableId {
    type Err = TxnLogError;
    fn from_str(s: &str) -> Result<Self, TxnLogError> {
        Uuid::parse_str(s)
            .map(Self)
            .map_err(|e| TxnLogError::invalid(format!("{s:?} is not a table id")).with_source(e))
    }
}

/// Identifies a commit when it is sent again: derived from the operation it belongs to and a digest of its actions,
/// because some operations commit several times.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommitId(pub [u8; 32]);

impl CommitId {
    /// The id of the commit of `actions` (as rendered before stamping) by `operation`.
    pub fn new(operation: Uuid, actions: &[u8]) -> Self {
        let mut id = [0; 32];
        id[..16].copy_from_slice(operation.as_bytes());
        id[16..].copy_from_slice(&blake3::hash(actions).as_bytes()[..16]);
        Self(id)
    }
}

impl CommitId {
    /// The id of a commit that another engine wrote and that has a name of its own, such as that of a staged file.
    pub fn of_name(name: &str) -> Self {
        Self(*blake3::hash(name.as_bytes()).as_bytes())
    }

    /// The id for the `txnId` of a commit by any writer; for a commit of a catalog it is the commit's own id.
    pub fn of_txn(txn_id: &str) -> Self {
        txn_id.parse().unwrap_or_else(|_| Self::of_name(&format!("txnId {txn_id}")))
    }
}

impl FromStr for CommitId {
    type Err = TxnLogError;
    /// Parses the 64 hexadecimal digits of `commitInfo.txnId`.
    fn from_str(s: &str) -> Result<Self, TxnLogError> {
        let wrong = || TxnLogError::invalid(format!("{s:?} is not a commit id: expected 64 hexadecimal digits"));
        let (pairs, rest) = s.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(wrong());
        }
        let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(wrong);
        let mut id = [0; 32];
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(id))
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// A table name: `namespace.name`; a name without a namespace is in `default`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The namespace.
    pub namespace: String,
    /// The name within it.
    pub name: String,
}

impl FromStr for TableName {
    type Err = TxnLogError;
    fn from_str(s: &str) -> Result<Self, TxnLogError> {
        let (namespace, name) = s.split_once('.').unwrap_or(("default", s));
        // Names are printed to terminals, which interpret control characters.
        let good = |part: &str| !part.is_empty() && !part.contains(['.', '/']) && !part.contains(char::is_control);
        if good(namespace) && good(name) {
            Ok(Self { namespace: namespace.into(), name: name.into() })
        } else {
            Err(TxnLogError::invalid(format!(
                "{s:?} is not a table name: expected `name` or `namespace.name`, such as `sales.orders`"
            )))
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}

/// The source of time and of new ids.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;
    /// A new id, never returned twice.
    fn new_uuid(&self) -> Uuid;
    /// Waits for this duration.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The machine's clock and random ids.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn new_uuid(&self) -> Uuid {
        Uuid::new_v4()
    }
}

/// A clock for tests: the time advances by 1 ms at every second call, ids are drawn from the seed.
#[derive(Debug)]
pub struct SeededClock(Mutex<(i64, fastrand::Rng)>);

impl SeededClock {
    /// A clock that starts at `start_ms` and draws ids from `seed`.
    pub fn new(start_ms: i64, seed: u64) -> Self {
        Self(Mutex::new((start_ms * 2, fastrand::Rng::with_seed(seed))))
    }

    /// Advances the time.
    pub fn advance(&self, ms: i64) {
        self.with(|(twice, _)| *twice += ms * 2);
    }

    fn with<T>(&self, f: impl FnOnce(&mut (i64, fastrand::Rng)) -> T) -> T {
        f(&mut self.0.lock())
    }
}

impl Clock for SeededClock {
    fn now_ms(&self) -> i64 {
        self.with(|(twice, _)| {
            *twice += 1;
            *twice / 2
        })
    }

    fn new_uuid(&self) -> Uuid {
        self.with(|(_, rng)| uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_in_names_are_refused() {
        for good in ["orders", "sales.orders", "über uns.t", "a\u{a0}b"] {
            assert!(good.parse::<TableName>().is_ok(), "{good:?}");
        }
        for bad in
            ["", ".", "a.", ".b", "a.b.c", "a/b", "a\0", "a\nb", "a\tb", "\u{1b}]0;title\u{7}", "a\u{7f}", "a\u{9b}31m"]
        {
            let error = bad.parse::<TableName>().unwrap_err().to_string();
            assert!(error.contains("is not a table name") && !error.contains(char::is_control), "{error:?}");
        }
    }
}
