//! The properties of a new table other than its columns.

use std::collections::HashMap;

use deltalakedb_log::action::Add;

use crate::write_options::SaveMode;

/// The properties of a new table other than its columns.
#[derive(Clone, Debug, Default)]
pub struct TableSpec {
    /// The partition columns.
    pub partition_by: Vec<String>,
    /// Its properties, such as `delta.appendOnly`.
    pub properties: HashMap<String, String>,
    /// Accepts properties unknown to Delta and this library.
    pub unknown_properties: bool,
    /// Features of its protocol, such as `domainMetadata`, in addition to those that its columns and properties need.
    pub features: Vec<String>,
    /// The name in its metadata, which is independent of the catalog's.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The mode of its first write, for its history.
    pub mode: SaveMode,
    /// Existing data files with its rows.
    pub files: Vec<Add>,
}

impl TableSpec {
    /// A table with these partition columns and properties.
    pub fn new(partition_by: &[String], properties: &HashMap<String, String>) -> Self {
        Self { partition_by: partition_by.to_vec(), properties: properties.clone(), ..Self::default() }
    }
}
