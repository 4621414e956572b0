//! Versions with times ahead of the catalog's clock.

use crate::action::Version;
use crate::error::{Result, TxnLogError};
use crate::ids::TableName;
use crate::time::format_ms;

/// How far the time of a version may be ahead of the catalog's clock, in milliseconds. The clocks of machines that
/// share a catalog may differ this much.
pub const MARGIN_MS: i64 = 5_000;

/// Whether a time is ahead of the catalog's clock by more than [`MARGIN_MS`].
pub fn is_ahead(time_ms: i64, now_ms: i64) -> bool {
    time_ms > now_ms.saturating_add(MARGIN_MS)
}

/// The first version of a table whose time [is ahead](is_ahead) of the catalog's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeLeap {
    /// The version.
    pub version: Version,
    /// Its time, in milliseconds since 1970.
    pub timestamp: i64,
    /// The time of the catalog's clock when this was detected, in milliseconds since 1970.
    pub now_ms: i64,
}

impl TimeLeap {
    /// The warning for a writer that commits to the table.
    pub fn warning(&self, table: &str) -> String {
        format!(
            "version {} of {table} has the time {}, and the catalog's clock says {}: until the clock is past it, every \
             version of {table} gets a time after that one, and `TIMESTAMP AS OF` an earlier time does not show it",
            self.version,
            format_ms(self.timestamp),
            format_ms(self.now_ms)
        )
    }
}

/// How a load treats history whose times are [ahead](is_ahead) of the catalog's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FutureTimes {
    /// It is rejected: every later version would also get a time in the future.
    #[default]
    Refuse,
    /// It is loaded unchanged.
    Accept,
}

impl FutureTimes {
    /// Rejects a version whose time is ahead of the catalog's clock, unless such times are accepted. A version 1 ms
    /// after the previous one is accepted: log files that were copied at the same time have equal modification times,
    /// which are made distinct by 1 ms steps.
    pub fn check(
        self,
        table: &TableName,
        version: Version,
        before: Option<i64>,
        time_ms: i64,
        now_ms: i64,
    ) -> Result<()> {
        let leaps = before.is_none_or(|before| time_ms > before.saturating_add(1));
        if self == Self::Accept || !is_ahead(time_ms, now_ms) || !leaps {
            return Ok(());
        }
        Err(TxnLogError::invalid(format!(
            "version {version} of {table} has the time {}, and the catalog's clock says {}: every later version would be \
             in the future, too; check the clock, or accept such times with import.future_times=accept",
            format_ms(time_ms),
            format_ms(now_ms)
        )))
    }
}
