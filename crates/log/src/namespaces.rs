//! Namespaces: the part before the dot in table names.

use std::fmt;

use async_trait::async_trait;

use crate::error::{ErrorKind, Result, TxnLogError};
use crate::ids::TableName;

/// The namespaces of a catalog.
///
/// # Contract
/// - A namespace exists from its first table on, or from its creation, until it is dropped: it may be empty.
/// - *Exclusive*: a drop of a namespace and a new table in it are serialized. If the table comes second, the namespace
///   is created again; if the drop comes second, it is rejected.
#[async_trait]
pub trait CatalogNamespaces: Send + Sync + fmt::Debug {
    /// Creates a namespace without tables.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when it exists, [`ErrorKind::Invalid`] for a text that cannot be part of a table
    /// name.
    async fn create_namespace(&self, name: &str, committer: Option<&str>) -> Result<()>;

    /// Drops a namespace without tables. Dropped tables that were in it can still be undropped.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it does not exist, [`ErrorKind::Invalid`] when it has tables.
    async fn drop_namespace(&self, name: &str, committer: Option<&str>) -> Result<()>;

    /// At most `limit` of the namespaces in the order of their names, and only those after `after`.
    async fn namespaces_after(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
}

/// The number of names in a page.
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

/// Rejects a text that cannot be the namespace of a table name.
pub fn check_namespace(name: &str) -> Result<()> {
    let is_one = format!("{name}.t").parse::<TableName>().is_ok_and(|table| table.namespace == name);
    if is_one {
        Ok(())
    } else {
        Err(TxnLogError::invalid(format!("{name:?} is not a namespace: expected a name such as `sales`")))
    }
}

/// The error when a namespace exists already.
pub fn namespace_taken(name: &str) -> TxnLogError {
    TxnLogError::new(ErrorKind::AlreadyExists, format!("there is a namespace {name} already"))
}

/// The error when a namespace does not exist.
pub fn no_namespace(name: &str, place: &str) -> TxnLogError {
    TxnLogError::not_found(format!("there is no namespace {name} in {place}"))
}

/// The error when a namespace to be dropped has tables.
pub fn namespace_not_empty(name: &str, table: &TableName) -> TxnLogError {
    TxnLogError::invalid(format!("the namespace {name} has tables, such as {table}: drop them, or rename them, before"))
}
