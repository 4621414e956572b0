//! Listings of tables: page by page, in the order of their names, so that the cost of a page does not depend on how many
//! tables there are.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::catalog::Catalog;
use crate::entry::TableEntry;
use crate::error::{Result, TxnLogError};
use crate::lifecycle::InactiveTable;

mod page;

pub use page::{SAME_METADATA, TableListing, TablePage};

use page::PAGE;

/// The tables of a catalog, or of one of its namespaces, in the order of their names; at most one page is in memory.
pub fn tables(catalog: Arc<dyn Catalog>, namespace: Option<String>) -> BoxStream<'static, Result<TableEntry>> {
    tables_from(catalog, TablePage { namespace, ..TablePage::default() })
}

/// The tables of a page and of all following pages.
pub fn tables_from(catalog: Arc<dyn Catalog>, first: TablePage) -> BoxStream<'static, Result<TableEntry>> {
    let pages = futures::stream::try_unfold(Some(first), move |page| {
        let catalog = catalog.clone();
        async move {
            let Some(page) = page else { return Ok(None) };
            let tables = catalog.tables_page(&page).await?;
            let next = page.after(&tables);
            Ok::<_, TxnLogError>(Some((futures::stream::iter(tables.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}

/// The tables of a catalog that are not live, in the order of their names; at most one page is in memory.
pub fn inactive_tables(catalog: Arc<dyn Catalog>) -> BoxStream<'static, Result<InactiveTable>> {
    let pages = futures::stream::try_unfold(Some(None::<InactiveTable>), move |after| {
        let catalog = catalog.clone();
        async move {
            let Some(after) = after else { return Ok(None) };
            let tables = catalog.inactive_tables(after.as_ref(), PAGE).await?;
            let next = tables.last().filter(|_| tables.len() >= PAGE).cloned().map(Some);
            Ok::<_, TxnLogError>(Some((futures::stream::iter(tables.into_iter().map(Ok)), next)))
        }
    });
    pages.try_flatten().boxed()
}
