//! Runs the steps in delta-rs itself, on a plain path.

use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake_core::datafusion::prelude::SessionContext;
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::operations::merge::MergeBuilder;
use deltalake_core::operations::optimize::OptimizeType;
use deltalake_core::operations::write::SchemaMode as TheirMode;
use deltalake_core::protocol::SaveMode;
use deltalake_core::{DeltaResult, DeltaTable};
use deltalakedb_log::{Location, Version};
use deltalakedb_table::{Assignments, Merge, MergeClause, SchemaMode};
use futures::TryStreamExt;

use super::random::Step;

pub(crate) async fn run(location: &Location, step: &Step) -> DeltaResult<()> {
    let table = DeltaTable::try_from_url(location.url().clone()).await?;
    match step.clone() {
        Step::Create { rows: Some(rows), partition_by, properties, .. } => {
            let properties = properties.into_iter().map(|(k, v)| (k, Some(v)));
            let write = table.write([rows]).with_partition_columns(partition_by).with_configuration(properties);
            write.await.map(drop)
        }
        Step::Create { rows: None, columns, partition_by, properties } => {
            let columns: StructType = columns.as_ref().try_into_kernel()?;
            let create = table
                .create()
                .with_columns(columns.fields().cloned())
                .with_partition_columns(partition_by)
                .with_configuration(properties.into_iter().map(|(k, v)| (k, Some(v))));
            create.await.map(drop)
        }
        Step::Append { rows, evolution } => {
            let write = table.write([rows]).with_save_mode(SaveMode::Append);
            evolved(write, evolution).await.map(drop)
        }
        Step::Overwrite { rows, evolution, replace_where } => {
            let mut write = evolved(table.write([rows]).with_save_mode(SaveMode::Overwrite), evolution);
            if let Some(place) = replace_where {
                write = write.with_replace_where(place);
            }
            write.await.map(drop)
        }
        Step::Delete(filter) => {
            let delete = table.delete();
            match filter {
                Some(filter) => delete.with_predicate(filter).await.map(drop),
                None => delete.await.map(drop),
            }
        }
        Step::Update { set, filter } => {
            let mut update = table.update();
            if let Some(filter) = filter {
                update = update.with_predicate(filter);
            }
            for (column, value) in set {
                update = update.with_update(column, value);
            }
            update.await.map(drop)
        }
        Step::Merge(merge, rows) => merged(table, &merge, rows).await,
        Step::Optimize(how) => {
            let kind = if how.zorder.is_empty() { OptimizeType::Compact } else { OptimizeType::ZOrder(how.zorder) };
            let mut optimize = table.optimize().with_type(kind);
            if let Some(size) = how.target_size {
                optimize = optimize.with_target_size(size);
            }
            optimize.await.map(drop)
        }
        Step::Restore(version) => table.restore().with_version_to_restore(version).await.map(drop),
        Step::AddColumns(columns) => {
            let columns: StructType = columns.as_ref().try_into_kernel()?;
            table.add_columns().with_fields(columns.fields().cloned().collect::<Vec<_>>()).await.map(drop)
        }
        Step::SetProperties(properties) => {
            table.set_tbl_properties().with_properties(properties.into_iter().collect()).await.map(drop)
        }
        Step::Constrain { name, condition } => table.add_constraint().with_constraint(name, condition).await.map(drop),
        Step::DropConstraint(name) => table.drop_constraints().with_constraint(name).await.map(drop),
    }
}

fn evolved(
    write: deltalake_core::operations::write::WriteBuilder,
    evolution: Option<SchemaMode>,
) -> deltalake_core::operations::write::WriteBuilder {
    match evolution {
        None => write,
        Some(SchemaMode::Merge) => write.with_schema_mode(TheirMode::Merge),
        Some(SchemaMode::Overwrite) => write.with_schema_mode(TheirMode::Overwrite),
    }
}

async fn merged(table: DeltaTable, merge: &Merge, rows: RecordBatch) -> DeltaResult<()> {
    let names: Vec<_> = rows.schema().fields().iter().map(|f| f.name().clone()).collect();
    let source = SessionContext::new().read_batch(rows)?;
    let mut builder = table
        .merge(source, merge.on.as_str())
        .with_source_alias(&merge.source_alias)
        .with_target_alias(&merge.target_alias)
        .with_merge_schema(merge.evolve_schema);
    for clause in &merge.clauses {
        builder = when(builder, clause, &names)?;
    }
    builder.await.map(drop)
}

fn when(to: MergeBuilder, clause: &MergeClause, names: &[String]) -> DeltaResult<MergeBuilder> {
    use MergeClause as C;
    let list = |of: &Assignments| match of {
        Assignments::Columns(columns) => columns.clone(),
        Assignments::All => names.iter().map(|n| (n.clone(), format!("source.{n}"))).collect(),
    };
    match clause {
        C::MatchedUpdate { condition, set } => to.when_matched_update(|update| {
            let update = list(set).into_iter().fold(update, |update, (c, v)| update.update(c, v));
            condition.iter().fold(update, |update, c| update.predicate(c.as_str()))
        }),
        C::MatchedDelete { condition } => {
            to.when_matched_delete(|delete| condition.iter().fold(delete, |delete, c| delete.predicate(c.as_str())))
        }
        C::NotMatchedInsert { condition, values } => to.when_not_matched_insert(|insert| {
            let insert = list(values).into_iter().fold(insert, |insert, (c, v)| insert.set(c, v));
            condition.iter().fold(insert, |insert, c| insert.predicate(c.as_str()))
        }),
        C::NotMatchedBySourceUpdate { condition, set } => to.when_not_matched_by_source_update(|update| {
            let update = set.iter().fold(update, |update, (c, v)| update.update(c.as_str(), v.as_str()));
            condition.iter().fold(update, |update, c| update.predicate(c.as_str()))
        }),
        C::NotMatchedBySourceDelete { condition } => to.when_not_matched_by_source_delete(|delete| {
            condition.iter().fold(delete, |delete, c| delete.predicate(c.as_str()))
        }),
    }
}

/// The changed rows from a version to the newest.
pub(crate) async fn changes(location: &Location, from: Version) -> DeltaResult<Vec<RecordBatch>> {
    let table = DeltaTable::try_from_url(location.url().clone()).await?;
    let session = SessionContext::new();
    let plan = table.scan_cdf().with_starting_version(from).build(&session.state(), None).await?;
    let rows = deltalake_core::datafusion::physical_plan::execute_stream(Arc::clone(&plan), session.task_ctx())?;
    Ok(rows.try_collect().await?)
}
