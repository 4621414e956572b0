//! Commits that change what a table is, and no rows.

use std::collections::HashMap;

use deltalakedb_table::{Alter, Operation};
use pyo3::prelude::*;

use super::RawTable;
use crate::options::{CommitProperties, Hooks};
use crate::schema;

#[pymethods]
impl RawTable {
    fn add_columns(
        &self,
        py: Python<'_>,
        fields: Vec<String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let columns = schema::parse(&format!("{{\"type\":\"struct\",\"fields\":[{}]}}", fields.join(",")))?;
        self.alter(py, Alter::MergeColumns(columns), commit, hooks)
    }

    fn add_features(
        &self,
        py: Python<'_>,
        features: Vec<String>,
        allow_protocol_versions_increase: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        let raise_versions = allow_protocol_versions_increase;
        self.alter(py, Alter::AddFeatures { names: features, raise_versions }, commit, hooks)
    }

    fn add_constraints(
        &self,
        py: Python<'_>,
        constraints: HashMap<String, String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.run(py, Operation::AddConstraints(constraints), None, commit, hooks, |_| ()).map(|_| ())
    }

    fn drop_constraint(
        &self,
        py: Python<'_>,
        name: String,
        raise_if_not_exists: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::DropConstraint { name, if_exists: !raise_if_not_exists }, commit, hooks)
    }

    fn drop_column_not_null(
        &self,
        py: Python<'_>,
        column: String,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::DropNotNull { column }, commit, hooks)
    }

    fn set_properties(
        &self,
        py: Python<'_>,
        properties: HashMap<String, String>,
        raise_if_not_exists: bool,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetProperties { properties, unknown: !raise_if_not_exists }, commit, hooks)
    }

    fn describe(
        &self,
        py: Python<'_>,
        name: Option<String>,
        description: Option<String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetDescription { name, description }, commit, hooks)
    }

    fn set_column_metadata(
        &self,
        py: Python<'_>,
        column: String,
        metadata: HashMap<String, String>,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.alter(py, Alter::SetColumnMetadata { column, metadata }, commit, hooks)
    }
}

impl RawTable {
    fn alter(
        &self,
        py: Python<'_>,
        alter: Alter,
        commit: Option<CommitProperties>,
        hooks: Option<Hooks>,
    ) -> PyResult<()> {
        self.run(py, Operation::Alter(alter), None, commit, hooks, |_| ()).map(|_| ())
    }
}
