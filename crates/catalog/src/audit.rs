//! The audit: who did what to which table, and when.

use deltalakedb_log::{TableId, Version};

use crate::codec::int;
use crate::database::{Value, WriteStatement};
use crate::sql_catalog::SqlCatalog;

pub(crate) const AUDIT_COLUMNS: [&str; 10] =
    ["audit_id", "\"at\"", "committer", "action", "table_id", "version", "host", "process", "client", "outcome"];

/// An audit entry: what was done to a table, or to the catalog.
pub(crate) fn audit(
    catalog: &SqlCatalog,
    at: i64,
    committer: Option<&str>,
    action: &str,
    table: impl Into<Option<TableId>>,
    version: Option<Version>,
) -> WriteStatement {
    let row = vec![
        catalog.clock.new_uuid().into(),
        at.into(),
        committer.into(),
        action.into(),
        table.into().map_or(Value::Null, |table| table.0.into()),
        version.map_or(Value::Null, int),
        catalog.origin.host.as_str().into(),
        catalog.origin.process.into(),
        catalog.origin.client.as_str().into(),
        "committed".into(),
    ];
    WriteStatement::insert("dl_audit", &AUDIT_COLUMNS, vec![row])
}
