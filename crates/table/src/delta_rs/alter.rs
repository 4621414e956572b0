//! Changes of what a table is, not of its rows.

use std::collections::HashMap;

use deltalake_core::DeltaTable;
use deltalake_core::kernel::{MetadataValue, TableFeatures};
use deltalake_core::operations::update_table_metadata::TableMetadataUpdate;
use deltalake_core::table::config::TableProperty;
use deltalakedb_log::{Result, TxnLogError};
use serde_json::Value;

use super::operations::state;
use super::{Columns, FullTable, StagedCommit, TableSchema, VirtualTable};
use crate::properties;

/// A change of a table's metadata, not of its rows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Alter {
    /// Adds columns, which are null in every existing row.
    AddColumns(TableSchema),
    /// Adds the columns that do not exist, and the missing fields of existing structs.
    MergeColumns(TableSchema),
    /// Sets properties, such as `delta.enableChangeDataFeed`.
    SetProperties {
        /// Their values by name.
        properties: HashMap<String, String>,
        /// Also accepts properties unknown to Delta and this library.
        unknown: bool,
    },
    /// Drops a constraint.
    DropConstraint {
        /// Its name.
        name: String,
        /// Does nothing if it does not exist.
        if_exists: bool,
    },
    /// Adds features to the table's protocol.
    AddFeatures {
        /// Their names in the protocol.
        names: Vec<String>,
        /// Raises the protocol's versions to those with table features.
        raise_versions: bool,
    },
    /// Sets entries of a column's metadata.
    SetColumnMetadata {
        /// The column.
        column: String,
        /// The entries.
        metadata: HashMap<String, String>,
    },
    /// Makes a column nullable.
    DropNotNull {
        /// The column.
        column: String,
    },
    /// Sets the table's description.
    SetDescription {
        /// The name in its metadata, which is independent of the catalog's.
        name: Option<String>,
        /// The description.
        description: Option<String>,
    },
}

impl VirtualTable {
    /// Applies changes that do not depend on rows.
    pub(crate) async fn alter(self, alter: Alter) -> Result<StagedCommit> {
        let table = self.delta_table();
        let (none, commit) = (|_: DeltaTable| Value::Null, self.commit_properties());
        match alter {
            Alter::AddColumns(columns) | Alter::MergeColumns(columns) => {
                let add = table.add_columns().with_fields(columns.fields()).with_commit_properties(commit);
                self.capture("the columns cannot be added", add, none).await
            }
            Alter::SetProperties { properties, unknown } => {
                properties::check(&properties, unknown)?;
                let (ours, others): (Vec<_>, Vec<_>) = properties.keys().partition(|key| properties::is_own(key));
                // delta-rs validates either all properties or none.
                let unknown = match others.into_iter().find(|key| key.parse::<TableProperty>().is_err()) {
                    Some(key) if !ours.is_empty() && !unknown => {
                        return Err(TxnLogError::invalid(format!("{key:?} is not a property of Delta")));
                    }
                    _ => unknown || !ours.is_empty(),
                };
                let set = table
                    .set_tbl_properties()
                    .with_properties(properties)
                    .with_raise_if_not_exists(!unknown)
                    .with_commit_properties(commit);
                self.capture("the properties cannot be set", set, none).await
            }
            Alter::DropConstraint { name, if_exists } => {
                let drop = table
                    .drop_constraints()
                    .with_constraint(name)
                    .with_raise_if_not_exists(!if_exists)
                    .with_commit_properties(commit);
                self.capture("the constraint cannot be dropped", drop, none).await
            }
            Alter::AddFeatures { names, raise_versions } => {
                let known = |name: &String| match name.parse::<TableFeatures>() {
                    Ok(feature) => Ok(feature),
                    Err(_) => Err(TxnLogError::invalid(format!("{name:?} is not a known table feature"))),
                };
                let add = table
                    .add_feature()
                    .with_features(names.iter().map(known).collect::<Result<Vec<_>>>()?)
                    .with_allow_protocol_versions_increase(raise_versions)
                    .with_commit_properties(commit);
                self.capture("the features cannot be added", add, none).await
            }
            Alter::SetColumnMetadata { column, metadata } => {
                let metadata = metadata.into_iter().map(|(key, value)| (key, MetadataValue::String(value))).collect();
                let update = table
                    .update_field_metadata()
                    .with_field_name(&column)
                    .with_metadata(metadata)
                    .with_commit_properties(commit);
                self.capture("the column's metadata cannot be changed", update, none).await
            }
            Alter::DropNotNull { column } => {
                let drop = table.drop_column_not_null().with_column(column).with_commit_properties(commit);
                self.capture("the column cannot be made nullable", drop, none).await
            }
            Alter::SetDescription { name, description } => {
                let update = table
                    .update_table_metadata()
                    .with_update(TableMetadataUpdate { name, description })
                    .with_commit_properties(commit);
                self.capture("the description cannot be changed", update, none).await
            }
        }
    }
}

impl FullTable {
    /// Adds constraints, which existing rows must satisfy as well.
    pub(crate) async fn constrain(self, constraints: HashMap<String, String>) -> Result<StagedCommit> {
        let columns = Columns::of(&self.0.schema()?)?;
        constraints.values().try_for_each(|sql| columns.parse("constraint", sql).map(drop))?;
        let add = self
            .0
            .delta_table()
            .add_constraint()
            .with_session_state(state(&self.0)?)
            .with_constraints(constraints)
            .with_commit_properties(self.0.commit_properties());
        self.0.capture("the constraint cannot be added", add, |_| Value::Null).await
    }
}
