//! Rules that every commit must obey, independent of concurrent commits.

use std::collections::HashSet;

use super::conflict_checker::live_at_same_path;
use super::current::Current;
use super::request::{CommitRequest, Content};
use crate::action::{Action, Metadata, Protocol};
use crate::error::{Result, Subject, TxnLogError};
use crate::features;
use crate::path::PathKey;
use crate::schema::Schema;
use crate::snapshot::CommitActions;

/// Rejects a commit that Delta does not allow (PROTOCOL.md, "Actions"), regardless of concurrent commits. Returns
/// protocol and metadata after the commit.
pub(super) fn check_legal<'a>(
    request: &CommitRequest,
    current: &'a Current,
    changes: &'a CommitActions,
) -> Result<(&'a Protocol, &'a Metadata)> {
    let name = &current.name;
    let bad = |what: String| Err(TxnLogError::invalid(format!("the commit to {name} {what}")));
    let count = |f: fn(&Action) -> bool| request.actions().iter().filter(|a| f(a)).count();
    if count(|a| matches!(a, Action::Add(_))) != changes.adds.len() {
        return bad("adds the same file twice".into());
    }
    if count(|a| matches!(a, Action::Remove(_))) != changes.removes.len() {
        return bad("removes the same file twice".into());
    }
    for (what, n) in [
        ("protocol", count(|a| matches!(a, Action::Protocol(_)))),
        ("metaData", count(|a| matches!(a, Action::Metadata(_)))),
        ("commitInfo", count(|a| matches!(a, Action::CommitInfo(_)))),
    ] {
        if n > 1 {
            return bad(format!("has {n} {what} actions, and only one is allowed"));
        }
    }
    if count(|a| matches!(a, Action::Txn(_))) != changes.txns.len() {
        return bad("has two txn actions of one application".into());
    }
    if count(|a| matches!(a, Action::DomainMetadata(_))) != changes.domains.len() {
        return bad("sets one domain twice".into());
    }
    if let Some(a) = request.actions().iter().find(|a| matches!(a, Action::Sidecar(_) | Action::CheckpointMetadata(_)))
    {
        return bad(format!("has a {} action, which belongs in a checkpoint", a.name()));
    }
    check_paths(changes).or_else(|what| bad(what).map(drop))?;
    if let Some((_, there)) = live_at_same_path(request.actions(), &current.live).min_by_key(|(key, _)| **key) {
        let path = &there.path;
        return bad(format!("adds {path} with another deletion vector and does not remove the one that is live"));
    }
    let (protocol, metadata) = match (&current.state, &changes.protocol, &changes.metadata) {
        (_, Some(p), Some(m)) => (p, m),
        (Some((p, _)), None, Some(m)) => (p, m),
        (Some((_, m)), Some(p), None) => (p, m),
        (Some((p, m)), None, None) => (p, m),
        (None, None, _) => return bad("creates the table without a protocol".into()),
        (None, _, None) => return bad("creates the table without metadata".into()),
    };
    match &request.content {
        Content::Actions(actions) => check_writable(actions, current, protocol)?,
        Content::Verbatim(_) => check_trackable(current, protocol)?,
    }
    if changes.metadata.is_some() {
        Schema::parse(&metadata.schema_string, &metadata.partition_columns)?;
    }
    let append_only = current.state.as_ref().is_some_and(|(_, m)| m.is_on("delta.appendOnly"));
    if append_only && changes.removes.iter().any(|(_, r)| r.data_change) {
        return bad("removes rows, and the table is append-only (delta.appendOnly)".into())
            .map_err(|e| e.about(Subject::Commit));
    }
    if !changes.domains.is_empty() && !features::has_writer_feature(protocol, "domainMetadata") {
        return bad("sets a domain, which needs the table feature domainMetadata".into());
    }
    if changes.adds.iter().any(|(_, a)| a.deletion_vector.is_some())
        && !features::has_writer_feature(protocol, "deletionVectors")
    {
        return bad("adds a deletion vector, which needs the table feature deletionVectors".into());
    }
    Ok((protocol, metadata))
}

/// Rejects a commit of ours to a table with features that we do not support. Checks the protocol before and after the
/// commit, so a commit cannot drop a feature to avoid the check.
fn check_writable(actions: &[Action], current: &Current, after: &Protocol) -> Result<()> {
    let name = current.name.to_string();
    if let Some((before, _)) = &current.state {
        features::check_writable(before, &name)?;
    }
    let is_rest = |a: &Action| !matches!(a, Action::Protocol(_) | Action::CommitInfo(_));
    if current.state.is_some() && !actions.iter().any(is_rest) {
        features::check_known(after, &name)
    } else {
        features::check_writable(after, &name)
    }
}

/// The same check for a verbatim commit.
fn check_trackable(current: &Current, after: &Protocol) -> Result<()> {
    let name = current.name.to_string();
    let before = current.state.iter().map(|(before, _)| before);
    before.chain([after]).try_for_each(|protocol| features::check_tracked(protocol, &name))
}

/// One add and one remove per path.
fn check_paths(changes: &CommitActions) -> Result<(), String> {
    let (mut added, mut removed) = (HashSet::new(), HashSet::new());
    for (key, remove) in &changes.removes {
        if !removed.insert(PathKey::new(&remove.path)) {
            return Err(format!("removes {} twice", remove.path));
        }
        if changes.adds.binary_search_by(|(k, _)| k.cmp(key)).is_ok() {
            return Err(format!("both adds and removes {}", remove.path));
        }
    }
    // Files with the same path are one file unless their deletion vectors differ.
    if changes.adds.iter().all(|(_, add)| add.deletion_vector.is_none()) {
        return Ok(());
    }
    match changes.adds.iter().find(|(_, add)| !added.insert(PathKey::new(&add.path))) {
        Some((_, add)) => Err(format!("adds {} twice", add.path)),
        None => Ok(()),
    }
}
