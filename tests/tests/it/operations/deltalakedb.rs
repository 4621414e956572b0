//! Runs the steps in a catalog.

use std::sync::Arc;

use deltalakedb_log::commit::NewTable;
use deltalakedb_log::{At, Catalog, Location, Result, TableRef};
use deltalakedb_table::{
    Alter, DeltaTable, Operation, SaveMode, TableSchema, WriteOptions, WriteRows, create_table, create_with_data,
};

use super::random::Step;

/// One step on the table of that name.
pub(crate) async fn run(catalog: &Arc<dyn Catalog>, name: &str, at: &Location, step: &Step) -> Result<()> {
    let options = WriteOptions::default();
    if let Step::Create { rows, columns, partition_by, properties } = step {
        let new = NewTable::new(name.parse()?, at.clone());
        let (catalog, properties) = (catalog.as_ref(), properties.clone().into_iter().collect());
        return match rows {
            Some(rows) => create_with_data(catalog, new, vec![rows.clone()], partition_by, &properties, &options).await,
            None => {
                let columns = TableSchema::from_arrow(columns)?;
                create_table(catalog, new, &columns, partition_by, &properties, &options).await
            }
        }
        .map(drop);
    }
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Name(name.parse()?)).await?;
    table.run(operation(step)?, &options).await.map(drop)
}

/// The operation of a step on a table that exists.
pub(crate) fn operation(step: &Step) -> Result<Operation> {
    Ok(match step.clone() {
        Step::Create { .. } => panic!("a table is made once"),
        Step::Append { rows, evolution } => {
            Operation::Write(WriteRows { schema_mode: evolution, ..WriteRows::new(vec![rows], SaveMode::Append) })
        }
        Step::Overwrite { rows, evolution, replace_where } => {
            let write = WriteRows::new(vec![rows], SaveMode::Overwrite);
            Operation::Write(WriteRows { schema_mode: evolution, replace_where, ..write })
        }
        Step::Delete(filter) => Operation::Delete { filter },
        Step::Update { set, filter } => Operation::Update { set, filter, safe_cast: false },
        Step::Merge(merge, rows) => Operation::Merge(merge, vec![rows].into()),
        Step::Optimize(how) => Operation::Optimize(how),
        Step::Restore(version) => Operation::Restore(At::Version(version).into()),
        Step::AddColumns(columns) => Operation::Alter(Alter::AddColumns(TableSchema::from_arrow(&columns)?)),
        Step::SetProperties(properties) => {
            Operation::Alter(Alter::SetProperties { properties: properties.into_iter().collect(), unknown: false })
        }
        Step::Constrain { name, condition } => Operation::AddConstraints([(name, condition)].into()),
        Step::DropConstraint(name) => Operation::Alter(Alter::DropConstraint { name, if_exists: false }),
    })
}
