//! The tables of the schema that have rows of a table, with their columns.

use crate::bounds::{self, SLOT_COLUMNS};
use crate::codec::{self, METADATA_COLUMNS, PROTOCOL_COLUMNS};
use crate::holds::HOLD_COLUMNS;
use crate::mirror::{FAILURE_COLUMNS, MIRROR_COLUMNS};
use crate::references::REFERENCE_COLUMNS;
use crate::version_rows::{BODY_COLUMNS, VERSION_COLUMNS, remove_file_columns};

pub(crate) const FILES: &str = "dl_add_files";
/// The tables whose rows belong to a table and not to its versions.
pub(crate) const OF_TABLE: [(&str, &[&str]); 5] = [
    ("dl_bounds", &SLOT_COLUMNS),
    ("dl_mirrors", &MIRROR_COLUMNS),
    ("dl_mirror_failures", &FAILURE_COLUMNS),
    ("dl_holds", &HOLD_COLUMNS),
    ("dl_references", &REFERENCE_COLUMNS),
];

/// The tables whose rows belong to a version and never change, except for the removal of files.
pub(crate) fn of_versions() -> Vec<(&'static str, Vec<&'static str>)> {
    let with = |first: &[&'static str], more: &[&'static str]| [first, more].concat();
    let own = ["table_id", "version"];
    vec![
        (FILES, with(&["table_id", "version", "removed_version"], &codec::file_columns(&bounds::COLUMNS))),
        ("dl_table_versions", VERSION_COLUMNS.to_vec()),
        ("dl_commit_bodies", BODY_COLUMNS.to_vec()),
        ("dl_commit_ids", vec!["table_id", "version", "commit_id", "committed_at"]),
        ("dl_remove_files", with(&own, &remove_file_columns())),
        ("dl_metadata_updates", with(&own, &METADATA_COLUMNS)),
        ("dl_protocol_updates", with(&own, &PROTOCOL_COLUMNS)),
        ("dl_txn_actions", with(&own, &codec::TXN_COLUMNS)),
        ("dl_domain_metadata", with(&own, &codec::DOMAIN_COLUMNS)),
        ("dl_cdc_files", with(&own, &codec::CDC_COLUMNS)),
    ]
}

/// Every table of the schema that has rows of a table, `dl_tables` last.
pub(crate) fn tables_of_a_table() -> impl Iterator<Item = &'static str> {
    let of_versions = of_versions().into_iter().map(|(table, _)| table);
    of_versions.chain(OF_TABLE.map(|(table, _)| table)).chain(["dl_tables"])
}
