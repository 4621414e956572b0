//! The files of deletion vectors.

use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor, DeletionVectorStorageType};
use deltalakedb_log::action::DeletionVector;
use deltalakedb_log::{Location, Result, TxnLogError};
use url::Url;

use crate::error::Explain;

/// The URL of the file of a deletion vector; `None` for an inline one.
pub(crate) fn deletion_vector_file(of: &DeletionVector, table: &Location) -> Result<Option<Url>> {
    let unreadable = || format!("a deletion vector of the table at {table} has no path that can be read");
    let kind: DeletionVectorStorageType = of.storage_type.parse().explain(unreadable)?;
    let narrow = |v: i64| i32::try_from(v).map_err(|e| TxnLogError::corrupt(unreadable()).with_source(e));
    let offset = of.offset.map(narrow).transpose()?;
    let (path, size) = (of.path_or_inline_dv.as_str(), narrow(of.size_in_bytes)?);
    let read = DeletionVectorDescriptor::try_new(kind, path, offset, size, of.cardinality).explain(unreadable)?;
    read.absolute_path(table.url()).explain(unreadable)
}
