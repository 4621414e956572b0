//! Checks that the files named by a table's log exist.

use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::action::{Action, Add, Commit};
use deltalakedb_log::retention::{before, tombstone_retention};
use deltalakedb_log::stores::FileObject;
use deltalakedb_log::{HistoryRange, Result, TableEntry, TxnLogError, Version, first_commit};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::commits;
use crate::mirror::Mirror;
use crate::verify::Finding;

/// How many files are looked for at a time.
const AT_ONCE: usize = 16;

/// A file that is to be there.
struct Wanted {
    version: Version,
    what: &'static str,
    /// The raw path in the log, or why it is invalid.
    path: Result<String>,
}

/// The result of the lookup of a file.
enum Found {
    There,
    Missing,
    /// It is at a location that cannot be read, with the reason.
    Elsewhere(String),
}

impl Mirror {
    /// The missing files: data files of the newest version, their deletion vectors, and change data within retention.
    pub(crate) async fn missing_files(&self, table: &TableEntry) -> Result<Vec<Finding>> {
        let version = table.current_version;
        let reader = self.catalog.reader(table.id);
        let live = reader.files_by_key(version).await?;
        let wanted = live.map_ok(move |add| futures::stream::iter(of_file(version, &add).map(Ok))).try_flatten();
        let mut findings = self.find_missing(table, wanted.boxed()).await?;
        match tombstone_retention(&reader.head().await?.metadata) {
            Ok(kept) => {
                let changes = self.change_data(table, kept).await?.into_iter().map(Ok);
                findings.extend(self.find_missing(table, futures::stream::iter(changes).boxed()).await?);
            }
            Err(e) => findings.push(Finding {
                version,
                what: format!("the change data cannot be checked: {e}"),
                suggested_fix: format!("`dl alter {} --set-property` corrects the property", table.name),
            }),
        }
        Ok(findings)
    }

    async fn find_missing(&self, table: &TableEntry, wanted: BoxStream<'_, Result<Wanted>>) -> Result<Vec<Finding>> {
        let own = self.store(table)?;
        let probe = |wanted: Result<Wanted>| {
            let own = own.clone();
            async move {
                let wanted = wanted?;
                let found = match &wanted.path {
                    Ok(path) => self.probe(&own, path).await?,
                    Err(e) => Found::Elsewhere(e.to_string()),
                };
                Ok::<_, TxnLogError>(wanted.finding(found))
            }
        };
        let findings: Vec<Option<Finding>> = wanted.map(probe).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(findings.into_iter().flatten().collect())
    }

    async fn probe(&self, own: &Arc<dyn ObjectStore>, raw: &str) -> Result<Found> {
        let FileObject { store, path } = match FileObject::of(raw, own, self.stores.as_ref()) {
            Ok(file) => file,
            Err(e) => return Ok(Found::Elsewhere(e.to_string())),
        };
        match store.head(&path).await {
            Ok(_) => Ok(Found::There),
            Err(object_store::Error::NotFound { .. }) => Ok(Found::Missing),
            Err(e) => Err(e.into()),
        }
    }

    /// The change data of versions so recent that vacuum keeps it.
    async fn change_data(&self, table: &TableEntry, kept: Duration) -> Result<Vec<Wanted>> {
        let reader = self.catalog.reader(table.id);
        let since = Some(before(self.clock.now_ms(), kept));
        let young = reader.history(HistoryRange { limit: None, since, until: None }).await?;
        let Some(first) = young.iter().map(|commit| commit.version).min() else { return Ok(Vec::new()) };
        let mut wanted = Vec::new();
        let mut next = first.max(first_commit(reader.as_ref(), table.base_version).await?);
        while next <= table.current_version {
            let some = commits::next_page(reader.as_ref(), next, table.current_version).await?;
            let Some((newest, _)) = some.last() else { break };
            next = newest + 1;
            for (version, bytes) in some {
                for action in Commit::parse(bytes, &format!("version {version} of {}", table.name))?.into_actions() {
                    if let Action::Cdc(cdc) = action {
                        wanted.push(Wanted { version, what: "change data file", path: Ok(cdc.path) });
                    }
                }
            }
        }
        Ok(wanted)
    }
}

impl Wanted {
    fn finding(self, found: Found) -> Option<Finding> {
        let Self { version, what, path } = self;
        let path = path.map_or_else(|_| String::new(), |path| format!(" {path}"));
        let (what, suggested_fix) = match found {
            Found::There => return None,
            Found::Missing => (format!("the {what}{path} is missing"), "restore the file from a backup"),
            Found::Elsewhere(why) => (format!("the {what}{path} cannot be checked: {why}"), "check that it exists"),
        };
        Some(Finding { version, what, suggested_fix: suggested_fix.into() })
    }
}

/// A live file, and the file of its deletion vector.
fn of_file(version: Version, add: &Add) -> impl Iterator<Item = Wanted> + use<> {
    let vector = add.deletion_vector.as_ref().and_then(|vector| vector.file().transpose());
    let vector = vector.map(|path| Wanted { version, what: "deletion vector file", path });
    std::iter::once(Wanted { version, what: "data file", path: Ok(add.path.clone()) }).chain(vector)
}
