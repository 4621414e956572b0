//! Renders the actions of a commit, with the facts that are known only under the lock.

use super::current::Current;
use super::request::{Base, CommitRequest, Isolation};
use crate::action::{Action, Add, CommitInfo, Remove};
use crate::commit_info::{COMMIT_INFO_KEY, ICT};
use crate::object::Object;
use crate::stamp::CommitStamp;

/// Our `commitInfo`, and all actions as they are written to the log: `commitInfo` first, removes with stored facts.
pub(super) fn stamped<'a>(
    request: &CommitRequest,
    actions: &'a [Action],
    current: &'a Current,
    stamp: &CommitStamp,
    committed_at: i64,
    isolation: Isolation,
) -> (CommitInfo, impl Iterator<Item = Action> + use<'a>) {
    let (mut given, mut metadata) = (None, None);
    for action in actions {
        match action {
            Action::CommitInfo(info) => given = Some(info),
            Action::Metadata(new) => metadata = Some(new),
            _ => {}
        }
    }
    let before = current.state.as_ref().is_some_and(|(_, metadata)| metadata.is_on(ICT));
    let in_commit_time = metadata.map_or(before, |metadata| metadata.is_on(ICT));
    let changes_what_is_there = |a: &Action| matches!(a, Action::Remove(_) | Action::Metadata(_));
    let blind = request.reads.is_blind() && !actions.iter().any(changes_what_is_there);
    let given = given.map_or_else(Object::default, |info| info.0.clone());
    let facts = InfoFacts { committed_at, in_commit_time, isolation, blind };
    let info = CommitInfo(our_info(given, request, current, stamp, facts));
    let begins = current.version.map(|v| v + 1).filter(|_| in_commit_time && !before);
    let rest =
        actions.iter().filter(|action| !matches!(action, Action::CommitInfo(_))).map(move |action| match action {
            Action::Remove(remove) => match current.live.get(&remove.key()) {
                Some(add) => Action::Remove(render_remove(remove, add, committed_at)),
                None => action.clone(),
            },
            Action::Metadata(metadata) => {
                let mut metadata = metadata.clone();
                if let Some(version) = begins {
                    let at = [("Version", version.to_string()), ("Timestamp", committed_at.to_string())];
                    let key = |what| format!("delta.inCommitTimestampEnablement{what}");
                    metadata.configuration.extend(at.map(|(what, value)| (key(what), Some(value))));
                }
                Action::Metadata(metadata)
            }
            other => other.clone(),
        });
    (info.clone(), std::iter::once(Action::CommitInfo(info)).chain(rest))
}

struct InfoFacts {
    committed_at: i64,
    in_commit_time: bool,
    isolation: Isolation,
    blind: bool,
}

/// `commitInfo` in one fixed order: our facts, then the other members of the writer, then our own member.
fn our_info(
    given: Object,
    request: &CommitRequest,
    current: &Current,
    stamp: &CommitStamp,
    facts: InfoFacts,
) -> Object {
    let mut info = Object::default();
    let keep = |info: &mut Object, key: &str| {
        if let Some(v) = given.raw(key).filter(|v| v.get() != "null") {
            info.set(key, v);
        }
    };
    if facts.in_commit_time {
        info.set("inCommitTimestamp", facts.committed_at);
    }
    info.set("timestamp", facts.committed_at);
    keep(&mut info, "operation");
    if info.raw("operation").is_none() {
        info.set("operation", if matches!(request.base, Base::Create(_)) { "CREATE TABLE" } else { "WRITE" });
    }
    keep(&mut info, "operationParameters");
    if info.raw("operationParameters").is_none() {
        info.set("operationParameters", Object::default());
    }
    keep(&mut info, "operationMetrics");
    info.set("engineInfo", concat!("deltalakedb/", env!("CARGO_PKG_VERSION")));
    info.set("txnId", format!("{:?}", request.commit_id));
    // Other commits are rebased past a blind append, so one that read data is none, whatever its writer says.
    info.set("isBlindAppend", facts.blind && given.get::<bool>("isBlindAppend").unwrap_or(true));
    info.set("isolationLevel", facts.isolation.as_str());
    if let Base::Exactly(v) | Base::RebaseFrom(v) = request.base {
        info.set("readVersion", v);
    }
    if let Some(committer) = &request.committer {
        info.set("userName", committer);
    }
    for (key, value) in given.iter() {
        let fixed = matches!(key, "timestamp" | "inCommitTimestamp" | "engineInfo" | "txnId" | "isolationLevel");
        if info.raw(key).is_none() && !fixed {
            info.set(key, value);
        }
    }
    let mut member = Object::default();
    if !stamp.catalog_id.is_nil() {
        member.set("catalogId", stamp.catalog_id.to_string());
        member.set("epoch", stamp.epoch.to_string());
        member.set("tableId", request.table.to_string());
    }
    member.set("table", current.name.to_string());
    if let Some(owner) = &current.owner {
        member.set("owner", owner.as_str());
    }
    if let Some(group) = &stamp.group {
        member.set("groupId", group.id.to_string());
        member.set("participants", group.names.iter().map(ToString::to_string).collect::<Vec<_>>());
        member.set("participantIds", group.tables.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    if let Some(engine) = given.get::<String>("engineInfo") {
        member.set("writer", engine);
    }
    info.set(COMMIT_INFO_KEY, member);
    info
}

/// The remove of a live file: path and file facts from the stored row, the other fields as requested.
fn render_remove(requested: &Remove, live: &Add, now: i64) -> Remove {
    let mut remove = Remove::of(live, requested.deletion_timestamp.unwrap_or(now), requested.data_change);
    remove.stats = requested.stats.clone();
    remove.extra = requested.extra.clone();
    remove
}
