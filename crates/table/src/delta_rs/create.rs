//! Creation of tables: without rows, from rows, from Parquet files.

use std::sync::Arc;

use deltalake_core::kernel::{Action as DeltaAction, StructField};
use deltalake_core::operations::convert_to_delta::{ConvertToDeltaBuilder, PartitionStrategy};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::operations::write::WriteBuilder;
use deltalake_core::protocol::SaveMode;
use deltalakedb_log::action::{Action, Protocol};
use deltalakedb_log::features::{check_features, has_writer_feature, with_features};
use deltalakedb_log::{Location, Object, Result};
use serde_json::Value;

use super::capture::{capture, commit_properties};
use super::deletion_vectors::ENABLE_VECTORS;
use super::encoding::EncodedTable;
use super::log::{FileSelection, SnapshotLog};
use super::log_store::VirtualLogStore;
use super::schema::{TableSchema, parse_schema};
use super::write::{Data, FAILED, plan};
use super::{FullTable, LogView, StagedCommit, bounds, encoding, masking, named_paths};
use crate::error::Explain;
use crate::properties;
use crate::table_spec::TableSpec;
use crate::write_options::{SaveMode as WriteMode, WriteOptions};

/// A table to be created.
pub(crate) struct Create<'a> {
    pub(crate) location: &'a Location,
    pub(crate) spec: &'a TableSpec,
    pub(crate) options: &'a WriteOptions,
}

/// Creates a table without rows, or with those of existing files.
pub(crate) async fn create(table: Create<'_>, columns: Vec<StructField>) -> Result<StagedCommit> {
    let (log, log_store) = nothing_yet(&table)?;
    let create = table.builder(columns)?.with_log_store(log_store.clone());
    made(&table, capture(&log, &log_store, None, "the table cannot be created", create, |_| Value::Null).await?)
}

/// Creates a table from rows, in one commit.
pub(crate) async fn create_with_data(table: Create<'_>, rows: Data) -> Result<StagedCommit> {
    let (log, log_store) = nothing_yet(&table)?;
    let spec = table.spec;
    let has_vectors = spec.properties.get(ENABLE_VECTORS).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let encoded = EncodedTable { is_mapped: maps_columns(spec), has_vectors };
    let (rows, parquet) = encoding::of_rows(rows, table.options.parquet.as_ref(), encoded, FAILED).await?;
    let own_size = spec.properties.get("delta.targetFileSize").and_then(|size| size.trim().parse().ok());
    let mut write = WriteBuilder::new(log_store.clone(), None)
        .with_partition_columns(&spec.partition_by)
        .with_save_mode(match spec.mode {
            WriteMode::Append => SaveMode::Append,
            WriteMode::Overwrite => SaveMode::Overwrite,
            WriteMode::ErrorIfExists => SaveMode::ErrorIfExists,
            WriteMode::Ignore => SaveMode::Ignore,
        })
        .with_configuration(table.configuration())
        .with_commit_properties(commit_properties(table.options))
        .with_target_file_size(table.options.target_file_size.or(own_size))
        .with_writer_properties(parquet)
        .with_input_plan(plan(rows)?);
    if let Some(name) = &spec.name {
        write = write.with_table_name(name);
    }
    if let Some(description) = &spec.description {
        write = write.with_description(description);
    }
    made(&table, capture(&log, &log_store, None, FAILED, write, |_| Value::Null).await?)
}

/// Creates a table from the Parquet files at its location.
pub(crate) async fn convert(table: Create<'_>, columns: Vec<StructField>, named_folders: bool) -> Result<StagedCommit> {
    let (log, log_store) = nothing_yet(&table)?;
    let spec = table.spec;
    let strategy = if named_folders { PartitionStrategy::Hive } else { PartitionStrategy::Directory };
    let mut convert = ConvertToDeltaBuilder::new()
        .with_log_store(log_store.clone())
        .with_partition_schema(columns)
        .with_partition_strategy(strategy)
        .with_configuration(table.configuration())
        .with_commit_properties(commit_properties(table.options));
    if let Some(name) = &spec.name {
        convert = convert.with_table_name(name);
    }
    if let Some(description) = &spec.description {
        convert = convert.with_comment(description);
    }
    let what = "the files cannot be converted to a table";
    let mut captured = made(&table, capture(&log, &log_store, None, what, convert, |_| Value::Null).await?)?;
    // These files existed before, but their statistics are created now, like those of written files.
    let paths = named_paths(&captured.actions);
    bounds::recompute_decimal_bounds(&mut captured.actions, None, &paths, &log_store.data_store()).await?;
    let files = captured.actions.iter().filter(|action| matches!(action, Action::Add(_))).count();
    for action in &mut captured.actions {
        match action {
            Action::CommitInfo(info) => {
                let mut parameters = info.0.get::<Object>("operationParameters").unwrap_or_default();
                parameters.set("numFiles", files.to_string());
                parameters.set("collectStats", "true");
                info.0.set("operation", "CONVERT");
                info.0.set("operationParameters", parameters);
            }
            // Files that other writers add have no field ids, or others.
            Action::Metadata(metadata) => {
                let columns = parse_schema(&metadata.schema_string)?.to_arrow()?;
                metadata.schema_string = TableSchema::from_arrow(&columns)?.to_json()?;
            }
            _ => {}
        }
    }
    Ok(captured)
}

impl FullTable {
    /// Replaces the table, without rows.
    pub(crate) async fn recreate(
        self,
        spec: &TableSpec,
        columns: Vec<StructField>,
        at: &Location,
    ) -> Result<StagedCommit> {
        properties::check(&spec.properties, spec.unknown_properties)?;
        let create = Create { location: at, spec, options: &self.0.options }.builder(columns)?;
        let create = create.with_log_store(self.0.log_store.clone()).with_save_mode(SaveMode::Overwrite);
        let protocol = self.0.base.head.protocol.clone();
        let mut captured = self.0.capture("the table cannot be replaced", create, |_| Value::Null).await?;
        complete(&mut captured.actions, spec, Some(&protocol))?;
        Ok(captured)
    }
}

impl Create<'_> {
    fn configuration(&self) -> Vec<(String, Option<String>)> {
        let known = self.spec.properties.iter().filter(|(key, _)| !properties::is_own(key));
        known.map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
    }

    fn builder(&self, columns: Vec<StructField>) -> Result<CreateBuilder> {
        let spec = self.spec;
        let files = spec.files.iter().map(|add| {
            let add = serde_json::from_str(&add.to_json())
                .explain(|| format!("the description of the file {} is invalid", add.path))?;
            Ok(DeltaAction::Add(add))
        });
        let mut create = CreateBuilder::new()
            .with_columns(columns)
            .with_partition_columns(&spec.partition_by)
            .with_configuration(self.configuration())
            .with_raise_if_key_not_exists(!spec.unknown_properties)
            .with_actions(files.collect::<Result<Vec<_>>>()?)
            .with_commit_properties(commit_properties(self.options));
        if let Some(name) = &spec.name {
            create = create.with_table_name(name);
        }
        if let Some(description) = &spec.description {
            create = create.with_comment(description);
        }
        Ok(create)
    }
}

fn made(table: &Create<'_>, mut captured: StagedCommit) -> Result<StagedCommit> {
    masking::set_location(&mut captured.actions, table.location);
    complete(&mut captured.actions, table.spec, None)?;
    Ok(captured)
}

/// Adds the properties and features that delta-rs does not know to the actions that create a table, or replace one with
/// that protocol.
fn complete(actions: &mut Vec<Action>, spec: &TableSpec, replaced: Option<&Protocol>) -> Result<()> {
    let own: Vec<_> = spec.properties.iter().filter(|(key, _)| properties::is_own(key)).collect();
    let maps_columns = maps_columns(spec);
    let mut protocol = replaced.cloned();
    for action in actions.iter_mut() {
        match action {
            Action::Metadata(metadata) => {
                metadata.configuration.extend(own.iter().map(|(key, value)| ((*key).clone(), Some((*value).clone()))));
            }
            Action::Protocol(new) => {
                *new = with_features(new, &spec.features)?;
                // delta-rs omits it if the table gets other features.
                if maps_columns && !has_writer_feature(new, "columnMapping") {
                    *new = with_features(new, &["columnMapping".into()])?;
                }
                protocol = None;
            }
            _ => {}
        }
    }
    if let Some(old) = protocol {
        let new = with_features(&old, &spec.features)?;
        if new != old {
            actions.push(Action::Protocol(new));
        }
    }
    Ok(())
}

fn nothing_yet(table: &Create<'_>) -> Result<(Arc<SnapshotLog>, Arc<VirtualLogStore>)> {
    // Before any file is written.
    check_features(&table.spec.features)?;
    properties::check(&table.spec.properties, table.spec.unknown_properties)?;
    let log =
        Arc::new(SnapshotLog::new(&LogView::nothing_yet(table.location, &table.options.stores), FileSelection::None));
    let log_store = Arc::new(VirtualLogStore::new(table.location, log.clone(), table.options)?);
    Ok((log, log_store))
}

/// Whether the files of a new table have columns by other names than the table.
fn maps_columns(spec: &TableSpec) -> bool {
    spec.properties.get("delta.columnMapping.mode").is_some_and(|mode| mode != "none")
}
