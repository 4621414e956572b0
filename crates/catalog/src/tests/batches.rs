//! Commits of one batch are decided as if they were committed one after the other.

use deltalakedb_log::TxnLogReaderExt;
use deltalakedb_log::commit::{Outcome, Reads};
use deltalakedb_log::conformance::actions::{file, metadata, remove, txn, with_dv};
use futures::future::{join, join_all};

use super::*;

/// A request with an id derived from its number.
fn request(id: TableId, n: u128, base: Base, actions: Vec<Action>) -> CommitRequest {
    CommitRequest::new(id, Uuid::from_u128(100 + n), base, actions)
}

fn add(path: &str) -> Action {
    Action::add(file(path, 0, 9))
}

fn app(version: i64) -> Action {
    txn("app", version)
}

/// Requests of every kind, most of them based on a version that is behind others of the batch.
fn mixed(id: TableId) -> Vec<CommitRequest> {
    let at = Base::RebaseFrom;
    let reading = |n, base, actions, reads| CommitRequest { reads, ..request(id, n, base, actions) };
    let of_file = |path: &str| Reads { files: vec![file(path, 0, 9).key()], ..Reads::default() };
    let everything = || Reads { whole_table: true, ..Reads::default() };
    vec![
        request(id, 0, at(1), vec![add("c")]),
        reading(1, at(1), vec![remove(&file("a", 0, 9))], of_file("a")),
        reading(2, at(1), vec![remove(&file("a", 0, 9))], of_file("a")),
        request(id, 3, at(1), vec![remove(&file("never there", 0, 9))]),
        request(id, 4, at(1), vec![add("d"), app(1)]),
        request(id, 5, at(1), vec![add("e"), app(2)]),
        reading(6, at(1), vec![add("f")], everything()),
        request(id, 7, Base::Exactly(1), vec![add("g")]),
        request(id, 8, Base::Exactly(4), vec![add("h")]),
        // Repeated with the same id, and with another id, which conflicts.
        request(id, 0, at(1), vec![add("c")]),
        request(id, 9, at(1), vec![Action::add(with_dv(file("b", 0, 9), "v"))]),
        // Files of the batch are removed, added again, and removed twice.
        reading(10, at(2), vec![remove(&file("c", 0, 9))], of_file("c")),
        request(id, 11, at(2), vec![add("c")]),
        reading(12, at(2), vec![remove(&file("d", 0, 9))], of_file("d")),
        reading(13, at(2), vec![remove(&file("d", 0, 9))], of_file("d")),
        CommitRequest { reads: of_file("b"), ..request(id, 14, Base::ReadAt(1), vec![]) },
        CommitRequest { reads: of_file("a"), ..request(id, 15, Base::ReadAt(1), vec![]) },
        request(id, 16, at(1), vec![Action::Metadata(metadata(r#"{"delta.appendOnly":"true"}"#))]),
        request(id, 17, at(8), vec![Action::Metadata(metadata(r#"{"delta.appendOnly":"true"}"#))]),
        request(id, 18, at(8), vec![add("i")]),
        request(id, 19, at(1000), vec![add("j")]),
        request(TableId(Uuid::from_u128(77)), 20, at(1), vec![add("k")]),
        request(id, 21, at(9), vec![add("l")]),
        request(id, 22, at(9), vec![remove(&file("b", 0, 9))]),
    ]
}

/// The result for a caller, without the name of the catalog.
fn outcome_text(catalog: &SqlCatalog, outcome: Result<Outcome>) -> String {
    let text = match outcome {
        Ok(Outcome::Committed(all)) => format!("{:?}", all.iter().map(|c| c.version).collect::<Vec<_>>()),
        Ok(Outcome::Conflict(conflict)) => conflict.to_string(),
        Ok(Outcome::Unknown(why)) => format!("unknown: {why}"),
        Err(e) => format!("{:?}: {e}", e.kind()),
    };
    text.replace(&catalog.describe(), "the catalog")
}

fn outcome_texts(catalog: &SqlCatalog, outcomes: Vec<Result<Outcome>>) -> Vec<String> {
    outcomes.into_iter().map(|outcome| outcome_text(catalog, outcome)).collect()
}

/// Sends commits while the tables are locked, so that they wait and then run as one batch.
async fn commit_together(catalog: &SqlCatalog, requests: Vec<CommitRequest>) -> Vec<Result<Outcome>> {
    let locked = catalog.write(&[requests[0].table]).await.unwrap();
    let commits = join_all(requests.into_iter().map(|request| catalog.commit_all(vec![request])));
    join(commits, async { drop(locked) }).await.0
}

async fn state(catalog: &SqlCatalog, id: TableId) -> (Vec<String>, Vec<(u64, Option<String>, u64, u64)>, bool) {
    let reader = catalog.reader(id);
    let version = reader.head().await.unwrap().version;
    let files: Vec<_> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
    let mut hash = deltalakedb_log::SetHash::default();
    files.iter().for_each(|file| hash.insert(&file.key()));
    let mut paths: Vec<_> = files.into_iter().map(|file| file.path).collect();
    paths.sort();
    let history = reader.history(Default::default()).await.unwrap();
    let history = history.into_iter().map(|c| (c.version, c.operation, c.files_added, c.files_removed)).collect();
    (paths, history, hash == reader.set_hash(version).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_decided_as_its_transactions_in_sequence() {
    for database in databases("conformance") {
        let dir = tempfile::tempdir().unwrap();
        let open = async |name| {
            let catalog = connect_to(&database.uri(dir.path(), name), 1).await.unwrap();
            let id = create(&catalog).await;
            let first = request(id, 50, Base::Exactly(0), vec![add("a"), add("b")]);
            catalog.commit_all(vec![first]).await.unwrap().committed().unwrap();
            (catalog, id)
        };
        let ((one_by_one, id), (at_once, _)) = (open("alone").await, open("batch").await);
        let mut expected = Vec::new();
        for request in mixed(id) {
            expected.push(outcome_text(&one_by_one, one_by_one.commit_all(vec![request]).await));
        }
        let outcomes = outcome_texts(&at_once, commit_together(&at_once, mixed(id)).await);
        assert_eq!(outcomes, expected, "{database:?}");
        assert_eq!(state(&at_once, id).await, state(&one_by_one, id).await, "{database:?}");
        assert!(state(&at_once, id).await.2, "{database:?}: the hash is that of the files");
        assert!(expected.iter().filter(|text| text.starts_with('[')).count() >= 9, "{expected:#?}");
        let commits: Vec<_> = at_once.reader(id).changes(0, 9).await.unwrap().try_collect().await.unwrap();
        let times: Vec<i64> = commits.iter().map(|(_, body)| time_of(body)).collect();
        assert!(times.windows(2).all(|w| w[0] < w[1]), "{database:?}: {times:?}");
    }
}

fn time_of(body: &[u8]) -> i64 {
    let commit = deltalakedb_log::Commit::parse(body.to_vec().into(), "a commit").unwrap();
    commit.info().unwrap().0.get("timestamp").unwrap()
}

#[tokio::test]
async fn waiting_appends_share_four_round_trips() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = recorded(dir.path()).await;
    let id = create(&catalog).await;
    let appends = (0..21).map(|n| request(id, n, Base::RebaseFrom(0), vec![add(&format!("f{n}"))]));
    record.trips();
    let outcomes = commit_together(&catalog, appends.collect()).await;
    assert_eq!(record.trips(), 4, "the heads, the ids, the files and all that is new");
    let versions: Vec<_> = outcomes.into_iter().map(|o| o.unwrap().committed().unwrap()[0].version).collect();
    assert_eq!(versions, (1..=21).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_catalog_batches_commits_to_many_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = recorded(dir.path()).await;
    let ids: Vec<_> = (0..8).map(|n| TableId(Uuid::from_u128(1000 + n))).collect();
    for (n, id) in ids.iter().enumerate() {
        let new = NewTable::new(format!("t{n}").parse().unwrap(), Location::parse(&format!("/nowhere/t{n}")).unwrap());
        let actions = vec![Action::Protocol(actions::protocol()), Action::Metadata(metadata("{}"))];
        let made = CommitRequest::new(*id, Uuid::from_u128(2), Base::Create(new), actions);
        catalog.commit_all(vec![made]).await.unwrap().committed().unwrap();
    }
    record.trips();
    let appends = ids.iter().map(|id| request(*id, 0, Base::RebaseFrom(0), vec![add("f")]));
    for outcome in commit_together(&catalog, appends.collect()).await {
        assert_eq!(outcome.unwrap().committed().unwrap()[0].version, 1);
    }
    assert_eq!(record.trips(), 3, "no table has two of them");
    // Some of them are transactions over several tables.
    let both = |n| {
        let of = |id: &TableId| request(*id, n, Base::RebaseFrom(1), vec![add(&format!("g{n}"))]);
        ids.iter().take(2).map(of).collect::<Vec<_>>()
    };
    let locked = catalog.write(&[]).await.unwrap();
    let commits = join_all((1..5).map(|n| catalog.commit_all(both(n))));
    for (n, outcome) in (0..).zip(join(commits, async { drop(locked) }).await.0) {
        let versions: Vec<_> = outcome.unwrap().committed().unwrap().into_iter().map(|c| c.version).collect();
        assert_eq!(versions, [2 + n, 2 + n]);
    }
}

#[tokio::test]
async fn a_lost_response_of_a_batch_is_unknown_to_every_caller() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = recorded(dir.path()).await;
    let id = create(&catalog).await;
    let batch = || (0..4).map(|n| request(id, n, Base::Exactly(n as u64 % 2), vec![add(&format!("f{n}"))])).collect();
    *record.lose() = Lose::Everything;
    let texts = outcome_texts(&catalog, commit_together(&catalog, batch()).await);
    *record.lose() = Lose::Nothing;
    let unknown = texts.iter().filter(|text| text.starts_with("unknown")).count();
    assert_eq!(unknown, 2, "{texts:#?}");
    let again = texts.iter().filter(|text| text.starts_with("Unavailable")).count();
    assert_eq!(again, 2, "what was taken by a version that may not be there is to be tried again: {texts:#?}");
    // Sent again, the ids give the same results.
    let texts = outcome_texts(&catalog, commit_together(&catalog, batch()).await);
    assert_eq!(texts[..2], ["[1]", "[2]"], "{texts:#?}");
    assert!(texts[2].contains("is taken") && texts[3].contains("is taken"), "{texts:#?}");
}

#[tokio::test]
async fn a_refused_batch_is_committed_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let (catalog, record) = recorded(dir.path()).await;
    let id = create(&catalog).await;
    *record.lose() = Lose::Batches;
    let batch = (0..4).map(|n| request(id, n, Base::Exactly(n as u64 % 2), vec![add(&format!("f{n}"))])).collect();
    let texts = outcome_texts(&catalog, commit_together(&catalog, batch).await);
    assert_eq!(texts[..2], ["[1]", "[2]"], "{texts:#?}");
    assert!(texts[2].contains("is taken") && texts[3].contains("is taken"), "{texts:#?}");
}
