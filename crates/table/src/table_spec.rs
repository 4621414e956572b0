//! What a new table is, beside its columns.

use std::collections::HashMap;

use deltalakedb_log::action::Add;

use crate::write_options::SaveMode;

/// What a new table is, beside its columns.
#[derive(Clone, Debug, Default)]
pub struct TableSpec {
    /// The columns it is partitioned by.
    pub partition_by: Vec<String>,
    /// Its properties, such as `delta.appendOnly`.
    pub properties: HashMap<String, String>,
    /// Takes properties that Delta does not know.
    pub unknown_properties: bool,
    /// The name in its metadata, which has nothing to do with the catalog's.
    pub name: Option<String>,
    /// What it is about.
    pub description: Option<String>,
    /// The mode in which it is written, as its history tells.
    pub mode: SaveMode,
    /// Data files that are there and become its rows.
    pub files: Vec<Add>,
}

impl TableSpec {
    /// A table of that partitioning and those properties.
    pub fn new(partition_by: &[String], properties: &HashMap<String, String>) -> Self {
        Self { partition_by: partition_by.to_vec(), properties: properties.clone(), ..Self::default() }
    }
}
