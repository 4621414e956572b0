//! Commits that another engine wrote become versions byte for byte, or are rejected and change nothing.

use super::loads::logged;
use super::*;
use crate::commit::COMMIT_INFO_KEY;
use crate::ids::CommitId;
use crate::retention::{Expiry, Keep};
use crate::verbatim::VerbatimCommit;

/// The time of version 0 here, in milliseconds since 1970. Each version is a second later.
const BEGIN: i64 = 1_600_000_000_000;

fn at(version: Version) -> i64 {
    BEGIN + 1_000 * version as i64
}

const ICT: &str = r#"{"delta.enableInCommitTimestamps":"true"}"#;

/// A commit with a spelling that no writer of ours uses.
fn spelled(info: &str, actions: &[Action]) -> String {
    let lines: Vec<_> = actions.iter().map(|action| action.to_json().replacen("\":{", "\" : {", 1)).collect();
    [&[format!(r#"{{"commitInfo":  {{{info}}}}}"#)], lines.as_slice()].concat().join("\r\n")
}

/// The `commitInfo` of a commit made at that time.
fn made_at(ms: i64) -> String {
    format!(r#""operation":"WRITE","timestamp":{ms},"txnId":"txn of {ms}","inCommitTimestamp":{ms}"#)
}

struct Verbatim {
    table: TestTable,
}

impl Verbatim {
    /// Creates a table with these properties, whose version 0 is such a commit.
    async fn create(catalog: &Arc<dyn Catalog>, name: &str, configuration: &str) -> Self {
        let actions = [Action::Protocol(protocol()), Action::Metadata(metadata(configuration))];
        let this = Self { table: TestTable { catalog: catalog.clone(), id: table_id(name) } };
        let request = this.request(Base::Create(new_table(name)), "v0", &spelled(&made_at(BEGIN), &actions), BEGIN);
        let done = this.table.try_commit(request).await.unwrap().committed().unwrap();
        assert_eq!((done[0].version, done[0].timestamp), (0, BEGIN));
        this
    }

    fn request(&self, base: Base, id: &str, text: &str, time_ms: i64) -> CommitRequest {
        let commit = VerbatimCommit::parse(text.to_string().into(), time_ms).unwrap();
        CommitRequest::verbatim(self.table.id, CommitId::of_name(id), base, commit)
    }

    /// Sends a commit as that version, with everything that a correct writer sends.
    async fn attempt(&self, version: Version, actions: &[Action]) -> Result<Outcome> {
        self.try_text(version, &spelled(&made_at(at(version)), actions), at(version)).await
    }

    async fn try_text(&self, version: Version, text: &str, time_ms: i64) -> Result<Outcome> {
        let id = format!("{version} {text}");
        self.table.try_commit(self.request(Base::Exactly(version - 1), &id, text, time_ms)).await
    }

    /// Asserts that the commit is rejected and nothing has changed.
    async fn refused(&self, outcome: Result<Outcome>, says: &[&str]) {
        refused(outcome, ErrorKind::Invalid, says);
        assert_eq!(self.table.head().await, 1, "{says:?}");
        assert_eq!(self.table.paths(1).await, ["a"], "{says:?}");
    }
}

/// Creates a table whose version 1 has the file `a`.
async fn with_a_file(c: &Arc<dyn Catalog>, configuration: &str) -> Verbatim {
    let t = Verbatim::create(c, "t", configuration).await;
    t.attempt(1, &[Action::add(file("a", 0, 9))]).await.unwrap().committed().unwrap();
    t
}

pub(super) async fn verbatim_bytes_become_the_version(c: Arc<dyn Catalog>) {
    let t = with_a_file(&c, "{}").await;
    let actions = [
        remove(&file("a", 0, 9)),
        Action::add(file("b%20c", 5, 6)),
        txn("app", 7),
        domain("d", "x", false),
        actions::action(r#"{"someDay":{"x":123456789012345678901234567890}}"#),
    ];
    let text = spelled(r#""operation":"MERGE","userName":"ann","custom":1.50"#, &actions);
    let done = t.try_text(2, &text, at(2)).await.unwrap().committed().unwrap()[0];
    assert_eq!((done.version, done.timestamp, done.leap), (2, at(2), None));
    let reader = c.reader(t.table.id);
    assert_eq!(reader.commit_bytes(2).await.unwrap().unwrap(), text, "byte for byte");
    assert_eq!((t.table.paths(1).await, t.table.paths(2).await), (vec!["a".to_string()], vec!["b%20c".to_string()]));
    let snapshot = reader.snapshot(At::Latest).await.unwrap();
    assert_eq!((snapshot.txns["app"].version, snapshot.domains["d"].configuration.as_str()), (7, "x"));
    assert_eq!(snapshot.head.timestamp, at(2));
    let mut hash = crate::SetHash::default();
    hash.insert(&file("b%20c", 5, 6).key());
    assert_eq!(reader.set_hash(2).await.unwrap(), hash);
    let line = &reader.history(HistoryRange::default()).await.unwrap()[0];
    assert_eq!((line.operation.as_deref(), line.committer.as_deref()), (Some("MERGE"), Some("ann")));
    assert_eq!((line.files_added, line.files_removed), (1, 1));
    // Commits of ours continue after it.
    t.table.append("d").await;
    assert_eq!(t.table.paths(3).await, ["b%20c", "d"]);
}

pub(super) async fn a_verbatim_commit_sent_again_is_not_made_twice(c: Arc<dyn Catalog>) {
    let t = with_a_file(&c, "{}").await;
    let text = spelled(&made_at(at(2)), &[Action::add(file("b", 0, 9))]);
    let request = t.request(Base::Exactly(1), "staged", &text, at(2));
    let first = t.table.try_commit(request.clone()).await.unwrap();
    t.attempt(3, &[remove(&file("b", 0, 9))]).await.unwrap().committed().unwrap();
    assert_eq!(t.table.try_commit(request.clone()).await.unwrap(), first, "under its id");
    let found = c.find_commit(t.table.id, request.commit_id).await.unwrap();
    assert_eq!(found.map(|found| (found.version, found.timestamp)), Some((2, at(2))));
    let renamed = t.request(Base::Exactly(1), "staged again", &text, at(2));
    assert_eq!(t.table.try_commit(renamed).await.unwrap(), first, "in the same bytes");
    let create = spelled(&made_at(BEGIN), &[Action::Protocol(protocol()), Action::Metadata(metadata("{}"))]);
    let create = t.request(Base::Create(new_table("t")), "v0 again", &create, BEGIN);
    assert_eq!(t.table.try_commit(create).await.unwrap().committed().unwrap()[0].version, 0);

    let other = spelled(&made_at(at(2) + 1), &[Action::add(file("b", 0, 9))]);
    let other = t.request(Base::Exactly(1), "other", &other, at(2) + 1);
    conflict(t.table.try_commit(other).await.unwrap(), 2, &ConflictKind::VersionTaken);

    // A commit that exists is not committed again, even for another version.
    let elsewhere = spelled(&made_at(at(4)), &[Action::add(file("e", 0, 9))]);
    let wrong_id = t.request(Base::Exactly(3), "staged", &elsewhere, at(4));
    refused(t.table.try_commit(wrong_id).await, ErrorKind::Invalid, &["the id", "version 2", "another commit"]);
    let changed = t.request(Base::Exactly(1), "staged", &elsewhere, at(4));
    refused(t.table.try_commit(changed).await, ErrorKind::Invalid, &["the id", "version 2", "another commit"]);
    let twice = spelled(&made_at(at(2)), &[Action::add(file("b", 0, 9))]);
    let twice = t.request(Base::Exactly(3), "rebased", &twice, at(4));
    refused(t.table.try_commit(twice).await, ErrorKind::Invalid, &["the txnId", "txn of", "version 2"]);
    assert_eq!(t.table.head().await, 3);
    assert_eq!(t.table.paths(3).await, ["a"]);

    // Its id and its time are kept when its version has expired.
    assert!(c.mark_next_published(t.table.id, 0, 3).await.unwrap());
    let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 };
    let expiry = Expiry { table: t.table.id, keep, up_to: 3, committer: Committer::default() };
    assert_eq!(c.expire(&expiry).await.unwrap().base_version, 3);
    assert_eq!(t.table.try_commit(request).await.unwrap(), first);
}

pub(super) async fn a_verbatim_commit_becomes_its_version_or_none(c: Arc<dyn Catalog>) {
    let t = with_a_file(&c, "{}").await;
    let b = || [Action::add(file("b", 0, 9))];
    t.refused(t.attempt(3, &b()).await, &["version 2", "at version 1"]).await;
    t.refused(t.attempt(u64::MAX, &b()).await, &["at version 1"]).await;
    conflict(t.try_text(1, &spelled("", &b()), at(1)).await.unwrap(), 1, &ConflictKind::VersionTaken);
    let text = spelled(&made_at(at(2)), &b());
    let rebased = t.request(Base::RebaseFrom(0), "rebased", &text, at(2));
    t.refused(t.table.try_commit(rebased).await, &["valid for one version only"]).await;
    let other = TestTable::create(&c, "other").await;
    let both = vec![
        t.request(Base::Exactly(1), "both", &text, at(2)),
        other.request(Base::Exactly(0), vec![Action::add(file("b", 0, 9))]),
    ];
    t.refused(c.commit_all(both).await, &["commit it alone"]).await;
    assert_eq!(other.head().await, 0);
    for broken in ["{\"add\":{\"path\":\"x\"}}", "{\"add\":", "no JSON"] {
        refused(VerbatimCommit::parse(broken.into(), at(2)), ErrorKind::Invalid, &["line 1"]);
    }
    let nowhere = Verbatim { table: TestTable { catalog: c.clone(), id: table_id("nowhere") } };
    refused(nowhere.attempt(1, &b()).await, ErrorKind::NotFound, &["no table"]);
}

pub(super) async fn a_verbatim_commit_has_its_in_commit_timestamp(c: Arc<dyn Catalog>) {
    let t = with_a_file(&c, ICT).await;
    let b = [Action::add(file("b", 0, 9))];
    t.refused(t.try_text(2, &spelled(r#""operation":"WRITE""#, &b), at(2)).await, &["no inCommitTimestamp"]).await;
    let as_text = spelled(&format!(r#""inCommitTimestamp":"{}""#, at(2)), &b);
    t.refused(t.try_text(2, &as_text, at(2)).await, &["no inCommitTimestamp"]).await;
    let last = spelled(&made_at(at(2)), &b).lines().rev().collect::<Vec<_>>().join("\n");
    t.refused(t.try_text(2, &last, at(2)).await, &["its first action"]).await;
    t.refused(t.try_text(2, &spelled("", &[]), at(2)).await, &["no inCommitTimestamp"]).await;
    let claimed = t.try_text(2, &spelled(&made_at(at(2)), &b), at(2) + 1).await;
    t.refused(claimed, &[&at(2).to_string(), &(at(2) + 1).to_string(), "was claimed"]).await;
    for ms in [at(1), at(1) - 1, -1, i64::MIN] {
        let info = format!(r#""inCommitTimestamp":{ms},"txnId":"of {ms}""#);
        t.refused(t.try_text(2, &spelled(&info, &b), ms).await, &["not later than", &at(1).to_string()]).await;
    }
    let ahead = c.now_ms().await.unwrap() + 60_000;
    for ms in [ahead, i64::MAX] {
        t.refused(t.try_text(2, &spelled(&made_at(ms), &b), ms).await, &["in the future"]).await;
    }
    // The next millisecond is later; of duplicate members the last one counts, as everywhere.
    let next = at(1) + 1;
    let info = format!(r#""inCommitTimestamp":1,"custom":{{"inCommitTimestamp":2}},"inCommitTimestamp":{next}"#);
    let done = t.try_text(2, &spelled(&info, &b), next).await.unwrap().committed().unwrap()[0];
    assert_eq!((done.version, done.timestamp), (2, next));
    let found = c.reader(t.table.id).snapshot(At::Timestamp(next)).await.unwrap();
    assert_eq!(found.version(), 2);
}

pub(super) async fn a_verbatim_commit_without_in_commit_timestamp_has_the_claimed_time(c: Arc<dyn Catalog>) {
    let t = with_a_file(&c, "{}").await;
    let plain = |path: &str| spelled("", &[Action::add(file(path, 0, 9))]);
    let ahead = c.now_ms().await.unwrap() + 60_000;
    t.refused(t.try_text(2, &plain("b"), ahead).await, &["in the future", "clock"]).await;
    for (version, claimed, got) in [(2, at(2), at(2)), (3, at(2), at(2) + 1), (4, at(0), at(2) + 2)] {
        let done = t.try_text(version, &plain(&format!("f{version}")), claimed).await.unwrap().committed().unwrap();
        assert_eq!((done[0].version, done[0].timestamp), (version, got), "times grow strictly");
    }

    // A table that is ahead of the clock advances by 1 ms per version.
    let begin = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let future = HistoryLoad {
        future_times: FutureTimes::Accept,
        ..HistoryLoad::new(
            table_id("future"),
            new_table("future"),
            futures::stream::iter([Ok(logged(0, ahead, &begin))]),
        )
    };
    c.load_history(future).await.unwrap();
    let future = Verbatim { table: TestTable { catalog: c.clone(), id: table_id("future") } };
    refused(future.try_text(1, &plain("a"), ahead + 2).await, ErrorKind::Invalid, &["in the future"]);
    for (version, claimed) in [(1, ahead + 1), (2, at(2))] {
        let done = future.try_text(version, &plain(&format!("f{version}")), claimed).await.unwrap();
        assert_eq!(done.committed().unwrap()[0].timestamp, ahead + version as i64);
    }

    // The version that enables in-commit timestamps records it.
    let turned_on = |properties: &str| {
        let configuration = format!(r#"{{"delta.enableInCommitTimestamps":"true"{properties}}}"#);
        spelled(&made_at(at(5)), &[Action::Metadata(metadata(&configuration))])
    };
    let silent = t.try_text(5, &turned_on(""), at(5)).await;
    refused(silent, ErrorKind::Invalid, &["inCommitTimestampEnablementVersion to 5"]);
    let since = |version: u64, ms: i64| {
        format!(
            r#","delta.inCommitTimestampEnablementVersion":"{version}","delta.inCommitTimestampEnablementTimestamp":"{ms}""#
        )
    };
    let wrong = t.try_text(5, &turned_on(&since(5, at(4))), at(5)).await;
    refused(wrong, ErrorKind::Invalid, &["inCommitTimestampEnablementTimestamp to 1600000005000"]);
    t.try_text(5, &turned_on(&since(5, at(5))), at(5)).await.unwrap().committed().unwrap();
    refused(t.try_text(6, &plain("g"), at(6)).await, ErrorKind::Invalid, &["no inCommitTimestamp"]);
}

pub(super) async fn illegal_verbatim_commits_are_refused(c: Arc<dyn Catalog>) {
    let t = with_a_file(&c, r#"{"delta.appendOnly":"true"}"#).await;
    let (a, b) = (file("a", 0, 9), file("b", 0, 9));
    let rearranged = |add: &Add| Action::Remove(crate::action::Remove::of(add, 5, false));
    let cdc = |path: &str| {
        actions::action(&format!(r#"{{"cdc":{{"path":"{path}","partitionValues":{{}},"size":1,"dataChange":false}}}}"#))
    };
    let features = |reader: &str, writer: &str| {
        actions::action(&format!(
            r#"{{"protocol":{{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":[{reader}],"writerFeatures":[{writer}]}}}}"#
        ))
    };
    let add = |path: &str| Action::add(file(path, 0, 9));
    let cases: Vec<(Vec<Action>, &str)> = vec![
        (vec![rearranged(&b)], "not a file of the table"),
        (vec![rearranged(&with_dv(a.clone(), "x"))], "not a file of the table"),
        (vec![remove(&a)], "append-only"),
        (vec![Action::add(b.clone()), Action::add(b.clone())], "adds the same file twice"),
        (vec![add("b%20c"), add("b c")], "adds the same file twice"),
        (vec![Action::add(b.clone()), Action::add(with_dv(b.clone(), "x"))], "adds b twice"),
        (vec![Action::add(a.clone()), rearranged(&a)], "both adds and removes a"),
        (vec![Action::add(with_dv(a.clone(), "x"))], "adds a with another deletion vector"),
        (vec![txn("x", 1), txn("x", 2)], "two txn actions"),
        (vec![domain("d", "", false), domain("d", "", true)], "one domain twice"),
        (vec![actions::action(r#"{"sidecar":{"path":"x"}}"#)], "belongs in a checkpoint"),
        (vec![Action::Protocol(protocol()), Action::Protocol(protocol())], "2 protocol actions"),
        (vec![add("../t2/b")], "leads out of its folder"),
        (vec![add("day=a/../../t2/b")], "leads out of its folder"),
        (vec![add("%2e%2E/t2/b")], "leads out of its folder"),
        (vec![add("file:///nowhere/t/../t2/b")], "leads out of its folder"),
        (vec![cdc("_change_data/../../t2/b")], "leads out of its folder"),
        (vec![Action::add(with_dv(b.clone(), "../../t2/ab^-aqEH.-t@S}K{vb[*k^"))], "leads out of its folder"),
        (vec![Action::add(with_dv(b.clone(), "file:///t2/^-aqEH.-t@S}K{vb[*k^"))], "leads out of its folder"),
        (vec![add("_delta_log/00000000000000000009.json")], "not a data file"),
        (vec![add("./_delta%5Flog/00000000000000000009.json")], "not a data file"),
        (vec![add("")], "not a data file"),
        (vec![features("", r#""quantumEntanglement""#)], "quantumEntanglement"),
        (vec![features(r#""quantumEntanglement""#, "")], "quantumEntanglement"),
        (
            vec![features(r#""catalogManaged""#, r#""catalogManaged","inCommitTimestamp""#)],
            "without in-commit timestamps",
        ),
    ];
    for (actions, says) in cases {
        t.refused(t.attempt(2, &actions).await, &["default.t", says]).await;
    }
    let (catalog, _) = c.identity().await.unwrap();
    let ours = format!(r#""{COMMIT_INFO_KEY}":{{"catalogId":"{catalog}","groupId":"g","participants":["other"]}}"#);
    let forged = t.try_text(2, &spelled(&ours, &[add("b")]), at(2)).await;
    t.refused(forged, &["this catalog made it"]).await;
    let bare = t.request(Base::Create(new_table("x")), "bare", &spelled("", &[add("b")]), BEGIN);
    let bare = CommitRequest { table: table_id("x"), ..bare };
    refused(c.commit_all(vec![bare]).await, ErrorKind::Invalid, &["without a protocol"]);
    assert_eq!(c.tables().await.unwrap().len(), 1);
}

pub(super) async fn verbatim_commits_may_enable_tracked_features(c: Arc<dyn Catalog>) {
    let t = with_a_file(&c, ICT).await;
    let tracked = actions::action(
        r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors","catalogManaged"],"writerFeatures":["deletionVectors","domainMetadata","inCommitTimestamp","rowTracking","clustering","catalogManaged"]}}"#,
    );
    let with_row_ids = Add { base_row_id: Some(0), default_row_commit_version: Some(2), ..file("b", 0, 9) };
    let actions = [tracked, Action::add(with_row_ids.clone()), domain("delta.rowTracking", "{}", false)];
    t.attempt(2, &actions).await.unwrap().committed().unwrap();
    assert!(t.table.files(2, None).await.contains(&with_row_ids));

    let nameless = spelled(&format!(r#""inCommitTimestamp":{}"#, at(3)), &[Action::add(file("c", 0, 9))]);
    refused(t.try_text(3, &nameless, at(3)).await, ErrorKind::Invalid, &["no txnId", "catalog-managed"]);
    let empty = nameless.replacen('}', r#","txnId":""}"#, 1);
    refused(t.try_text(3, &empty, at(3)).await, ErrorKind::Invalid, &["no txnId", "catalog-managed"]);
    t.attempt(3, &[Action::add(file("c", 0, 9))]).await.unwrap().committed().unwrap();

    let ours = t.table.request(Base::Exactly(3), vec![Action::add(file("d", 0, 9))]);
    refused(t.table.try_commit(ours).await, ErrorKind::Invalid, &["default.t", "not supported"]);
    assert_eq!(t.table.paths(t.table.head().await).await, ["a", "b", "c"]);
}
