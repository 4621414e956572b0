//! Namespaces: what comes before the dot in the names of tables.

use std::fmt;

use async_trait::async_trait;

use crate::error::{ErrorKind, Result, TxnLogError};
use crate::ids::TableName;

/// The namespaces of a catalog.
///
/// # Contract
/// - A namespace is there from the first table in it on, or from when it was created, until it is dropped: it may be empty.
/// - *Exclusive*: a drop of a namespace and a new table in it happen one after the other. Where the table comes later, so
///   does its namespace again; where the drop comes later, it is refused.
#[async_trait]
pub trait CatalogNamespaces: Send + Sync + fmt::Debug {
    /// Creates a namespace without tables.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when it is there, [`ErrorKind::Invalid`] for what cannot be a part of a table's name.
    async fn create_namespace(&self, name: &str, committer: Option<&str>) -> Result<()>;

    /// Drops a namespace in which no table is. Tables that were in it and are dropped can be undropped nevertheless.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of that name, [`ErrorKind::Invalid`] when tables are in it.
    async fn drop_namespace(&self, name: &str, committer: Option<&str>) -> Result<()>;

    /// Some of the namespaces in the order of their names: not more than `limit`, and only those after `after`.
    async fn namespaces_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
}

/// How many names a page has.
const PAGE: usize = 1_000;

/// All namespaces, in the order of their names.
pub async fn all_namespaces(catalog: &(impl CatalogNamespaces + ?Sized)) -> Result<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = catalog.namespaces_after(all.last().map(String::as_str), PAGE).await?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// Refuses a name that no table could have before the dot.
pub fn check_namespace(name: &str) -> Result<()> {
    let is_one = format!("{name}.t").parse::<TableName>().is_ok_and(|table| table.namespace == name);
    match is_one {
        true => Ok(()),
        false => Err(TxnLogError::invalid(format!("{name:?} is not a namespace: expected a name such as `sales`"))),
    }
}

/// The error when a namespace is created that exists.
pub fn namespace_taken(name: &str) -> TxnLogError {
    TxnLogError::new(ErrorKind::AlreadyExists, format!("there is a namespace {name} already"))
}

/// The error when a namespace is dropped that does not exist.
pub fn no_namespace(name: &str, place: &str) -> TxnLogError {
    TxnLogError::not_found(format!("there is no namespace {name} in {place}"))
}

/// The error when a namespace is dropped that has tables.
pub fn namespace_not_empty(name: &str, table: &TableName) -> TxnLogError {
    TxnLogError::invalid(format!("the namespace {name} has tables, such as {table}: drop them, or rename them, before"))
}
