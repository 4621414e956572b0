//! Owners: tables that only one program may commit to.
//!
//! A program that has data of a table outside its log, such as rows that are not in files yet, would have wrong data if
//! another program changed the table. Such a program owns the table: the catalog rejects commits that do not name the
//! owner.

use std::fmt;
use std::str::FromStr;

use crate::error::{Result, Subject, TxnLogError};
use crate::ids::TableName;

/// The maximum number of characters in an owner.
const MAX_CHARS: usize = 256;
/// The prefix of the row engine's owner, before the folder of its data.
const ROWS: &str = "rows:";

/// The only program that may commit to a table. The row engine of a folder is `rows:FOLDER`; others use their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOwner(String);

impl TableOwner {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the owner is, and how one of its tables is changed.
    fn description_and_advice(&self) -> (String, String) {
        match self.0.strip_prefix(ROWS) {
            Some(folder) => (format!("the row engine of {folder}"), format!("use `dl sql --data {folder}`")),
            None => (self.0.clone(), format!("change it through {}", self.0)),
        }
    }
}

impl FromStr for TableOwner {
    type Err = TxnLogError;

    fn from_str(text: &str) -> Result<Self> {
        // Owners are printed to terminals, which interpret control characters.
        let is_good = !text.trim().is_empty() && text.chars().count() <= MAX_CHARS && !text.contains(char::is_control);
        if is_good {
            Ok(Self(text.into()))
        } else {
            Err(TxnLogError::invalid(format!(
                "{text:?} is not the owner of a table: expected a name of up to {MAX_CHARS} characters, such as rows:/data"
            )))
        }
    }
}

impl fmt::Display for TableOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The program that changes a table, and the owner in whose name it does so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committer {
    /// Its name in history and audit.
    pub name: Option<String>,
    /// The owner in whose name it is done; `None` for tables without an owner.
    pub owner: Option<TableOwner>,
}

impl Committer {
    /// A committer of tables without an owner.
    pub fn named(name: &str) -> Self {
        Self { name: Some(name.into()), owner: None }
    }

    /// Rejects a change that is not in the name of the table's owner.
    pub fn check(&self, table: &TableName, owner: Option<&TableOwner>) -> Result<()> {
        check_owner(table, owner, self.owner.as_ref())
    }
}

/// Rejects a writer that is not the table's owner.
pub fn check_owner(table: &TableName, owner: Option<&TableOwner>, who: Option<&TableOwner>) -> Result<()> {
    let message = match (owner, who) {
        (owner, who) if owner == who => return Ok(()),
        (Some(owner), _) => {
            let (what, instead) = owner.description_and_advice();
            format!("{table} is owned by {what}, which alone may commit to it: {instead}")
        }
        (None, who) => {
            let who = who.map(TableOwner::description_and_advice).unwrap_or_default().0;
            format!("{table} is not owned by {who}: it has no owner, and nothing was committed")
        }
    };
    Err(TxnLogError::invalid(message).about(Subject::Commit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_owner_and_what_to_use() {
        let table: TableName = "app.notes".parse().unwrap();
        let owner = |text: &str| text.parse::<TableOwner>().unwrap();
        let check = |of: &str, by: Option<&str>, says: &str| {
            let by = by.map(owner);
            assert_eq!(check_owner(&table, Some(&owner(of)), by.as_ref()).unwrap_err().to_string(), says);
        };
        let rows =
            "app.notes is owned by the row engine of /data, which alone may commit to it: use `dl sql --data /data`";
        check("rows:/data", None, rows);
        check("rows:/data", Some("rows:/other"), rows);
        check(
            "the ledger",
            None,
            "app.notes is owned by the ledger, which alone may commit to it: change it through the ledger",
        );
        assert!(check_owner(&table, Some(&owner("a")), Some(&owner("a"))).is_ok());
        assert!(check_owner(&table, None, None).is_ok());
        let stolen = check_owner(&table, None, Some(&owner("rows:/data"))).unwrap_err().to_string();
        assert!(stolen.contains("app.notes is not owned by the row engine of /data"), "{stolen}");
    }

    #[test]
    fn names_of_owners_are_validated() {
        for bad in ["", " ", "a\nb", "\u{1b}]0;x\u{7}", &"x".repeat(257)] {
            let error = bad.parse::<TableOwner>().unwrap_err().to_string();
            assert!(error.contains("is not the owner") && !error.contains(char::is_control), "{error:?}");
        }
    }
}
