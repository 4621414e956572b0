//! Many writers on one table: threads of one process, and processes of one machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use deltalakedb_log::action::Action;
use deltalakedb_log::commit::{Base, Committed, ConflictKind, NewTable, Outcome, Reads};
use deltalakedb_log::conformance::actions::{file, metadata, protocol, remove, txn};
use deltalakedb_log::{Catalog, CommitRequest, TableId, TableRef, Version};
use deltalakedb_tests::{location, sqlite};
use futures::TryStreamExt;
use futures::future::join_all;
use uuid::Uuid;

async fn create(catalog: &dyn Catalog, dir: &Path) -> TableId {
    let id = TableId(Uuid::new_v4());
    let new = NewTable::new("shared".parse().unwrap(), location(&dir.join("shared")));
    let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let request = CommitRequest::new(id, Uuid::new_v4(), Base::Create(new), actions);
    catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    id
}

async fn head(catalog: &dyn Catalog, table: TableId) -> Version {
    catalog.begin(&[table]).await.unwrap()[0].version
}

/// Appends files named after the writer, one commit each, based on the version it reads.
async fn append(catalog: &dyn Catalog, table: TableId, writer: &str, commits: usize) -> Vec<Committed> {
    let mut done = Vec::new();
    for n in 0..commits {
        let base = Base::RebaseFrom(head(catalog, table).await);
        let request =
            CommitRequest::new(table, Uuid::new_v4(), base, vec![Action::add(file(&format!("{writer}-{n}"), 0, 9))]);
        match catalog.commit_all(vec![request]).await {
            Ok(Outcome::Committed(committed)) => done.extend(committed),
            other => panic!("commit {n} of writer {writer}: {other:?}"),
        }
    }
    done
}

/// Checks that every version from 1 to the head has one file, and that every file of every writer exists once.
async fn check_each_once(catalog: &dyn Catalog, table: TableId, writers: &[String], commits: usize) {
    let all = (writers.len() * commits) as Version;
    assert_eq!(head(catalog, table).await, all, "one version for each commit");
    let reader = catalog.reader(table);
    let mut seen = BTreeSet::new();
    let mut commits_there = reader.changes(1, all).await.unwrap();
    let mut next = 1;
    while let Some((version, body)) = commits_there.try_next().await.unwrap() {
        assert_eq!(version, next, "no version is missing");
        next += 1;
        let commit = deltalakedb_log::Commit::parse(body, "a commit").unwrap();
        let adds: Vec<_> =
            commit.actions().iter().filter_map(|a| if let Action::Add(add) = a { Some(add) } else { None }).collect();
        assert_eq!(adds.len(), 1);
        assert!(seen.insert(adds[0].path.clone()), "{} is committed twice", adds[0].path);
    }
    assert_eq!(next, all + 1);
    let want: BTreeSet<_> = writers.iter().flat_map(|w| (0..commits).map(move |n| format!("{w}-{n}"))).collect();
    assert_eq!(seen, want);
    let live: Vec<_> = reader.files(all, None).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(live.into_iter().map(|f| f.path).collect::<BTreeSet<_>>(), want);
    let times: Vec<_> = reader.history(Default::default()).await.unwrap().into_iter().map(|c| c.timestamp).collect();
    assert!(times.windows(2).all(|w| w[0] > w[1]), "times strictly increase");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_append_concurrently() {
    const COMMITS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let table = create(catalog.as_ref(), dir.path()).await;
    let writers: Vec<_> = (0..16).map(|w| format!("task{w}")).collect();
    let tasks = writers.iter().cloned().map(|writer| {
        let catalog = catalog.clone();
        tokio::spawn(async move { append(catalog.as_ref(), table, &writer, COMMITS).await })
    });
    let done: Vec<_> = join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    let versions: BTreeSet<_> = done.iter().map(|c| c.version).collect();
    assert_eq!(versions.len(), done.len(), "what a writer was told is its own");
    check_each_once(catalog.as_ref(), table, &writers, COMMITS).await;
}

const WORKER: &str = "DELTALAKEDB_TEST_WORKER";
const PROCESS_COMMITS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn processes_append_concurrently() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let table = create(catalog.as_ref(), dir.path()).await;
    let writers: Vec<_> = (0..4).map(|w| format!("process{w}")).collect();
    let start = |writer: &String| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "concurrency::worker", "--ignored", "--nocapture"])
            .env(WORKER, format!("{writer} {}", dir.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let running: Vec<_> = writers.iter().map(start).collect();
    for process in running {
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a process failed: {said}{}", String::from_utf8_lossy(&output.stdout));
    }
    check_each_once(catalog.as_ref(), table, &writers, PROCESS_COMMITS).await;
}

/// One of the processes above.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "no test by itself: the test above starts it"]
async fn worker() {
    let job = std::env::var(WORKER).unwrap();
    let (writer, dir) = job.split_once(' ').unwrap();
    let catalog = sqlite(Path::new(dir)).await;
    let name = TableRef::Name("shared".parse().unwrap());
    let table = catalog.find(&name).await.unwrap().unwrap().id;
    append(catalog.as_ref(), table, writer, PROCESS_COMMITS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_concurrent_removes_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = sqlite(dir.path()).await;
    let table = create(catalog.as_ref(), dir.path()).await;
    let contested = file("contested", 0, 9);
    let request = CommitRequest::new(table, Uuid::new_v4(), Base::RebaseFrom(0), vec![Action::add(contested.clone())]);
    catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    let tasks = (0..16).map(|n| {
        let (catalog, contested) = (catalog.clone(), contested.clone());
        tokio::spawn(async move {
            let actions = vec![remove(&contested), txn(&format!("app{n}"), 1)];
            let mut request = CommitRequest::new(table, Uuid::new_v4(), Base::RebaseFrom(1), actions);
            request.reads = Reads { files: vec![contested.key()], ..Default::default() };
            catalog.commit_all(vec![request]).await.unwrap()
        })
    });
    let outcomes: Vec<_> = join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|o| matches!(o, Outcome::Committed(_)));
    assert_eq!(won.len(), 1, "{won:?}");
    for outcome in lost {
        let Outcome::Conflict(conflict) = outcome else { panic!("{outcome:?}") };
        assert_eq!((conflict.version, conflict.kind), (2, ConflictKind::FileAlreadyRemoved("contested".into())));
    }
    assert_eq!(head(catalog.as_ref(), table).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_conflicts_with_a_change_of_schema() {
    let dir = tempfile::tempdir().unwrap();
    let catalog: Arc<dyn Catalog> = sqlite(dir.path()).await;
    let table = create(catalog.as_ref(), dir.path()).await;
    let mut wider = metadata("{}");
    wider.schema_string = wider
        .schema_string
        .replace(r#""fields":["#, r#""fields":[{"name":"more","type":"string","nullable":true,"metadata":{}},"#);
    let requests = [Action::Metadata(wider), Action::add(file("late", 0, 9))]
        .map(|action| CommitRequest::new(table, Uuid::new_v4(), Base::RebaseFrom(0), vec![action]));
    let mut outcomes = Vec::new();
    for request in requests {
        outcomes.push(catalog.commit_all(vec![request]).await.unwrap());
    }
    assert!(matches!(outcomes[0], Outcome::Committed(_)), "{outcomes:?}");
    let Outcome::Conflict(conflict) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!((conflict.version, &conflict.kind), (1, &ConflictKind::MetadataChanged));
    assert_eq!(head(catalog.as_ref(), table).await, 1);
}
