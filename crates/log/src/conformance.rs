//! What any catalog must do, as a function over a factory: an implementation's test is one call of [`run`].
//!
//! Each check gets a fresh catalog and tells one story. A broken promise panics with the story's sentence.
#![allow(clippy::unwrap_used, clippy::panic, reason = "checks speak by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

use crate::action::{Action, Add, Version};
use crate::catalog::{Catalog, Point};
use crate::commit::{Base, CommitRequest, Committed, ConflictKind, Content, Isolation, NewTable, Outcome};
use crate::entry::{MirrorState, TableEntry, TableRef};
use crate::error::{ErrorKind, Result, TxnLogError};
use crate::history::{BaseFiles, BaseState, CommitTime, HistoryItem, LoggedCommit, TimeSource};
use crate::ids::{SeededClock, TableId};
use crate::load::{FutureTimes, HistoryLoad};
use crate::location::Location;
use crate::mirror::Artifact;
use crate::owner::Committer;
use crate::predicate::{Comparison, Literal, Predicate};
use crate::reader::{HistoryRange, TxnLogReaderExt, first_commit};
use crate::snapshot::At;

/// Actions for tests, spelled shortly.
pub mod actions {
    use crate::action::{Action, Add, DeletionVector, Metadata, Protocol, Remove};

    /// Any one action, from its JSON line.
    pub fn action(json: &str) -> Action {
        match Action::parse_line(json) {
            Ok(mut actions) if actions.len() == 1 => actions.remove(0),
            other => panic!("{json} is not one action: {other:?}"),
        }
    }

    /// A protocol with features that most checks need.
    pub fn protocol() -> Protocol {
        match action(
            r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors","domainMetadata","appendOnly","inCommitTimestamp"]}}"#,
        ) {
            Action::Protocol(p) => p,
            other => panic!("{other:?}"),
        }
    }

    /// Metadata of a table with `id long, day string`, partitioned by day, with properties as a JSON object.
    pub fn metadata(configuration: &str) -> Metadata {
        let schema = r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}},{"name":"day","type":"string","nullable":true,"metadata":{}}]}"#;
        let json = format!(
            r#"{{"metaData":{{"id":"any string","format":{{"provider":"parquet","options":{{}}}},"schemaString":{},"partitionColumns":["day"],"configuration":{configuration},"createdTime":1}}}}"#,
            serde_json::Value::from(schema)
        );
        match action(&json) {
            Action::Metadata(m) => m,
            other => panic!("{other:?}"),
        }
    }

    /// A file of partition `day=a` with ids from `min` to `max`.
    pub fn file(path: &str, min: i64, max: i64) -> Add {
        let stats = format!(
            r#"{{"numRecords":10,"minValues":{{"id":{min}}},"maxValues":{{"id":{max}}},"nullCount":{{"id":0}}}}"#
        );
        let json = format!(
            r#"{{"add":{{"path":"{path}","partitionValues":{{"day":"a"}},"size":10,"modificationTime":1,"dataChange":true,"stats":{}}}}}"#,
            serde_json::Value::from(stats)
        );
        match action(&json) {
            Action::Add(a) => a,
            other => panic!("{other:?}"),
        }
    }

    /// The file with a deletion vector of that name.
    pub fn with_dv(mut add: Add, name: &str) -> Add {
        add.deletion_vector = Some(DeletionVector {
            storage_type: "u".into(),
            path_or_inline_dv: name.into(),
            offset: Some(1),
            size_in_bytes: 4,
            cardinality: 1,
            extra: Default::default(),
        });
        add
    }

    /// The remove of a file.
    pub fn remove(add: &Add) -> Action {
        Action::Remove(Remove::of(add, 5, true))
    }

    /// A txn of an application.
    pub fn txn(app: &str, version: i64) -> Action {
        action(&format!(r#"{{"txn":{{"appId":"{app}","version":{version}}}}}"#))
    }

    /// A domain, set or removed.
    pub fn domain(name: &str, configuration: &str, removed: bool) -> Action {
        let configuration = serde_json::Value::from(configuration);
        action(&format!(
            r#"{{"domainMetadata":{{"domain":"{name}","configuration":{configuration},"removed":{removed}}}}}"#
        ))
    }
}

mod expiry;
mod holds;
mod lifecycle;
mod listing;
mod loads;
mod mirrors;
mod namespaces;
mod owners;
mod references;
mod times;
mod verbatim;

use actions::{domain, file, metadata, protocol, remove, txn, with_dv};

/// Runs every check, each on a fresh catalog from `fresh(seed)`.
pub async fn run<F, Fut>(fresh: F)
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = Result<Arc<dyn Catalog>>>,
{
    let mut seed = 0;
    macro_rules! check {
        ($($story:path),* $(,)?) => {$(
            seed += 1;
            eprintln!("conformance: {}", stringify!($story));
            $story(fresh(seed).await.unwrap()).await;
        )*};
    }
    check!(
        a_new_table_is_found_by_id_name_and_place,
        files_live_from_their_add_to_their_remove,
        a_file_is_itself_however_its_path_is_spelled,
        a_deletion_vector_makes_another_file,
        txns_and_domains_are_remembered,
        odd_values_come_back_unchanged,
        the_past_is_found_by_version_and_by_time,
        what_is_not_held_is_refused_by_name,
        exactly_is_exact,
        blind_appends_are_rebased,
        every_conflict_rule_holds,
        isolation_decides_what_an_added_file_means,
        the_same_commit_again_is_the_same_commit,
        several_tables_commit_together_or_not_at_all,
        what_a_transaction_only_read_must_still_be_so,
        heads_begin_at_one_point,
        a_point_shows_every_table_as_it_was,
        illegal_commits_change_nothing,
        commit_info_says_what_happened,
        in_commit_timestamps_are_written_where_enabled,
        history_is_newest_first_and_by_range,
        loaded_history_is_as_if_committed,
        history_may_begin_at_a_checkpoint,
        foreign_commits_are_taken_in,
        an_unfinished_load_is_invisible_and_goes_on,
        what_a_checkpoint_is_made_of,
        planning_never_loses_a_matching_file,
        many_writers_leave_no_gap,
    );
    check!(
        expiry::what_ends_leaves_the_rest_as_it_was,
        expiry::commits_from_versions_that_ended,
        expiry::history_ends_where_all_limits_allow_it,
        expiry::a_long_history_ends_in_steps,
        expiry::a_read_of_a_version_that_ends_is_whole_or_an_error,
        loads::commits_keep_their_ids,
        loads::a_commit_that_stands_twice_in_a_log_counts_once,
        loads::a_transaction_comes_back_in_whole_or_not_at_all,
        loads::an_unfinished_one_takes_another_name_or_is_given_up,
        loads::only_a_table_without_versions_begins_with_a_state,
        mirrors::one_publisher_at_a_time,
        mirrors::a_diverged_table_takes_no_commits,
        mirrors::commits_are_before_a_divergence_or_not_at_all,
        owners::a_table_takes_commits_of_its_owner_alone,
        owners::history_is_loaded_in_the_owners_name_alone,
        owners::its_life_and_history_are_the_owners,
        times::those_ahead_of_the_clock_are_imported_only_when_accepted,
        times::those_that_stand_still_are_made_to_grow,
        times::a_table_ahead_of_the_clock_goes_on_alone,
        times::a_transaction_is_later_than_what_it_read,
        times::a_new_epoch_is_in_every_commit_after_it,
        verbatim::bytes_become_the_version_as_they_are,
        verbatim::sent_again_it_is_the_same_commit,
        verbatim::it_becomes_its_version_or_none,
        verbatim::its_time_is_in_it_where_the_table_says_so,
        verbatim::its_time_is_the_claimed_one_elsewhere,
        verbatim::what_no_commit_may_say_is_refused,
        verbatim::features_are_tracked_that_are_not_written,
        lifecycle::a_renamed_table_is_the_same_table,
        lifecycle::a_dropped_table_is_gone_and_comes_back,
        lifecycle::a_dropped_table_finds_its_name_or_place_taken,
        lifecycle::a_dropped_table_is_kept_as_long_as_was_said,
        lifecycle::a_table_may_be_dropped_unpublished,
        lifecycle::a_place_is_taken_until_its_files_are_deleted,
        lifecycle::a_detached_table_comes_back_as_another,
        lifecycle::commits_are_before_a_drop_or_not_at_all,
        listing::tables_are_listed_page_by_page,
        listing::a_listing_goes_on_while_tables_come_and_go,
        listing::tables_that_are_not_live_are_listed_page_by_page,
        listing::a_place_is_not_inside_of_another,
        listing::of_places_in_each_other_one_is_taken,
        listing::a_catalog_says_how_much_history_is_kept,
        holds::a_held_version_is_listed_until_its_hold_ends,
        holds::a_version_that_is_not_there_cannot_be_held,
        holds::files_of_a_held_version_are_not_deleted_with_the_table,
        namespaces::a_namespace_is_there_until_it_is_dropped,
        namespaces::a_table_is_in_no_namespace_that_was_dropped,
        references::a_table_is_known_by_the_folders_of_its_files,
        references::files_that_others_need_are_not_deleted,
        references::a_clone_is_before_a_drop_with_files_or_not_at_all,
        references::a_place_is_known_however_it_is_spelled,
        references::a_clone_knows_its_sources,
    );
}

/// Runs the checks for which time must pass, each on a fresh catalog from `fresh(seed, clock)` that takes its time from the
/// clock.
pub async fn run_with_clock<F, Fut>(fresh: F)
where
    F: Fn(u64, Arc<SeededClock>) -> Fut,
    Fut: Future<Output = Result<Arc<dyn Catalog>>>,
{
    let clock = |seed| Arc::new(SeededClock::new(1_700_000_000_000, seed));
    let first = clock(1);
    listing::a_table_that_is_over_is_removed(fresh(1, first.clone()).await.unwrap(), first).await;
    let second = clock(2);
    listing::a_large_table_is_removed_in_steps(fresh(2, second.clone()).await.unwrap(), second).await;
}

struct Table {
    catalog: Arc<dyn Catalog>,
    id: TableId,
}

impl Table {
    async fn create(catalog: &Arc<dyn Catalog>, name: &str) -> Self {
        Self::create_with(catalog, name, "{}").await
    }

    async fn create_with(catalog: &Arc<dyn Catalog>, name: &str, configuration: &str) -> Self {
        let id = table_id(name);
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata(configuration))];
        let request = CommitRequest::new(id, Uuid::from_u128(1), Base::Create(new_table(name)), actions);
        let committed = catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        assert_eq!(committed[0].version, 0, "a new table begins at version 0");
        Self { catalog: catalog.clone(), id }
    }

    fn request(&self, base: Base, actions: Vec<Action>) -> CommitRequest {
        // Drawn from the content: each story makes each commit once.
        let operation = Uuid::from_u128(u128::from_be_bytes(
            *blake3::hash(format!("{base:?}{actions:?}").as_bytes()).as_bytes().first_chunk().unwrap(),
        ));
        CommitRequest::new(self.id, operation, base, actions)
    }

    async fn try_commit(&self, request: CommitRequest) -> Result<Outcome> {
        self.catalog.commit_all(vec![request]).await
    }

    /// Commits on top of the head.
    async fn commit(&self, actions: Vec<Action>) -> Committed {
        let head = self.head().await;
        let outcome = self.try_commit(self.request(Base::Exactly(head), actions)).await.unwrap();
        outcome.committed().unwrap()[0]
    }

    async fn append(&self, path: &str) -> Committed {
        self.commit(vec![Action::Add(file(path, 0, 9))]).await
    }

    async fn head(&self) -> Version {
        self.catalog.reader(self.id).head().await.unwrap().version
    }

    async fn paths(&self, version: Version) -> Vec<String> {
        let files = self.files(version, None).await;
        let mut paths: Vec<_> = files.into_iter().map(|f| f.path).collect();
        paths.sort();
        paths
    }

    async fn files(&self, version: Version, predicate: Option<&Predicate>) -> Vec<Add> {
        let reader = self.catalog.reader(self.id);
        reader.files(version, predicate).await.unwrap().try_collect().await.unwrap()
    }
}

fn table_id(name: &str) -> TableId {
    TableId(Uuid::from_u128(u128::from_be_bytes(*blake3::hash(name.as_bytes()).as_bytes().first_chunk().unwrap())))
}

fn new_table(name: &str) -> NewTable {
    let location = Location::parse(&format!("/nowhere/{name}")).unwrap();
    NewTable::new(name.parse().unwrap(), location)
}

/// The error a call ends with: its kind, and its one sentence.
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, says: &[&str]) {
    let error = result.unwrap_err();
    let sentence = error.to_string();
    assert_eq!(error.kind(), kind, "{sentence}");
    for part in says {
        assert!(sentence.contains(part), "{sentence:?} does not say {part:?}");
    }
    assert!(!sentence.contains('\n'), "{sentence:?} is more than a line");
}

fn conflict(outcome: Outcome, want_version: Version, want: &ConflictKind) {
    match outcome {
        Outcome::Conflict(c) => assert_eq!((c.version, &c.kind), (want_version, want), "{c}"),
        other => panic!("expected {want:?}, got {other:?}"),
    }
}

async fn a_new_table_is_found_by_id_name_and_place(c: Arc<dyn Catalog>) {
    assert!(c.tables().await.unwrap().is_empty());
    let t = Table::create(&c, "sales.orders").await;
    let refs = [
        TableRef::Id(t.id),
        TableRef::Name("sales.orders".parse().unwrap()),
        TableRef::Location(Location::parse("/nowhere/sales.orders/").unwrap()),
    ];
    for r in refs {
        let entry = c.find(&r).await.unwrap().unwrap();
        assert_eq!((entry.id, entry.current_version, entry.base_version), (t.id, 0, 0), "{r:?}");
        assert_eq!((entry.published_version, entry.mirror), (None, MirrorState::Following));
    }
    assert_eq!(c.find(&TableRef::Name("orders".parse().unwrap())).await.unwrap(), None);
    let again = |name: &str, at: &str| {
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        let new = NewTable::new(name.parse().unwrap(), Location::parse(at).unwrap());
        CommitRequest::new(table_id("other"), Uuid::from_u128(2), Base::Create(new), actions)
    };
    let taken = c.commit_all(vec![again("sales.orders", "/nowhere/x")]).await;
    refused(taken, ErrorKind::AlreadyExists, &["sales.orders", "another name"]);
    let taken = c.commit_all(vec![again("x", "/nowhere/sales.orders")]).await;
    refused(taken, ErrorKind::AlreadyExists, &["/nowhere/sales.orders", "sales.orders"]);
    let near = crate::lookup::require(c.as_ref(), &TableRef::Name("sales.order".parse().unwrap())).await;
    refused(near, ErrorKind::NotFound, &["sales.order", "did you mean sales.orders?"]);
    assert_eq!(c.tables().await.unwrap().len(), 1);
    refused(c.begin(&[table_id("none")]).await, ErrorKind::NotFound, &["no table"]);
}

async fn files_live_from_their_add_to_their_remove(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    t.append("a").await;
    t.append("b").await;
    t.commit(vec![remove(&file("a", 0, 9)), Action::Add(file("c", 0, 9))]).await;
    t.append("a").await;
    // An add of a live file replaces it.
    let replaced = Add { size: 99, ..file("b", 5, 6) };
    t.commit(vec![Action::Add(replaced.clone())]).await;
    let want: [&[&str]; 6] = [&[], &["a"], &["a", "b"], &["b", "c"], &["a", "b", "c"], &["a", "b", "c"]];
    for (version, want) in (0..).zip(want) {
        assert_eq!(t.paths(version).await, want, "at version {version}");
    }
    let by_age = c.reader(t.id).files_by_age(5, None).await.unwrap();
    assert_eq!(by_age.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["b", "a", "c"], "newest first");
    let b = |files: Vec<Add>| files.into_iter().find(|f| f.path == "b").unwrap();
    assert_eq!(b(t.files(4, None).await), file("b", 0, 9));
    assert_eq!(b(t.files(5, None).await), replaced);
}

async fn a_file_is_itself_however_its_path_is_spelled(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    t.commit(vec![Action::Add(file("/x/a%20b", 0, 9)), Action::Add(file("p=%2541/c", 0, 9))]).await;
    t.commit(vec![remove(&file("file:///x/a b", 0, 9))]).await;
    assert_eq!(t.paths(2).await, ["p=%2541/c"]);
    let bytes = c.reader(t.id).commit_bytes(2).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(r#""path":"/x/a%20b""#), "a remove is rendered with the path of its add: {text}");
}

async fn a_deletion_vector_makes_another_file(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    t.append("a").await;
    let plain = file("a", 0, 9);
    let (one, two) = (with_dv(plain.clone(), "one"), with_dv(plain.clone(), "two"));
    t.commit(vec![remove(&plain), Action::Add(one.clone())]).await;
    t.commit(vec![remove(&one), Action::Add(two.clone())]).await;
    assert_eq!(t.files(1, None).await, [plain]);
    assert_eq!(t.files(2, None).await, [one]);
    assert_eq!(t.files(3, None).await, [two]);
}

async fn txns_and_domains_are_remembered(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    t.commit(vec![txn("app", 7), txn("other", 9_007_199_254_740_993), domain("d", "one", false)]).await;
    t.commit(vec![txn("app", 3), domain("d", "two", false), domain("e", "", false)]).await;
    t.commit(vec![domain("d", "", true)]).await;
    let reader = c.reader(t.id);
    let at = |v| reader.snapshot(At::Version(v));
    let txns = |s: &crate::Snapshot| s.txns.iter().map(|(k, t)| (k.clone(), t.version)).collect::<BTreeMap<_, _>>();
    let domains =
        |s: &crate::Snapshot| s.domains.iter().map(|(k, d)| format!("{k}={}", d.configuration)).collect::<Vec<_>>();
    assert!(at(0).await.unwrap().txns.is_empty());
    let one = at(1).await.unwrap();
    assert_eq!(txns(&one), BTreeMap::from([("app".into(), 7), ("other".into(), 9_007_199_254_740_993)]));
    assert_eq!(domains(&one), ["d=one"]);
    let two = at(2).await.unwrap();
    assert_eq!(txns(&two)["app"], 3, "the newest counts, not the greatest");
    assert_eq!(domains(&two), ["d=two", "e="]);
    assert_eq!(domains(&at(3).await.unwrap()), ["e="]);
}

async fn odd_values_come_back_unchanged(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    let odd = actions::action(
        r#"{"add":{"path":"d%2520ay=\u00fc/ \u0001x'\"--.parquet","partitionValues":{"day":"\u0001\u0000\ufffe","n":null},"size":9007199254740993,"modificationTime":-1,"dataChange":false,"stats":"{\"numRecords\":12345678901234567890,\"maxValues\":{\"d\":1.10000000000000000000000001,\"s\":\"\\u0000\"}}","tags":{"k":null,"":"x"},"later":{"deep":[1.50,null]}}}"#,
    );
    let unknown = actions::action(r#"{"someDay":{"x":123456789012345678901234567890}}"#);
    t.commit(vec![odd.clone(), unknown]).await;
    assert_eq!(t.files(1, None).await.into_iter().map(Action::Add).collect::<Vec<_>>(), [odd]);
    let bytes = c.reader(t.id).commit_bytes(1).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(r#"{"someDay":{"x":123456789012345678901234567890}}"#), "{text}");
    let m = crate::action::Metadata {
        description: Some("a\u{0}b".into()),
        configuration: [("k".to_string(), None), ("x'".to_string(), Some("\u{0}".to_string()))].into(),
        extra: serde_json::from_str(r#"{"new":[1.0]}"#).unwrap(),
        ..metadata("{}")
    };
    t.commit(vec![Action::Metadata(m.clone())]).await;
    assert_eq!(c.reader(t.id).head().await.unwrap().metadata, m);
    assert_eq!(c.reader(t.id).snapshot(At::Version(1)).await.unwrap().head.metadata, metadata("{}"));
}

async fn the_past_is_found_by_version_and_by_time(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    let mut times = vec![c.reader(t.id).head().await.unwrap().timestamp];
    for path in ["a", "b", "c", "d"] {
        times.push(t.append(path).await.timestamp);
    }
    assert!(times.windows(2).all(|w| w[0] < w[1]), "times strictly increase: {times:?}");
    let reader = c.reader(t.id);
    for (version, time) in (0..).zip(&times) {
        assert_eq!(reader.snapshot(At::Timestamp(*time)).await.unwrap().version(), version);
        let just_before = reader.snapshot(At::Timestamp(time - 1)).await;
        match version {
            0 => refused(just_before, ErrorKind::NotFound, &["oldest version that is retained is 0"]),
            _ => assert_eq!(just_before.unwrap().version(), version - 1),
        }
        assert_eq!(reader.snapshot(At::Version(version)).await.unwrap().head.timestamp, *time);
    }
    assert_eq!(reader.snapshot(At::Timestamp(i64::MAX)).await.unwrap().version(), 4);
    assert_eq!(reader.snapshot(At::Latest).await.unwrap().head, reader.head().await.unwrap());
}

async fn what_is_not_held_is_refused_by_name(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    let reader = c.reader(t.id);
    let says = ["default.t", "no version 1", "newest is 0"];
    refused(reader.snapshot(At::Version(1)).await, ErrorKind::NotFound, &says);
    refused(reader.files(1, None).await.map(drop), ErrorKind::NotFound, &says);
    refused(reader.commit_bytes(1).await, ErrorKind::NotFound, &says);
    refused(reader.changes(0, 1).await.map(drop), ErrorKind::NotFound, &says);
    refused(c.reader(table_id("none")).head().await, ErrorKind::NotFound, &["no table"]);
}

async fn exactly_is_exact(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    t.append("a").await;
    let late = t.request(Base::Exactly(0), vec![Action::Add(file("b", 0, 9))]);
    conflict(t.try_commit(late).await.unwrap(), 1, &ConflictKind::VersionTaken);
    let early = t.request(Base::Exactly(5), vec![Action::Add(file("b", 0, 9))]);
    refused(t.try_commit(early).await, ErrorKind::Invalid, &["version 5", "at version 1"]);
    assert_eq!(t.paths(t.head().await).await, ["a"]);
}

async fn blind_appends_are_rebased(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    t.append("a").await;
    t.commit(vec![remove(&file("a", 0, 9)), Action::Add(file("b", 0, 9)), txn("x", 1), domain("d", "", false)]).await;
    let request = t.request(Base::RebaseFrom(0), vec![Action::Add(file("c", 0, 9)), txn("y", 1)]);
    assert_eq!(t.try_commit(request).await.unwrap().committed().unwrap()[0].version, 3);
    assert_eq!(t.paths(3).await, ["b", "c"]);
}

/// Both sides start from version 1, which holds the files `a` and `b`; `winner` commits first.
async fn race(c: &Arc<dyn Catalog>, winner: Vec<Action>, change: impl FnOnce(&mut CommitRequest)) -> Outcome {
    let n = c.tables().await.unwrap().len();
    let t = Table::create(c, &format!("t{n}")).await;
    t.commit(vec![Action::Add(file("a", 0, 9)), Action::Add(file("b", 10, 19))]).await;
    t.commit(winner).await;
    let mut request = t.request(Base::RebaseFrom(1), vec![Action::Add(file("own", 0, 9))]);
    change(&mut request);
    let before = t.paths(2).await;
    let outcome = t.try_commit(request).await.unwrap();
    if let Outcome::Conflict(_) = outcome {
        assert_eq!(t.head().await, 2, "a lost race leaves nothing");
        assert_eq!(t.paths(2).await, before);
    }
    outcome
}

fn push(request: &mut CommitRequest, action: Action) {
    request.content = Content::Actions([request.actions(), &[action]].concat());
}

async fn every_conflict_rule_holds(c: Arc<dyn Catalog>) {
    use ConflictKind::*;
    let (a, b) = (file("a", 0, 9), file("b", 10, 19));
    let wins = |outcome: Outcome| assert_eq!(outcome.committed().unwrap()[0].version, 3);

    let schema_change = vec![Action::Metadata(metadata(r#"{"x":"y"}"#))];
    conflict(race(&c, schema_change, |_| {}).await, 2, &MetadataChanged);
    conflict(race(&c, vec![Action::Protocol(protocol())], |_| {}).await, 2, &ProtocolChanged);

    let same = race(&c, vec![txn("app", 1)], |r| push(r, txn("app", 2))).await;
    conflict(same, 2, &SameApplication("app".into()));
    let read = race(&c, vec![txn("app", 1)], |r| r.reads.app_ids.push("app".into())).await;
    conflict(read, 2, &SameApplication("app".into()));
    wins(race(&c, vec![txn("app", 1)], |r| push(r, txn("other", 2))).await);

    let same = race(&c, vec![domain("d", "1", false)], |r| push(r, domain("d", "2", false))).await;
    conflict(same, 2, &SameDomain("d".into()));
    wins(race(&c, vec![domain("d", "1", false)], |r| push(r, domain("e", "2", false))).await);

    let both_remove = race(&c, vec![remove(&a)], |r| r.content = Content::Actions(vec![remove(&a)])).await;
    conflict(both_remove, 2, &FileAlreadyRemoved("a".into()));
    wins(race(&c, vec![remove(&a)], |r| r.content = Content::Actions(vec![remove(&b)])).await);
    let removed_with_dv = vec![remove(&a), Action::Add(with_dv(a.clone(), "dv"))];
    conflict(
        race(&c, removed_with_dv, |r| r.content = Content::Actions(vec![remove(&a)])).await,
        2,
        &FileAlreadyRemoved("a".into()),
    );

    // Whoever adds a file again, with other statistics for example, would bring back the rows that were deleted.
    let marked = || vec![remove(&a), Action::Add(with_dv(a.clone(), "dv"))];
    let adds_again = race(&c, marked(), |r| r.content = Content::Actions(vec![Action::Add(a.clone())])).await;
    conflict(adds_again, 2, &DeletionVectorChanged("a".into()));
    let adds_marked =
        race(&c, marked(), |r| r.content = Content::Actions(vec![Action::Add(with_dv(a.clone(), "other"))])).await;
    conflict(adds_marked, 2, &DeletionVectorChanged("a".into()));
    wins(
        race(&c, marked(), |r| {
            r.content = Content::Actions(vec![remove(&with_dv(a.clone(), "dv")), Action::Add(a.clone())])
        })
        .await,
    );
    wins(race(&c, marked(), |r| r.content = Content::Actions(vec![Action::Add(with_dv(a.clone(), "dv"))])).await);

    let read_removed = race(&c, vec![remove(&a)], |r| r.reads.files.push(file("a", 0, 9).key())).await;
    conflict(read_removed, 2, &ReadFileRemoved("a".into()));
    wins(race(&c, vec![remove(&b)], |r| r.reads.files.push(file("a", 0, 9).key())).await);
    let all_read = race(&c, vec![remove(&b)], |r| r.reads.whole_table = true).await;
    conflict(all_read, 2, &ReadFileRemoved("b".into()));

    let ids = |max| Predicate::Compare("id".into(), Comparison::Lt, Literal::Long(max));
    let grown = || vec![Action::Add(file("new", 50, 59))];
    let phantom = race(&c, grown(), |r| r.reads.predicates.push(ids(51))).await;
    conflict(phantom, 2, &MatchingFileAdded("new".into()));
    wins(race(&c, grown(), |r| r.reads.predicates.push(ids(50))).await);
    conflict(race(&c, grown(), |r| r.reads.whole_table = true).await, 2, &MatchingFileAdded("new".into()));
    let rearranged = vec![Action::Add(Add { data_change: false, ..file("new", 50, 59) })];
    wins(race(&c, rearranged, |r| r.reads.whole_table = true).await);
}

async fn isolation_decides_what_an_added_file_means(c: Arc<dyn Catalog>) {
    let grown = || vec![Action::Add(file("new", 50, 59))];
    for (isolation, loses) in
        [(Isolation::Serializable, true), (Isolation::WriteSerializable, false), (Isolation::SnapshotIsolation, false)]
    {
        let outcome = race(&c, grown(), |r| {
            r.reads.whole_table = true;
            r.isolation = Some(isolation);
        })
        .await;
        assert_eq!(matches!(outcome, Outcome::Conflict(_)), loses, "{isolation:?}");
    }
    // What is said of every row is said of those that came meanwhile, too.
    let outcome = race(&c, grown(), |r| {
        r.content = Content::Actions(vec![Action::Metadata(metadata(r#"{"delta.constraints.c":"id < 50"}"#))]);
        r.reads.whole_table = true;
        r.isolation = Some(Isolation::SnapshotIsolation);
    });
    conflict(outcome.await, 2, &ConflictKind::MatchingFileAdded("new".into()));
    let t = Table::create_with(&c, "own", r#"{"delta.isolationLevel":"WriteSerializable"}"#).await;
    t.append("a").await;
    let mut request = t.request(Base::RebaseFrom(0), vec![Action::Add(file("b", 0, 9))]);
    request.reads.whole_table = true;
    t.try_commit(request).await.unwrap().committed().unwrap();
}

async fn the_same_commit_again_is_the_same_commit(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    for base in [Base::Exactly(0), Base::RebaseFrom(0)] {
        let request = t.request(base, vec![Action::Add(file(&format!("f{}", t.head().await), 0, 9))]);
        assert_eq!(c.find_commit(t.id, request.commit_id).await.unwrap(), None);
        let Outcome::Committed(first) = t.try_commit(request.clone()).await.unwrap() else { continue };
        let between = t.append(&format!("between{}", t.head().await)).await;
        let second = t.try_commit(request.clone()).await.unwrap().committed().unwrap();
        assert_eq!(first, second);
        assert_eq!(c.find_commit(t.id, request.commit_id).await.unwrap(), Some(first[0]));
        assert_eq!(t.head().await, between.version, "nothing is committed twice");
    }
    let create = |id| {
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
        CommitRequest::new(id, Uuid::from_u128(7), Base::Create(new_table("made")), actions)
    };
    let id = table_id("made");
    let first = c.commit_all(vec![create(id)]).await.unwrap();
    assert_eq!(c.commit_all(vec![create(id)]).await.unwrap(), first, "creating is committing");
}

async fn several_tables_commit_together_or_not_at_all(c: Arc<dyn Catalog>) {
    let (s, t) = (Table::create(&c, "s").await, Table::create(&c, "t").await);
    t.append("early").await;
    let both = |base_t, n: u32| {
        vec![
            t.request(Base::RebaseFrom(base_t), vec![Action::Add(file(&format!("t{n}"), 0, 9))]),
            s.request(Base::RebaseFrom(0), vec![Action::Add(file(&format!("s{n}"), 0, 9))]),
        ]
    };
    let committed = c.commit_all(both(0, 1)).await.unwrap().committed().unwrap();
    assert_eq!(committed.iter().map(|c| (c.table, c.version)).collect::<Vec<_>>(), [(t.id, 2), (s.id, 1)]);
    assert_eq!(committed[0].timestamp, committed[1].timestamp, "one time for all: no timestamp cuts a transaction");
    let info = |v, id| {
        let reader = c.reader(id);
        async move { reader.history(HistoryRange { limit: Some(v), ..Default::default() }).await.unwrap()[0].clone() }
    };
    let (of_s, of_t) = (info(1, s.id).await, info(1, t.id).await);
    assert!(of_s.group_id.is_some());
    assert_eq!(of_s.group_id, of_t.group_id);

    t.commit(vec![Action::Metadata(metadata(r#"{"x":"y"}"#))]).await;
    conflict(c.commit_all(both(2, 2)).await.unwrap(), 3, &ConflictKind::MetadataChanged);
    assert_eq!((s.head().await, t.head().await), (1, 3), "one loses, all lose");

    let made = CommitRequest::new(
        table_id("made"),
        Uuid::from_u128(9),
        Base::Create(new_table("made")),
        vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))],
    );
    let bad = t.request(Base::RebaseFrom(3), vec![remove(&file("never there", 0, 9))]);
    refused(c.commit_all(vec![made.clone(), bad]).await, ErrorKind::Invalid, &["never there"]);
    assert_eq!(c.find(&TableRef::Id(made.table)).await.unwrap(), None, "a table is not created by half");
    let grown = s.request(Base::RebaseFrom(1), vec![Action::Add(file("with", 0, 9))]);
    c.commit_all(vec![made.clone(), grown]).await.unwrap().committed().unwrap();
    assert!(c.find(&TableRef::Id(made.table)).await.unwrap().is_some());

    let twice = vec![both(3, 4).remove(0), both(3, 5).remove(0)];
    refused(c.commit_all(twice).await, ErrorKind::Invalid, &["two commits"]);
    refused(c.commit_all(vec![]).await, ErrorKind::Invalid, &["no commit"]);
}

async fn what_a_transaction_only_read_must_still_be_so(c: Arc<dyn Catalog>) {
    let (s, t) = (Table::create(&c, "s").await, Table::create(&c, "t").await);
    let small = Predicate::Compare("id".into(), Comparison::Lt, Literal::Long(10));
    let read = |base, predicate: &Predicate| {
        let mut read = s.request(Base::ReadAt(base), vec![]);
        read.reads.predicates.push(predicate.clone());
        read
    };
    let append = |n: u32, base| t.request(Base::RebaseFrom(base), vec![Action::Add(file(&format!("t{n}"), 0, 9))]);
    let together = c.commit_all(vec![read(0, &small), append(1, 0)]).await.unwrap().committed().unwrap();
    assert_eq!(together.iter().map(|c| (c.table, c.version)).collect::<Vec<_>>(), [(t.id, 1)]);
    assert_eq!(s.head().await, 0, "a table that is only read gets no version");
    let range = HistoryRange { limit: Some(1), ..Default::default() };
    assert_eq!(c.reader(t.id).history(range).await.unwrap()[0].group_id, None, "nor is it a participant");

    s.commit(vec![Action::Add(file("other", 50, 59))]).await;
    c.commit_all(vec![append(2, 1), read(0, &small)]).await.unwrap().committed().unwrap();
    s.commit(vec![Action::Add(file("matching", 5, 6))]).await;
    let lost = c.commit_all(vec![append(3, 2), read(1, &small)]).await.unwrap();
    conflict(lost, 2, &ConflictKind::MatchingFileAdded("matching".into()));
    assert_eq!(t.head().await, 2, "what was read has changed: nothing is committed");
    c.commit_all(vec![read(2, &small)]).await.unwrap().committed().unwrap();

    let mut writing = read(2, &small);
    push(&mut writing, Action::Add(file("x", 0, 1)));
    refused(c.commit_all(vec![writing]).await, ErrorKind::Invalid, &["only read"]);
}

async fn heads_begin_at_one_point(c: Arc<dyn Catalog>) {
    let (s, t) = (Table::create(&c, "s").await, Table::create(&c, "t").await);
    s.append("a").await;
    let heads = c.begin(&[t.id, s.id]).await.unwrap();
    assert_eq!(heads.iter().map(|h| h.version).collect::<Vec<_>>(), [0, 1], "in the order asked");
    assert_eq!(heads[1], c.reader(s.id).head().await.unwrap());
}

async fn a_point_shows_every_table_as_it_was(c: Arc<dyn Catalog>) {
    let (s, t) = (Table::create(&c, "s").await, Table::create(&c, "t").await);
    let version = async |table: &Table, point: &Point| {
        let entry = c.find_at(&TableRef::Id(table.id), point).await.unwrap()?;
        let then = c.reader(table.id).snapshot(At::Version(entry.current_version)).await.unwrap();
        assert_eq!(then.head.timestamp, entry.current_timestamp);
        Some(entry.current_version)
    };
    let before = c.point().await.unwrap();
    s.append("a").await;
    let between = c.point().await.unwrap();
    let add = |table: &Table, base| table.request(Base::RebaseFrom(base), vec![Action::Add(file("both", 0, 9))]);
    c.commit_all(vec![add(&s, 1), add(&t, 0)]).await.unwrap().committed().unwrap();
    let u = Table::create(&c, "u").await;
    let after = c.point().await.unwrap();
    for n in 0..20 {
        s.append(&format!("later {n}")).await;
    }
    for (point, versions) in [
        (&before, [Some(0), Some(0), None]),
        (&between, [Some(1), Some(0), None]),
        (&after, [Some(2), Some(1), Some(0)]),
    ] {
        assert_eq!([version(&s, point).await, version(&t, point).await, version(&u, point).await], versions);
    }
    let by_name = TableRef::Name("default.t".parse().unwrap());
    assert_eq!(c.find_at(&by_name, &between).await.unwrap().map(|entry| entry.current_version), Some(0));
    let by_place = TableRef::Location(new_table("u").location);
    assert_eq!(c.find_at(&by_place, &between).await.unwrap(), None);

    // What was loaded is seen when the load is over, and not by whoever began before. A load that is given up leaves the order
    // of what others commit as it was.
    let x = Table { catalog: c.clone(), id: table_id("x") };
    let mut part: Vec<Result<HistoryItem>> = story().into_iter().take(2).map(Ok).collect();
    part.push(Err(TxnLogError::corrupt("2.json, line 1: broken JSON")));
    load(&c, "x", part).await.unwrap_err();
    let loading = c.point().await.unwrap();
    c.abandon_load(x.id).await.unwrap();
    let head = s.head().await;
    s.append("after the load").await;
    assert_eq!(version(&s, &loading).await, Some(head));
    load(&c, "x", story().into_iter().map(Ok).collect()).await.unwrap();
    assert_eq!(version(&x, &loading).await, None);
    assert_eq!(version(&x, &c.point().await.unwrap()).await, Some(2));
}

async fn illegal_commits_change_nothing(c: Arc<dyn Catalog>) {
    let t = Table::create_with(&c, "t", r#"{"delta.appendOnly":"true"}"#).await;
    t.append("a").await;
    let (a, b) = (file("a", 0, 9), file("b", 0, 9));
    let unknown = actions::action(
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":[],"writerFeatures":["quantumEntanglement"]}}"#,
    );
    let cases: Vec<(Vec<Action>, &str)> = vec![
        (vec![Action::Add(b.clone()), Action::Add(b.clone())], "adds the same file twice"),
        (vec![Action::Remove(crate::action::Remove::of(&b, 5, false))], "not a file of the table"),
        (vec![remove(&a)], "append-only"),
        (vec![Action::Add(a.clone()), remove(&a)], "both adds and removes a"),
        (vec![Action::Add(with_dv(a.clone(), "x"))], "adds a with another deletion vector"),
        (vec![Action::Add(with_dv(b.clone(), "x")), Action::Add(with_dv(b.clone(), "y"))], "adds b twice"),
        (vec![txn("x", 1), txn("x", 2)], "two txn actions"),
        (vec![domain("d", "", false), domain("d", "", true)], "one domain twice"),
        (vec![unknown], "quantumEntanglement"),
        (vec![actions::action(r#"{"sidecar":{"path":"x"}}"#)], "belongs in a checkpoint"),
    ];
    for (actions, says) in cases {
        let result = t.try_commit(t.request(Base::RebaseFrom(1), actions)).await;
        refused(result, ErrorKind::Invalid, &["default.t", says]);
    }
    let bare = CommitRequest::new(table_id("x"), Uuid::from_u128(3), Base::Create(new_table("x")), vec![]);
    refused(c.commit_all(vec![bare]).await, ErrorKind::Invalid, &["without a protocol"]);
    assert_eq!(t.head().await, 1);
    assert_eq!(c.tables().await.unwrap().len(), 1);
}

async fn commit_info_says_what_happened(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    let info = actions::action(
        r#"{"commitInfo":{"timestamp":1,"operation":"MERGE","operationParameters":{"p":"[\"x\"]"},"operationMetrics":{"n":1},"engineInfo":"delta-rs:1","custom":{"k":[1.0]}}}"#,
    );
    let mut request = t.request(Base::RebaseFrom(0), vec![Action::Add(file("a", 0, 9)), info]);
    request.committer = Some("ann".into());
    let done = t.try_commit(request).await.unwrap().committed().unwrap()[0];
    let bytes = c.reader(t.id).commit_bytes(1).await.unwrap().unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let info = &first["commitInfo"];
    let keys: Vec<_> = info.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        [
            "timestamp",
            "operation",
            "operationParameters",
            "operationMetrics",
            "engineInfo",
            "txnId",
            "isBlindAppend",
            "isolationLevel",
            "readVersion",
            "userName",
            "custom",
            "deltalakedb"
        ],
        "commitInfo comes first and in one order"
    );
    assert_eq!(info["timestamp"], done.timestamp);
    assert_eq!(info["operation"], "MERGE");
    assert_eq!((&info["isBlindAppend"], &info["readVersion"]), (&true.into(), &0.into()));
    let (catalog, epoch) = c.identity().await.unwrap();
    let ours = &info["deltalakedb"];
    assert_eq!(ours["catalogId"], catalog.to_string());
    assert_eq!(ours["epoch"], epoch.to_string());
    assert_eq!(ours["tableId"], t.id.to_string());
    assert_eq!((&ours["table"], &ours["writer"]), (&"default.t".into(), &"delta-rs:1".into()));
    let summary = &c.reader(t.id).history(HistoryRange::default()).await.unwrap()[0];
    assert_eq!(summary.operation.as_deref(), Some("MERGE"));
    assert_eq!(summary.committer.as_deref(), Some("ann"));
    assert_eq!((summary.files_added, summary.bytes_added, summary.read_version), (1, 10, Some(0)));
}

async fn in_commit_timestamps_are_written_where_enabled(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    t.commit(vec![Action::Metadata(metadata(r#"{"delta.enableInCommitTimestamps":"true"}"#))]).await;
    let done = t.append("a").await;
    let reader = c.reader(t.id);
    for (version, want) in [(0, false), (1, true), (2, true)] {
        let commit = crate::Commit::parse(reader.commit_bytes(version).await.unwrap().unwrap(), "t").unwrap();
        let time = reader.snapshot(At::Version(version)).await.unwrap().head.timestamp;
        assert!(matches!(commit.actions()[0], Action::CommitInfo(_)));
        assert_eq!(commit.info().unwrap().in_commit_timestamp(), want.then_some(time), "version {version}");
    }
    let head = reader.head().await.unwrap();
    assert_eq!(head.metadata.property("delta.inCommitTimestampEnablementVersion"), Some("1"));
    assert_eq!(head.timestamp, done.timestamp);
}

async fn history_is_newest_first_and_by_range(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    for path in ["a", "b", "c"] {
        t.append(path).await;
    }
    let reader = c.reader(t.id);
    let versions = |range| {
        let reader = reader.clone();
        async move { reader.history(range).await.unwrap().into_iter().map(|s| s.version).collect::<Vec<_>>() }
    };
    assert_eq!(versions(HistoryRange::default()).await, [3, 2, 1, 0]);
    assert_eq!(versions(HistoryRange { limit: Some(2), ..Default::default() }).await, [3, 2]);
    let time = |v| {
        let reader = reader.clone();
        async move { reader.snapshot(At::Version(v)).await.unwrap().head.timestamp }
    };
    let range = HistoryRange { since: Some(time(1).await), until: Some(time(2).await), limit: None };
    assert_eq!(versions(range).await, [2, 1]);
    let bodies: Vec<_> = reader.changes(1, 2).await.unwrap().try_collect().await.unwrap();
    assert_eq!(bodies.iter().map(|(v, _)| *v).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(Some(bodies[1].1.clone()), reader.commit_bytes(2).await.unwrap());
}

fn logged(version: Version, ms: i64, lines: &[Action]) -> HistoryItem {
    let mut text: Vec<_> = lines.iter().map(Action::to_json).collect();
    text.insert(0, format!(r#"{{"commitInfo" : {{"timestamp":{ms},"operation":"WRITE"}} }}"#));
    HistoryItem::Commit(LoggedCommit {
        version,
        time: CommitTime { ms, source: TimeSource::File },
        body: text.join("\n").into(),
        origin: format!("{version:020}.json"),
    })
}

/// A history begins with this version, of which the log no longer holds the commit.
fn base_without_commit(version: Version) -> HistoryItem {
    HistoryItem::Base(Box::new(BaseState {
        version,
        time: CommitTime { ms: 1000, source: TimeSource::File },
        protocol: protocol(),
        metadata: metadata("{}"),
        txns: vec![],
        domains: vec![],
        body: None,
    }))
}

async fn load(c: &Arc<dyn Catalog>, name: &str, items: Vec<Result<HistoryItem>>) -> Result<crate::TableEntry> {
    let load = HistoryLoad {
        table: table_id(name),
        new: new_table(name),
        published_version: Some(2),
        future_times: FutureTimes::Refuse,
        items: futures::stream::iter(items).boxed(),
        progress: &|_| {},
    };
    c.load_history(load).await
}

fn story() -> Vec<HistoryItem> {
    let (a, b) = (file("a", 0, 9), file("b", 0, 9));
    vec![
        logged(0, 100, &[Action::Protocol(protocol()), Action::Metadata(metadata("{}")), Action::Add(a.clone())]),
        logged(1, 200, &[Action::Add(b.clone()), txn("x", 1), domain("d", "c", false)]),
        logged(2, 300, &[remove(&a), remove(&file("never there", 0, 0)), Action::Add(b)]),
    ]
}

async fn loaded_history_is_as_if_committed(c: Arc<dyn Catalog>) {
    let entry = load(&c, "t", story().into_iter().map(Ok).collect()).await.unwrap();
    assert_eq!((entry.base_version, entry.current_version, entry.published_version), (0, 2, Some(2)));
    assert_eq!(entry.current_timestamp, 300);
    let t = Table { catalog: c.clone(), id: entry.id };
    for (version, want) in [(0, vec!["a"]), (1, vec!["a", "b"]), (2, vec!["b"])] {
        assert_eq!(t.paths(version).await, want, "at version {version}");
    }
    for (version, item) in (0..).zip(story()) {
        let HistoryItem::Commit(l) = item else { panic!("a commit") };
        assert_eq!(
            c.reader(t.id).commit_bytes(version).await.unwrap(),
            Some(l.body),
            "the bytes are kept as they were"
        );
    }
    assert_eq!(c.reader(t.id).snapshot(At::Timestamp(250)).await.unwrap().version(), 1);
    t.append("c").await;
    assert_eq!(t.paths(3).await, ["b", "c"]);
    let other = HistoryLoad {
        table: table_id("other"),
        new: new_table("t"),
        published_version: None,
        future_times: FutureTimes::Refuse,
        items: futures::stream::iter(story().into_iter().map(Ok)).boxed(),
        progress: &|_| {},
    };
    refused(c.load_history(other).await, ErrorKind::AlreadyExists, &["default.t"]);
}

async fn entry(c: &Arc<dyn Catalog>, table: TableId) -> TableEntry {
    c.find(&TableRef::Id(table)).await.unwrap().unwrap()
}

async fn foreign_commits_are_taken_in(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    let state = MirrorState::Diverged { version: 1, what: "another writer's".into() };
    assert!(c.set_mirror(&entry(&c, t.id).await, &state).await.unwrap());
    let jump = load(&c, "t", vec![Ok(logged(2, 6, &[Action::Add(file("x", 0, 9))]))]).await;
    refused(jump, ErrorKind::Conflict, &["default.t", "version 2", "version 0"]);
    let past = load(&c, "t", vec![Ok(logged(0, 5, &[]))]).await;
    refused(past, ErrorKind::Conflict, &["default.t", "version 0"]);
    let ms = c.reader(t.id).head().await.unwrap().timestamp + 5;
    let loaded = load(&c, "t", vec![Ok(logged(1, ms, &[Action::Add(file("x", 0, 9))]))]).await.unwrap();
    assert_eq!((loaded.current_version, loaded.mirror), (1, MirrorState::Following));
    t.append("y").await;
    assert_eq!(t.paths(2).await, ["x", "y"]);
    t.append("z").await;
    assert!(c.mark_next_published(t.id, 3, 3).await.unwrap());
    let loaded = load(&c, "t", vec![Ok(logged(4, ms + 1_000, &[]))]).await.unwrap();
    assert_eq!(loaded.published_version, Some(3), "the watermark never falls");
}

async fn history_may_begin_at_a_checkpoint(c: Arc<dyn Catalog>) {
    let (a, b) = (file("a", 0, 9), with_dv(file("b", 0, 9), "x"));
    let base = HistoryItem::Base(Box::new(BaseState {
        version: 10,
        time: CommitTime { ms: 1000, source: TimeSource::File },
        protocol: protocol(),
        metadata: metadata("{}"),
        txns: vec![match txn("x", 5) {
            Action::Txn(t) => t,
            other => panic!("{other:?}"),
        }],
        domains: vec![],
        body: None,
    }));
    let files = |live: &[&Add], gone: &[&str]| {
        let removed = gone.iter().map(|path| crate::action::Remove::of(&file(path, 0, 9), 900, true)).collect();
        HistoryItem::Files(BaseFiles { live: live.iter().copied().cloned().collect(), removed })
    };
    let after = || logged(11, 1100, &[remove(&a)]);
    refused(load(&c, "t", vec![Ok(files(&[&a], &[])), Ok(after())]).await, ErrorKind::Invalid, &["belong to no state"]);
    refused(
        load(&c, "t", vec![Ok(base.clone()), Ok(after()), Ok(base.clone())]).await,
        ErrorKind::Invalid,
        &["behind its first commit"],
    );
    c.abandon_load(c.unfinished_load(&new_table("t").location).await.unwrap().unwrap().table).await.unwrap();
    // A base that could not be read to its end leaves nothing.
    let torn = TxnLogError::corrupt("a torn checkpoint");
    let error = load(&c, "t", vec![Ok(base.clone()), Ok(files(&[&a], &["never"])), Err(torn)]).await;
    refused(error, ErrorKind::Corrupt, &["a torn checkpoint"]);
    assert!(
        c.unfinished_load(&new_table("t").location).await.unwrap().is_none_or(|load| load.current_version.is_none())
    );
    let items =
        [base.clone(), files(&[&file("other", 0, 9)], &["never"]), base, files(&[&a], &[]), files(&[&b], &["gone"])];
    let entry = load(&c, "t", items.into_iter().chain([after()]).map(Ok).collect()).await.unwrap();
    assert_eq!((entry.base_version, entry.current_version), (10, 11));
    let t = Table { catalog: c.clone(), id: entry.id };
    assert_eq!((t.paths(10).await, t.paths(11).await), (vec!["a".to_string(), "b".into()], vec!["b".to_string()]));
    let reader = c.reader(t.id);
    assert_eq!(reader.commit_bytes(10).await.unwrap(), None);
    let changes = async |from| reader.changes(from, 11).await?.try_collect::<Vec<_>>().await;
    refused(changes(10).await, ErrorKind::NotFound, &["version 10 of default.t", "begin at 11"]);
    assert_eq!(first_commit(reader.as_ref(), 10).await.unwrap(), 11);
    assert_eq!(changes(11).await.unwrap().iter().map(|(version, _)| *version).collect::<Vec<_>>(), [11]);
    assert_eq!(reader.snapshot(At::Version(10)).await.unwrap().txns["x"].version, 5);
    for (deleted_after, there) in [(899, vec!["gone".to_string()]), (900, vec![])] {
        let tombstones = reader.tombstones(10, deleted_after).await.unwrap();
        let paths: Vec<_> = tombstones.map_ok(|r| r.path).try_collect().await.unwrap();
        assert_eq!(paths, there, "deleted after {deleted_after}");
    }
    refused(
        reader.snapshot(At::Version(9)).await,
        ErrorKind::NotFound,
        &["version 9", "oldest version that is retained is 10"],
    );
    refused(reader.snapshot(At::Timestamp(999)).await, ErrorKind::NotFound, &["oldest version that is retained is 10"]);
    assert_eq!(reader.history(HistoryRange::default()).await.unwrap().len(), 2);
    let early = t.request(Base::RebaseFrom(9), vec![Action::Add(file("c", 0, 9))]);
    refused(t.try_commit(early).await, ErrorKind::Invalid, &["version 9", "read the table again"]);
    t.commit(vec![remove(&b)]).await;
    assert!(t.paths(12).await.is_empty());
}

async fn what_a_checkpoint_is_made_of(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    let (a, b) = (file("a", 0, 9), file("b", 0, 9));
    let marked = with_dv(b.clone(), "x");
    t.commit(vec![Action::Add(a.clone()), Action::Add(b.clone())]).await;
    t.commit(vec![remove(&a)]).await;
    t.commit(vec![Action::Add(a.clone())]).await;
    t.commit(vec![remove(&b), Action::Add(marked.clone())]).await;
    t.commit(vec![remove(&a)]).await;
    t.append("c").await;
    let reader = c.reader(t.id);
    let mut replay = crate::snapshot::Replay::default();
    for version in 0..=6 {
        let body = reader.commit_bytes(version).await.unwrap().unwrap();
        replay.apply(crate::Commit::parse(body, "a commit").unwrap().into_actions());
        let files: Vec<Add> = reader.files_in_order(version).await.unwrap().try_collect().await.unwrap();
        let again: Vec<Add> = reader.files_in_order(version).await.unwrap().try_collect().await.unwrap();
        assert_eq!(files, again, "the order of version {version} is always the same");
        let live: std::collections::HashMap<_, _> = files.iter().map(|f| (f.key(), f.clone())).collect();
        assert_eq!((files.len(), live), (replay.files.len(), replay.files.clone()), "version {version}");
        let mut hash = crate::SetHash::default();
        replay.files.keys().for_each(|key| hash.insert(key));
        assert_eq!(reader.set_hash(version).await.unwrap(), hash, "version {version}");
        for from in 0..=version {
            let (before, after) = (reader.counts(from).await.unwrap(), reader.counts(version).await.unwrap());
            let growth = reader.growth(from, version).await.unwrap();
            assert_eq!(before.files as i64 + growth.files, after.files as i64, "{from} to {version}");
            assert_eq!(before.bytes + growth.bytes, after.bytes, "{from} to {version}");
        }
        // They are all of one time, 5.
        let tombstones: Vec<_> = reader.tombstones(version, 4).await.unwrap().try_collect().await.unwrap();
        let by_key: std::collections::HashMap<_, _> = tombstones.iter().map(|r| (r.key(), r.clone())).collect();
        assert_eq!((tombstones.len(), by_key), (replay.removes.len(), replay.removes.clone()), "version {version}");
        let young: Vec<_> = reader.tombstones(version, 5).await.unwrap().try_collect().await.unwrap();
        assert_eq!(young, [], "version {version}: those of that time are too old");
    }
    assert_eq!(replay.removes.len(), 2, "a, and b without its vector");
    refused(reader.set_hash(7).await, ErrorKind::NotFound, &["version 7"]);
}

async fn an_unfinished_load_is_invisible_and_goes_on(c: Arc<dyn Catalog>) {
    let mut items: Vec<Result<HistoryItem>> = story().into_iter().take(2).map(Ok).collect();
    items.push(Err(TxnLogError::corrupt("2.json, line 1: broken JSON")));
    refused(load(&c, "t", items).await, ErrorKind::Corrupt, &["2.json, line 1"]);
    assert!(c.tables().await.unwrap().is_empty());
    let place = Location::parse("/nowhere/t").unwrap();
    assert_eq!(c.find(&TableRef::Location(place.clone())).await.unwrap(), None);
    refused(c.reader(table_id("t")).head().await, ErrorKind::NotFound, &["no table"]);
    let unfinished = c.unfinished_load(&place).await.unwrap().unwrap();
    let after = unfinished.current_version;
    let rest = story().into_iter().filter(|i| matches!(i, HistoryItem::Commit(l) if Some(l.version) > after));
    let entry = load(&c, "t", rest.map(Ok).collect()).await.unwrap();
    assert_eq!((entry.base_version, entry.current_version), (0, 2));
    let t = Table { catalog: c.clone(), id: entry.id };
    assert_eq!((t.paths(1).await, t.paths(2).await), (vec!["a".to_string(), "b".into()], vec!["b".to_string()]));
    assert_eq!(c.unfinished_load(&place).await.unwrap(), None);
}

async fn planning_never_loses_a_matching_file(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    let mut adds: Vec<_> = (0..50).map(|n| Action::Add(file(&format!("f{n}"), n * 10, n * 10 + 9))).collect();
    adds.push(Action::Add(Add { stats: None, ..file("unknown", 0, 0) }));
    t.commit(adds).await;
    for id in [0, 9, 10, 255, 499, 500, -1] {
        let p = Predicate::Compare("id".into(), Comparison::Eq, Literal::Long(id));
        let found: BTreeSet<_> = t.files(1, Some(&p)).await.into_iter().map(|f| f.path).collect();
        assert!(found.contains("unknown"), "a file without statistics may match");
        if (0..500).contains(&id) {
            assert!(found.contains(&format!("f{}", id / 10)), "id = {id}: {found:?}");
        }
        assert!(found.len() <= 2, "id = {id}: {found:?}");
    }
    let day = |d: &str| Predicate::Compare("day".into(), Comparison::Eq, Literal::String(d.into()));
    assert_eq!(t.files(1, Some(&day("a"))).await.len(), 51);
    assert_eq!(t.files(1, Some(&day("b"))).await.len(), 0);
}

async fn many_writers_leave_no_gap(c: Arc<dyn Catalog>) {
    let t = Table::create(&c, "t").await;
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    let writers = (0..WRITERS).map(|w| {
        let t = Table { catalog: t.catalog.clone(), id: t.id };
        tokio::spawn(async move {
            let mut got = Vec::new();
            for n in 0..EACH {
                let request = t.request(Base::RebaseFrom(0), vec![Action::Add(file(&format!("w{w}n{n}"), 0, 9))]);
                got.push(t.try_commit(request).await.unwrap().committed().unwrap()[0]);
            }
            got
        })
    });
    let mut all: Vec<Committed> =
        futures::future::join_all(writers).await.into_iter().flat_map(|r| r.unwrap()).collect();
    all.sort_by_key(|c| c.version);
    let versions: Vec<_> = all.iter().map(|c| c.version).collect();
    assert_eq!(versions, (1..=(WRITERS * EACH) as u64).collect::<Vec<_>>(), "each version once, none missing");
    assert!(all.windows(2).all(|w| w[0].timestamp < w[1].timestamp));
    assert_eq!(t.paths(t.head().await).await.len(), WRITERS * EACH);
    // One of two removes of a file wins.
    let removes = [1, 2].map(|n| {
        let t = Table { catalog: t.catalog.clone(), id: t.id };
        let request = t.request(Base::RebaseFrom(80), vec![remove(&file("w0n0", 0, 9)), txn(&format!("app{n}"), 1)]);
        tokio::spawn(async move { t.try_commit(request).await.unwrap() })
    });
    let outcomes = futures::future::join_all(removes).await;
    let won = outcomes.iter().filter(|o| matches!(o, Ok(Outcome::Committed(_)))).count();
    assert_eq!(won, 1, "{outcomes:?}");
}
