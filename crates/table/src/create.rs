//! Creating tables.

use std::collections::HashMap;

use deltalakedb_log::commit::{Base, Committed, NewTable};
use deltalakedb_log::lookup::check_not_linked;
use deltalakedb_log::{
    Catalog, ErrorKind, Location, Result, Subject, TableId, TableName, TableRef, TxnLogError, check_no_overlap,
};
use futures::TryStreamExt;
use object_store::path::Path;

use crate::delta_rs::{self, Create, TableSchema};
use crate::table_spec::TableSpec;
use crate::write::{PendingWrite, Rows, commit};
use crate::write_options::WriteOptions;

impl TableSpec {
    /// Creates a table with these columns, at its version 0.
    pub async fn create(
        &self,
        catalog: &dyn Catalog,
        new: NewTable,
        schema: &TableSchema,
        options: &WriteOptions,
    ) -> Result<Committed> {
        check_location(catalog, &new, options).await?;
        check_partitioning(&schema.names(), &self.partition_by)?;
        let captured = delta_rs::create(self.at(&new.location, options), schema.fields()).await?;
        let table = TableId(options.clock.new_uuid());
        one(commit(catalog, vec![PendingWrite::new(captured, table, Base::Create(new), options)], options).await?)
    }

    /// Writes rows into data files of a new table, and describes the commit. Their columns become the table's.
    pub async fn prepare(
        &self,
        catalog: &dyn Catalog,
        new: NewTable,
        rows: impl Into<Rows>,
        options: &WriteOptions,
    ) -> Result<PendingWrite> {
        let (rows, began_at) = (rows.into(), options.clock.now_ms());
        let Some(schema) = rows.schema() else {
            return Err(TxnLogError::invalid(format!(
                "the table {} cannot be created without rows: pass a schema",
                new.name
            )));
        };
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        check_partitioning(&names, &self.partition_by)?;
        check_location(catalog, &new, options).await?;
        let (rows, refusal) = rows.in_delta_types();
        let captured = refusal.or(delta_rs::create_with_data(self.at(&new.location, options), rows).await)?;
        let table = TableId(options.clock.new_uuid());
        Ok(PendingWrite { began_at, ..PendingWrite::new(captured, table, Base::Create(new), options) })
    }

    /// Creates a table from the Parquet files at its location. Folders are partitions, named as `column=value`, or by
    /// `partition_columns`, whose types are used in any case.
    pub async fn convert(
        &self,
        catalog: &dyn Catalog,
        new: NewTable,
        partition_columns: Option<&TableSchema>,
        named_folders: bool,
        options: &WriteOptions,
    ) -> Result<Committed> {
        check_location(catalog, &new, options).await?;
        let columns = partition_columns.map(TableSchema::fields).unwrap_or_default();
        let captured = delta_rs::convert(self.at(&new.location, options), columns, named_folders).await?;
        let table = TableId(options.clock.new_uuid());
        one(commit(catalog, vec![PendingWrite::new(captured, table, Base::Create(new), options)], options).await?)
    }

    pub(crate) fn at<'a>(&'a self, location: &'a Location, options: &'a WriteOptions) -> Create<'a> {
        Create { location, spec: self, options }
    }
}

/// Creates a table without rows, at its version 0.
pub async fn create_table(
    catalog: &dyn Catalog,
    new: NewTable,
    schema: &TableSchema,
    partition_by: &[String],
    properties: &HashMap<String, String>,
    options: &WriteOptions,
) -> Result<Committed> {
    TableSpec::new(partition_by, properties).create(catalog, new, schema, options).await
}

/// Creates a table from rows, which are in its version 0. Their columns become the table's.
pub async fn create_with_data(
    catalog: &dyn Catalog,
    new: NewTable,
    rows: impl Into<Rows>,
    partition_by: &[String],
    properties: &HashMap<String, String>,
    options: &WriteOptions,
) -> Result<Committed> {
    let pending = prepare_create(catalog, new, rows, partition_by, properties, options).await?;
    one(commit(catalog, vec![pending], options).await?)
}

/// Writes the data files of [`create_with_data`] and describes its commit.
pub async fn prepare_create(
    catalog: &dyn Catalog,
    new: NewTable,
    rows: impl Into<Rows>,
    partition_by: &[String],
    properties: &HashMap<String, String>,
    options: &WriteOptions,
) -> Result<PendingWrite> {
    TableSpec::new(partition_by, properties).prepare(catalog, new, rows, options).await
}

fn one(committed: Vec<Committed>) -> Result<Committed> {
    let first = committed.into_iter().next();
    first
        .ok_or_else(|| TxnLogError::new(ErrorKind::Internal, "the catalog committed the table and returned no version"))
}

/// An error if the name or the place is taken, before anything is written. The commit checks it again.
pub async fn check_location(catalog: &dyn Catalog, new: &NewTable, options: &WriteOptions) -> Result<()> {
    for in_the_way in [TableRef::Name(new.name.clone()), TableRef::Location(new.location.clone())] {
        let there = catalog.find(&in_the_way).await?;
        if let Some(taken) = there.and_then(|there| new.taken_by(&there.name, &there.location)) {
            return Err(taken);
        }
    }
    check_no_overlap(catalog, &new.location).await?;
    check_not_linked(catalog, &new.location, options.stores.as_ref()).await?;
    if has_log(&new.location, options).await? {
        let (place, name) = (&new.location, &new.name);
        return Err(TxnLogError::new(
            ErrorKind::AlreadyExists,
            format!("there is a Delta table at {place} already: import it with `dl import {place} --as {name}`"),
        ));
    }
    Ok(())
}

/// The location of a new table: the given one, or its own below the warehouse; `None` without either.
pub fn resolve_location(name: &TableName, given: Option<&str>, warehouse: Option<&str>) -> Result<Option<Location>> {
    let below = |warehouse: &str| format!("{}/{}/{}", warehouse.trim_end_matches('/'), name.namespace, name.name);
    given.map(str::to_string).or_else(|| warehouse.map(below)).map(|place| Location::parse(&place)).transpose()
}

async fn has_log(location: &Location, options: &WriteOptions) -> Result<bool> {
    let store = options.stores.open(location, options.durability)?;
    let mut listed = store.list(Some(&Path::from("_delta_log")));
    while let Some(meta) = listed.try_next().await? {
        if meta.location.filename().is_some_and(|name| name.ends_with(".json") || name.ends_with(".parquet")) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(crate) fn check_partitioning(columns: &[&str], partition_by: &[String]) -> Result<()> {
    if let Some(missing) = partition_by.iter().find(|p| !columns.contains(&p.as_str())) {
        let message = format!("the table cannot be partitioned by {missing:?}: its columns are {}", columns.join(", "));
        return Err(TxnLogError::invalid(message).about(Subject::UnknownPartitionColumn(missing.clone())));
    }
    if !columns.is_empty() && columns.iter().all(|c| partition_by.iter().any(|p| p == c)) {
        return Err(TxnLogError::invalid(
            "the table cannot be partitioned by all of its columns: the files need another one",
        ));
    }
    Ok(())
}
