//! Version checksums, `N.crc`: the size of a version and its whole state except the files (PROTOCOL.md, "Version
//! Checksum File").
//!
//! A reader that finds one needs no other file for protocol, metadata, txns and domains. It is only a hint: it is put
//! after its commit, never overwrites another, is not synced, and a truncated one is ignored. Its sums are exact. They
//! are computed from the sums of the previous version and the files that the commit adds and removes, so their cost is
//! that of the commit.

use std::collections::BTreeMap;

use bytes::Bytes;
use deltalakedb_log::action::{Action, CommitInfo, DomainMetadata, Metadata, Protocol, Txn};
use deltalakedb_log::commit::COMMIT_INFO_KEY;
use deltalakedb_log::{
    At, Commit, ErrorKind, Object, Result, SizeDelta, Snapshot, TxnLogReader, TxnLogReaderExt, Version, features,
};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::put::read;

/// The content of a version's checksum.
#[derive(Clone, Debug)]
pub(crate) struct VersionChecksum {
    pub(crate) snapshot: Snapshot,
    sums: SizeDelta,
}

impl VersionChecksum {
    /// Reads a version: its sums from the checksum of the previous version if that is ours, otherwise by counting.
    pub(crate) async fn read(reader: &dyn TxnLogReader, store: &dyn ObjectStore, version: Version) -> Result<Self> {
        let snapshot = reader.snapshot(At::Version(version)).await?;
        let before = match version.checked_sub(1) {
            Some(before) => stored_sums(reader, store, before).await?.map(|sums| (before, sums)),
            None => None,
        };
        let sums = match before {
            Some((before, sums)) => add_sizes(sums, reader.size_delta(before, version).await?),
            None => count_files(reader, version).await?,
        };
        Ok(Self { snapshot, sums })
    }

    pub(crate) fn version(&self) -> Version {
        self.snapshot.version()
    }

    /// The number of live files.
    pub(crate) fn files(&self) -> i64 {
        self.sums.files
    }

    /// The next version, whose commit has these actions; file actions may be missing.
    pub(crate) async fn after(mut self, reader: &dyn TxnLogReader, actions: &[Action]) -> Result<Self> {
        let before = self.version();
        self.snapshot.head.version = before + 1;
        for action in actions {
            match action {
                Action::Protocol(protocol) => self.snapshot.head.protocol = protocol.clone(),
                Action::Metadata(metadata) => self.snapshot.head.metadata = metadata.clone(),
                Action::Txn(txn) => {
                    self.snapshot.txns.insert(txn.app_id.clone(), txn.clone());
                }
                Action::DomainMetadata(domain) if domain.removed => {
                    self.snapshot.domains.remove(&domain.domain);
                }
                Action::DomainMetadata(domain) => {
                    self.snapshot.domains.insert(domain.domain.clone(), domain.clone());
                }
                _ => {}
            }
        }
        self.sums = add_sizes(self.sums, reader.size_delta(before, before + 1).await?);
        Ok(self)
    }

    /// The checksum file. Txns are omitted if they expire, because the set of txns then depends on the time.
    pub(crate) fn render(&self, info: Option<&CommitInfo>) -> Bytes {
        let Snapshot { head, txns, domains } = &self.snapshot;
        let mut file = Object::default();
        if let Some(id) = info.and_then(|info| info.0.get::<String>("txnId")) {
            file.set("txnId", id);
        }
        file.set("tableSizeBytes", self.sums.bytes);
        file.set("numFiles", self.sums.files);
        file.set("numMetadata", 1);
        file.set("numProtocol", 1);
        let in_commit = info.and_then(CommitInfo::in_commit_timestamp);
        if let Some(ms) = in_commit.filter(|_| head.metadata.is_on("delta.enableInCommitTimestamps")) {
            file.set("inCommitTimestampOpt", ms);
        }
        if !expires(&head.metadata) {
            file.set("setTransactions", txns.values().collect::<Vec<_>>());
        }
        file.set("domainMetadata", domains.values().collect::<Vec<_>>());
        file.set("metadata", &head.metadata);
        file.set("protocol", &head.protocol);
        format!("{}\n", file.to_json()).into()
    }

    /// The difference between a checksum file and this version, as text.
    pub(crate) fn difference(&self, file: &[u8]) -> Option<String> {
        let Ok(file) = serde_json::from_slice::<Object>(file) else { return Some("is torn".into()) };
        let Snapshot { head, txns, domains } = &self.snapshot;
        let count = |name: &str, expected: i64| {
            let stored = file.get::<i64>(name);
            (stored != Some(expected)).then(|| {
                format!("says {name} is {} instead of {expected}", stored.map_or("unknown".into(), |n| n.to_string()))
            })
        };
        let wrong = |name: &str| Some(format!("has another {name} than the catalog"));
        let sorted = |mut all: Vec<String>| {
            all.sort();
            all
        };
        let listed = |name: &str| {
            let raw = file.raw(name).filter(|raw| raw.get() != "null")?;
            serde_json::from_str::<Vec<Object>>(raw.get()).ok()
        };
        if let Some(what) = count("numFiles", self.sums.files).or_else(|| count("tableSizeBytes", self.sums.bytes)) {
            return Some(what);
        }
        let metadata = file.raw("metadata").and_then(|raw| Metadata::from_json(raw.get()).ok());
        if metadata.as_ref() != Some(&head.metadata) {
            return wrong("metadata");
        }
        let protocol = file.raw("protocol").and_then(|raw| Protocol::from_json(raw.get()).ok());
        if protocol.as_ref().map(features::sorted) != Some(features::sorted(&head.protocol)) {
            return wrong("protocol");
        }
        if let Some(stored) = listed("setTransactions").filter(|_| !expires(&head.metadata)) {
            let stored = stored.iter().filter_map(|txn| Some(Txn::from_json(&txn.to_json()).ok()?.to_json()));
            if sorted(stored.collect()) != sorted(txns.values().map(Txn::to_json).collect()) {
                return wrong("txns");
            }
        }
        if let Some(stored) = listed("domainMetadata") {
            let stored = stored.iter().filter_map(|d| Some(DomainMetadata::from_json(&d.to_json()).ok()?.to_json()));
            if sorted(stored.collect()) != sorted(domains.values().map(DomainMetadata::to_json).collect()) {
                return wrong("domains");
            }
        }
        None
    }

    /// Recomputes the sums of a version from the log, ignoring stored checksums.
    pub(crate) async fn count(reader: &dyn TxnLogReader, version: Version) -> Result<Self> {
        let snapshot = reader.snapshot(At::Version(version)).await?;
        Ok(Self { snapshot, sums: count_files(reader, version).await? })
    }
}

/// Whether txns expire.
pub(crate) fn expires(metadata: &Metadata) -> bool {
    metadata.property("delta.setTransactionRetentionDuration").is_some()
}

/// The version of each application.
pub(crate) fn txn_versions(txns: &BTreeMap<String, Txn>) -> BTreeMap<&str, i64> {
    txns.iter().map(|(app, txn)| (app.as_str(), txn.version)).collect()
}

/// The configuration of each domain.
pub(crate) fn configurations(domains: &BTreeMap<String, DomainMetadata>) -> BTreeMap<&str, &str> {
    domains.iter().map(|(name, domain)| (name.as_str(), domain.configuration.as_str())).collect()
}

fn add_sizes(sums: SizeDelta, delta: SizeDelta) -> SizeDelta {
    SizeDelta { files: sums.files.saturating_add(delta.files), bytes: sums.bytes.saturating_add(delta.bytes) }
}

async fn count_files(reader: &dyn TxnLogReader, version: Version) -> Result<SizeDelta> {
    let counts = reader.counts(version).await?;
    Ok(SizeDelta { files: i64::try_from(counts.files).unwrap_or(i64::MAX), bytes: counts.bytes })
}

/// The sums in the checksum of a version, if this library wrote it for exactly the commit in the catalog.
async fn stored_sums(
    reader: &dyn TxnLogReader,
    store: &dyn ObjectStore,
    version: Version,
) -> Result<Option<SizeDelta>> {
    let Some(there) = read(store, &path(version)).await? else { return Ok(None) };
    let Ok(file) = serde_json::from_slice::<Object>(&there) else { return Ok(None) };
    let body = match reader.commit_bytes(version).await {
        Ok(Some(body)) => body,
        Ok(None) => return Ok(None),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let actions = Commit::parse_without_files(&body, "a stored commit")?;
    let own_info = info(&actions).filter(|info| info.0.raw(COMMIT_INFO_KEY).is_some());
    let id = own_info.and_then(|info| info.0.get::<String>("txnId"));
    if id.is_none() || id != file.get("txnId") {
        return Ok(None);
    }
    let sums = file.get("numFiles").zip(file.get("tableSizeBytes"));
    Ok(sums.map(|(files, bytes)| SizeDelta { files, bytes }))
}

/// The `commitInfo` among the actions of a commit.
pub(crate) fn info(actions: &[Action]) -> Option<&CommitInfo> {
    actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => Some(info),
        _ => None,
    })
}

/// The path of a checksum below the table.
pub(crate) fn path(version: Version) -> Path {
    Path::from(format!("_delta_log/{version:020}.crc"))
}
