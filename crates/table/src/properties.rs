//! Table properties that are read here and not by delta-rs, and the checks of those that delta-rs does not check.

use std::collections::HashMap;

use deltalakedb_log::action::Metadata;
use deltalakedb_log::retention::{VERSIONS_PROPERTY, parse_versions};
use deltalakedb_log::{Result, TxnLogError};

/// The names of all properties of this library begin with it.
const OWN: &str = "deltalakedb.";

/// The names of the properties that the owner of a table keeps in it begin with it. Only the owner knows them.
const OF_OWNERS: &str = "deltalakedb.rows.";

/// The property that names the columns whose bounds select files.
const PLANNING_COLUMNS: &str = "deltalakedb.planning.columns";

/// The property that says of which share of hidden rows a file is rewritten.
const MAX_HIDDEN_SHARE: &str = "deltalakedb.deletionVectors.maxShare";

const DEFAULT_MAX_HIDDEN_SHARE: f64 = 0.3;

/// Properties that are `true` or `false`, of which delta-rs says that only `true` is valid.
const SWITCHES: &[&str] = &["delta.enableDeletionVectors", "delta.enableChangeDataFeed"];

/// Whether a property is one of this library, which delta-rs does not know.
pub(crate) fn is_own(property: &str) -> bool {
    property.starts_with(OWN)
}

/// An error for a property that is to be set and could not be read later, and for an unknown one of this library unless
/// unknown ones are accepted.
pub(crate) fn check(properties: &HashMap<String, String>, accepts_unknown: bool) -> Result<()> {
    for (key, value) in properties {
        match key.as_str() {
            MAX_HIDDEN_SHARE => _ = parse_share(value)?,
            VERSIONS_PROPERTY => _ = parse_versions(value)?,
            PLANNING_COLUMNS => {}
            switch if SWITCHES.contains(&switch) && !is_true_or_false(value) => {
                return Err(TxnLogError::invalid(format!(
                    "invalid property {key}: {value:?} is neither true nor false"
                )));
            }
            own if is_own(own) && !own.starts_with(OF_OWNERS) && !accepts_unknown => {
                return Err(TxnLogError::invalid(format!(
                    "{key:?} is not a property: expected {PLANNING_COLUMNS}, {VERSIONS_PROPERTY} or {MAX_HIDDEN_SHARE}"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_true_or_false(value: &str) -> bool {
    ["true", "false"].iter().any(|valid| value.eq_ignore_ascii_case(valid))
}

/// The share of hidden rows above which a file of the table is rewritten.
pub(crate) fn max_hidden_share(metadata: &Metadata) -> Result<f64> {
    metadata.property(MAX_HIDDEN_SHARE).map_or(Ok(DEFAULT_MAX_HIDDEN_SHARE), parse_share)
}

fn parse_share(text: &str) -> Result<f64> {
    text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| {
        TxnLogError::invalid(format!("invalid property {MAX_HIDDEN_SHARE}: {text:?} is not a number from 0 to 1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_that_cannot_be_read_are_refused() {
        let check = |key: &str, value: &str, accepts_unknown: bool, refused: Option<&str>| {
            let checked = check(&HashMap::from([(key.to_string(), value.to_string())]), accepts_unknown);
            let message = checked.err().map(|e| e.to_string());
            match refused {
                None => assert_eq!(message, None, "{key}={value}"),
                Some(says) => assert!(message.as_ref().is_some_and(|m| m.contains(says)), "{key}={value}: {message:?}"),
            }
        };
        for share in ["0", "1", " 0.5 "] {
            check(MAX_HIDDEN_SHARE, share, false, None);
        }
        for share in ["abc", "30 %", "-0.1", "1.1", "NaN", ""] {
            check(MAX_HIDDEN_SHARE, share, true, Some("is not a number from 0 to 1"));
        }
        check(VERSIONS_PROPERTY, "3", false, None);
        check(VERSIONS_PROPERTY, "0", false, Some("a number of versions, 1 or more"));
        check(PLANNING_COLUMNS, "id, at", false, None);
        check("deltalakedb.rows.kind", "shared", false, None);
        let typo = "deltalakedb.deletionVectors.maxshare";
        check(typo, "0.5", false, Some("\"deltalakedb.deletionVectors.maxshare\" is not a property: expected "));
        check(typo, "0.5", true, None);
        for switch in SWITCHES {
            check(switch, "TRUE", false, None);
            check(switch, "false", false, None);
            check(switch, "maybe", true, Some("\"maybe\" is neither true nor false"));
        }
        check("delta.appendOnly", "maybe", false, None);
    }
}
