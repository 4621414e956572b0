//! Resolves a version for time travel, with errors for versions that are not retained.

use crate::action::Version;
use crate::error::{Result, Subject, TxnLogError};
use crate::ids::TableName;
use crate::snapshot::At;
use crate::time::format_ms;

/// The version that `at` selects, given the oldest and newest retained version (with their times) and a lookup of the
/// newest version at or before a time.
pub fn resolve(
    name: &str,
    at: At,
    oldest: Option<(Version, i64)>,
    newest: Option<(Version, i64)>,
    at_or_before: impl FnOnce(i64) -> Option<Version>,
) -> Result<Version> {
    let (Some((base, base_time)), Some((head, _))) = (oldest, newest) else {
        return Err(TxnLogError::not_found(format!("{name} has no versions")).about(Subject::Version));
    };
    match at {
        At::Latest => Ok(head),
        At::Version(v) if v > head => {
            let message = format!("{name} has no version {v}: its newest is {head}");
            Err(TxnLogError::not_found(message).about(Subject::Version))
        }
        At::Version(v) if v < base => Err(below_base(name, &format!("version {v}"), base)),
        At::Version(v) => Ok(v),
        At::Timestamp(ms) if ms < base_time => Err(below_base(name, &format!("state of {}", format_ms(ms)), base)),
        At::Timestamp(ms) => at_or_before(ms).ok_or_else(|| below_base(name, "state of that time", base)),
    }
}

/// The error when the commit of a version is requested that is retained without its bytes.
pub fn bytes_not_retained(table: &str, version: Version) -> TxnLogError {
    let message = format!(
        "the changes of version {version} of {table} are not retained, only their result: begin at {}",
        version.saturating_add(1)
    );
    TxnLogError::not_found(message).about(Subject::Version)
}

fn below_base(name: &str, what: &str, base: Version) -> TxnLogError {
    let message = format!("{name} has no {what}: the oldest version that is retained is {base}");
    TxnLogError::not_found(message).about(Subject::Version)
}

/// The error of a request with a base so old that not all commits after it are retained.
pub fn base_not_retained(table: &TableName, base: Version) -> TxnLogError {
    TxnLogError::invalid(format!(
        "the commit builds on version {base} of {table}, and not all commits since are retained: read the table again"
    ))
}
