//! Transactions over several tables: the checks of their requests, and whether they are committed already.

use super::outcome::{Committed, Outcome};
use super::request::{Base, CommitRequest, Content};
use crate::action::Version;
use crate::error::{Result, TxnLogError};
use crate::ids::{TableId, TableName};

/// Rejects a transaction that is empty, names a table twice, or creates a table inside the folder of another.
pub fn check_group(requests: &[CommitRequest]) -> Result<()> {
    if requests.is_empty() {
        return Err(TxnLogError::invalid("the transaction has no commit in it"));
    }
    for request in requests.iter().filter(|r| matches!(r.content, Content::Verbatim(_))) {
        request.base.next()?;
        if requests.len() > 1 {
            return Err(TxnLogError::invalid(format!(
                "the commit to {} is verbatim and cannot say that it belongs to a transaction: commit it alone",
                request.table
            )));
        }
    }
    let new = requests.iter().filter_map(|r| match &r.base {
        Base::Create(new) => Some((new.location.key(), new)),
        _ => None,
    });
    let mut new: Vec<_> = new.collect();
    new.sort_by(|(a, _), (b, _)| a.cmp(b));
    // Locations are sorted, so a location inside a folder directly follows the folder.
    for pair in new.windows(2) {
        let (outer, inner) = (pair[0].1, pair[1].1);
        if pair[0].0 != pair[1].0 {
            inner.location.check_no_overlap(&outer.name, &outer.location)?;
        }
    }
    let mut ids: Vec<_> = requests.iter().map(|r| r.table).collect();
    ids.sort();
    match ids.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => {
            Err(TxnLogError::invalid(format!("the transaction has two commits for the table {}: merge them", w[0])))
        }
        None => Ok(()),
    }
}

/// The outcome of requests of which `known` are committed already: all of them, or `None`.
pub fn already_committed(requests: &[CommitRequest], known: Vec<Committed>) -> Result<Option<Outcome>> {
    let all = requests.iter().filter(|r| r.writes()).count();
    match known.len() {
        0 => Ok(None),
        n if n == all => Ok(Some(Outcome::Committed(known))),
        n => Err(TxnLogError::invalid(format!(
            "{n} of the transaction's {all} commits are committed already, in another transaction: make new ones"
        ))),
    }
}

/// The error of a load that would take the part of one table in a transaction without that of another.
pub fn incomplete_transaction(name: &TableName, version: Version, other: &TableName) -> TxnLogError {
    TxnLogError::invalid(format!(
        "version {version} of {name} belongs to a transaction that changed {other} as well, and neither the catalog nor \
         the _delta_log of {other} has its part there: publish {other} from where it was committed, or move version \
         {version} and those after it out of the _delta_log of {name}"
    ))
}

/// The error when the load to be abandoned does not exist.
pub fn no_unfinished_load(table: TableId) -> TxnLogError {
    TxnLogError::not_found(format!("there is no unfinished import of a table with the id {table}"))
}
