//! Random histories, from a seed: the catalog in each database is compared with the in-memory catalog, and the
//! published log with plain delta-rs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use deltalakedb_catalog::ConnectOptions;
use deltalakedb_log::action::{Action, Add, DeletionVector, DomainMetadata, Metadata, Protocol, Remove, Version};
use deltalakedb_log::commit::{Base, Isolation, NewTable, Outcome, Reads};
use deltalakedb_log::conformance::actions::{action, file, metadata, protocol, remove, txn};
use deltalakedb_log::predicate::{Comparison, Literal};
use deltalakedb_log::retention::COMMIT_IDS_MS;
use deltalakedb_log::{
    At, Catalog, Clock, CommitRequest, Committer, DropMode, DropTable, Expiry, Keep, MemoryCatalog, Predicate,
    SeededClock, SetHash, Snapshot, SystemClock, TableId, TableRef, TxnLogError,
};
use deltalakedb_mirror::Mirror;
use deltalakedb_tests::{
    Database, SeedReport, catalog_with, databases, location, our_state, same_state, seeds, soak, their_state,
};
use fastrand::Rng;
use futures::{StreamExt, TryStreamExt};
use uuid::Uuid;

const SEEDS: u64 = 24;
const STEPS: u64 = 40;
const TABLES: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_are_equal_in_every_catalog() {
    let seeds = seeds(SEEDS * soak());
    let everywhere: Vec<_> = databases("property").iter().flat_map(|d| seeds.iter().map(|seed| (*d, *seed))).collect();
    let count = everywhere.len();
    let runs = everywhere.into_iter().map(|(database, seed)| async move {
        tokio::spawn(async move {
            let _named = SeedReport::new(seed, database);
            run(seed, database).await
        })
        .await
    });
    let runs: Vec<_> = futures::stream::iter(runs).buffer_unordered(4).collect().await;
    let failed = runs.iter().filter(|run| run.is_err()).count();
    assert_eq!(failed, 0, "{failed} of {count} histories failed, see above");
    let (committed, removed) = runs.into_iter().flatten().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert!(removed > 0, "no table was removed after its retention");
    assert!(committed > count * 20, "most of what is asked is refused: {committed} commits in {count} histories");
}

/// A clock that is moved forward, or back, before every step: both catalogs get the same time and the same ids in a
/// step, with any number of calls.
#[derive(Debug)]
struct Stepped(Mutex<SeededClock>);

impl Stepped {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(SeededClock::new(1_700_000_000_000, seed))))
    }

    fn step(&self, ms: i64, seed: u64) {
        *self.0.lock().unwrap() = SeededClock::new(ms, seed);
    }
}

impl Clock for Stepped {
    fn now_ms(&self) -> i64 {
        self.0.lock().unwrap().now_ms()
    }

    fn new_uuid(&self) -> Uuid {
        self.0.lock().unwrap().new_uuid()
    }
}

struct Story {
    rng: Rng,
    clocks: [Arc<Stepped>; 2],
    /// The model.
    memory: Arc<dyn Catalog>,
    database: Arc<dyn Catalog>,
    tables: Vec<TableModel>,
    /// Earlier requests, to be sent again.
    requests_made: Vec<Vec<CommitRequest>>,
    dir: PathBuf,
    /// The number of tables removed after their retention.
    removed: usize,
}

struct TableModel {
    id: TableId,
    new: NewTable,
    /// All files, including removed ones.
    files: Vec<Add>,
    /// The hash of the live files of each version, read when it was the newest.
    hashes: Vec<SetHash>,
    features: Protocol,
    metadata: Metadata,
}

/// Runs one history; returns the number of commits and of removed tables.
async fn run(seed: u64, database: Database) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::new(seed, dir.path(), database).await;
    for step in 0..STEPS {
        story.step(seed, step).await;
    }
    story.bring_back().await;
    let mut committed = 0;
    for table in &story.tables {
        committed += table.hashes.len();
        story.check_all_versions(table).await;
    }
    story.check_mirror(dir.path()).await;
    (committed, story.removed)
}

impl Story {
    async fn new(seed: u64, dir: &Path, database: Database) -> Self {
        let clocks = [Stepped::new(seed), Stepped::new(seed)];
        let memory = MemoryCatalog::new(clocks[0].clone());
        let options = ConnectOptions { clock: clocks[1].clone(), server_clock: false, ..Default::default() };
        let database = catalog_with(database, dir, options).await;
        let tables = (0..TABLES).map(|n| TableModel {
            id: TableId(Uuid::from_u128(n as u128 + 1)),
            new: NewTable::new(format!("t{n}").parse().unwrap(), location(&dir.join(format!("t{n}")))),
            files: Vec::new(),
            hashes: Vec::new(),
            features: protocol(),
            metadata: metadata("{}"),
        });
        Self {
            rng: Rng::with_seed(seed),
            clocks,
            memory: Arc::new(memory),
            database,
            tables: tables.collect(),
            requests_made: Vec::new(),
            dir: dir.to_path_buf(),
            removed: 0,
        }
    }

    async fn step(&mut self, seed: u64, step: u64) {
        let ms = 1_700_000_000_000 + step as i64 * 10 + self.rng.i64(-50..50);
        self.clocks.iter().for_each(|clock| clock.step(ms, seed.wrapping_mul(1_000_003).wrapping_add(step)));
        let requests = match self.requests_made.len() {
            0 => vec![self.create(0)],
            1 => vec![self.create(1)],
            n if self.rng.u8(..) < 12 => self.requests_made[self.rng.usize(..n)].clone(),
            _ if self.rng.u8(..) < 24 => {
                let table = self.rng.usize(..TABLES);
                return self.change_life(table, step).await;
            }
            _ if self.rng.u8(..) < 8 => {
                let table = self.rng.usize(..TABLES);
                return self.remove(table, ms, step).await;
            }
            _ if self.rng.u8(..) < 10 => {
                let table = self.rng.usize(..TABLES);
                return self.expire(table, step, ms).await;
            }
            _ => {
                let both = self.rng.u8(..) < 50;
                let first = self.rng.usize(..TABLES);
                let members = if both { vec![first, 1 - first] } else { vec![first] };
                let mut requests = Vec::new();
                for table in members {
                    requests.push(self.request(table).await);
                }
                requests
            }
        };
        let in_memory = self.memory.commit_all(requests.clone()).await;
        let in_database = self.database.commit_all(requests.clone()).await;
        // Some errors name the catalog.
        let text = |outcome, catalog: &dyn Catalog| outcome_text(outcome).replace(&catalog.describe(), "the catalog");
        let answers = (text(&in_memory, self.memory.as_ref()), text(&in_database, self.database.as_ref()));
        assert_eq!(answers.0, answers.1, "step {step}: memory and the database decide alike about {requests:#?}");
        self.requests_made.push(requests);
        for n in 0..TABLES {
            self.record_version(n, step).await;
        }
    }

    /// Renames a table, drops it, or undrops it, in memory and in the database.
    async fn change_life(&mut self, n: usize, step: u64) {
        let (table, catalogs) = (self.tables[n].id, [self.memory.clone(), self.database.clone()]);
        let (what, name) = (self.rng.u8(..4), ["t0", "t1", "u"][self.rng.usize(..3)].parse().unwrap());
        let mut answers = Vec::new();
        for catalog in catalogs {
            answers.push(match what {
                0 | 1 => {
                    format!(
                        "{:?}",
                        catalog.rename_table(table, &name, &Committer::named("ann")).await.map_err(|e| e.to_string())
                    )
                }
                2 => match catalog.acquire_lease(table, Uuid::from_u128(5), 0, 1).await {
                    Ok(lease) => {
                        let mode = DropMode::Retain { ms: 1_000_000 };
                        let drop = DropTable {
                            mode,
                            allow_unpublished: true,
                            at_version: None,
                            committer: Committer::default(),
                        };
                        format!("{:?}", catalog.drop_table(&lease.unwrap(), &drop).await.map_err(|e| e.to_string()))
                    }
                    Err(e) => e.to_string(),
                },
                _ => format!(
                    "{:?}",
                    catalog.undrop_table(table, Some(&name), &Committer::default()).await.map_err(|e| e.to_string())
                ),
            });
            answers.push(format!("{:?}", catalog.tables().await.unwrap()));
            answers.push(format!("{:?}", catalog.inactive_tables(None, 100).await.unwrap()));
        }
        assert_eq!(answers[..3], answers[3..], "step {step}: memory and the database do the same with {n}");
    }

    /// Removes a dropped table, long after its retention, and creates another one instead.
    async fn remove(&mut self, n: usize, ms: i64, step: u64) {
        let table = self.tables[n].id;
        if self.database.inactive_table(table).await.unwrap().is_none() {
            return;
        }
        // New ids, because one would be in the audit already.
        self.clocks.iter().for_each(|clock| clock.step(ms + 2 * COMMIT_IDS_MS, u64::MAX - 2 * step));
        let mut answers = Vec::new();
        for catalog in [self.memory.clone(), self.database.clone()] {
            answers.push(format!("{:?}", catalog.removable_tables(None, 100).await.unwrap()));
            while !catalog.remove_table(table).await.unwrap().is_done {}
            answers.push(format!("{:?}", catalog.inactive_tables(None, 100).await.unwrap()));
        }
        assert_eq!(answers[..2], answers[2..], "step {step}: memory and the database remove the same");
        self.clocks.iter().for_each(|clock| clock.step(ms, u64::MAX - 2 * step - 1));
        let place = location(&self.dir.join(format!("t{n}-{step}")));
        self.tables[n] = TableModel {
            id: TableId(Uuid::from_u128(self.rng.u128(..))),
            new: NewTable::new(format!("again{step}").parse().unwrap(), place),
            files: Vec::new(),
            hashes: Vec::new(),
            features: protocol(),
            metadata: metadata("{}"),
        };
        let requests = vec![self.create(n)];
        for catalog in [self.memory.clone(), self.database.clone()] {
            catalog.commit_all(requests.clone()).await.unwrap().committed().unwrap();
        }
        self.removed += 1;
        self.record_version(n, step).await;
    }

    /// Publishes a table and expires some of its history, in memory and in the database.
    async fn expire(&mut self, n: usize, step: u64, now_ms: i64) {
        let table = self.tables[n].id;
        let Some(entry) = self.memory.find(&TableRef::Id(table)).await.unwrap() else {
            return;
        };
        Mirror::new(self.database.clone(), Arc::new(SystemClock)).publish(table).await.unwrap();
        let next = entry.published_version.map_or(entry.base_version, |version| version + 1);
        self.memory.mark_next_published(table, next, entry.current_version).await.unwrap();
        let keep = Keep {
            since_ms: now_ms - self.rng.i64(0..200),
            versions: self.rng.u64(1..6),
            ids_since_ms: now_ms - self.rng.i64(0..200),
        };
        let expiry =
            Expiry { table, keep, up_to: self.rng.u64(..=entry.current_version), committer: Committer::default() };
        let mut answers = Vec::new();
        for catalog in [self.memory.clone(), self.database.clone()] {
            answers.push(format!("{:?}", catalog.end_of_history(table, &keep).await.unwrap()));
            answers.push(format!("{:?}", catalog.expire(&expiry).await.unwrap()));
            answers.push(format!("{:?}", catalog.tables().await.unwrap()));
        }
        assert_eq!(answers[..3], answers[3..], "step {step}: memory and the database end the same of {n}");
    }

    /// The oldest retained version of a table.
    async fn base(&self, table: TableId) -> Version {
        self.database.find(&TableRef::Id(table)).await.unwrap().unwrap().base_version
    }

    /// Undrops every dropped table.
    async fn bring_back(&self) {
        for catalog in [&self.memory, &self.database] {
            for (n, table) in self.tables.iter().enumerate() {
                if catalog.inactive_table(table.id).await.unwrap().is_some() {
                    let name = format!("back{n}").parse().unwrap();
                    catalog.undrop_table(table.id, Some(&name), &Committer::default()).await.unwrap();
                }
            }
        }
    }

    fn create(&mut self, n: usize) -> CommitRequest {
        let table = &mut self.tables[n];
        if self.rng.bool() {
            table.metadata = metadata(r#"{"delta.enableInCommitTimestamps":"true"}"#);
        }
        let actions = vec![Action::Protocol(table.features.clone()), Action::Metadata(table.metadata.clone())];
        CommitRequest::new(table.id, Uuid::from_u128(self.rng.u128(..)), Base::Create(table.new.clone()), actions)
    }

    /// Records the state of a table, if it has a new version.
    async fn record_version(&mut self, n: usize, step: u64) {
        let table = &mut self.tables[n];
        let Some(entry) = self.database.find(&TableRef::Id(table.id)).await.unwrap() else {
            return;
        };
        assert_eq!(Some(&entry), self.memory.find(&TableRef::Id(table.id)).await.unwrap().as_ref(), "step {step}");
        let version = entry.current_version;
        if table.hashes.len() as Version == version + 1 {
            return;
        }
        assert_eq!(table.hashes.len() as Version, version, "step {step} made one version");
        let files = live(self.database.as_ref(), table.id, version, None).await;
        table.hashes.push(set_hash(&files));
        for add in files.into_values() {
            if table.files.iter().all(|f| f.key() != add.key()) {
                table.files.push(add);
            }
        }
        let snapshot = self.database.reader(table.id).snapshot(At::Latest).await.unwrap();
        (table.features, table.metadata) = (snapshot.head.protocol, snapshot.head.metadata);
        // Earlier versions do not change.
        let past = self.rng.u64(entry.base_version..=version);
        let again = set_hash(&live(self.database.as_ref(), table.id, past, None).await);
        assert_eq!(again, table.hashes[past as usize], "step {step}: the files of version {past} have changed");
    }

    async fn request(&mut self, n: usize) -> CommitRequest {
        let (id, head) = (self.tables[n].id, self.tables[n].hashes.len() as Version - 1);
        let before = self.rng.u64(head.saturating_sub(3)..=head);
        let base = match self.rng.u8(..100) {
            0..45 => Base::Exactly(head),
            45..65 => Base::RebaseFrom(head),
            65..90 => Base::RebaseFrom(before),
            90..97 => Base::Exactly(before),
            97..99 => Base::RebaseFrom(head + 1),
            _ => Base::Create(self.tables[n].new.clone()),
        };
        let live: Vec<Add> = match self.memory.find(&TableRef::Id(id)).await.unwrap() {
            Some(_) => live(self.memory.as_ref(), id, head, None).await.into_values().collect(),
            // A commit to a dropped table is rejected.
            None => self.tables[n].files.clone(),
        };
        let mut actions = Vec::new();
        for _ in 0..self.rng.usize(1..4) {
            actions.extend(self.change(n, &live));
        }
        if self.rng.u8(..) < 250 {
            actions = legal(actions);
        }
        let mut request = CommitRequest::new(id, Uuid::from_u128(self.rng.u128(..)), base, actions);
        request.reads = self.reads(&live);
        request.isolation = match self.rng.u8(..10) {
            0 => Some(Isolation::Serializable),
            1 => Some(Isolation::WriteSerializable),
            2 => Some(Isolation::SnapshotIsolation),
            _ => None,
        };
        request.committer = self.rng.bool().then(|| "ann ü".into());
        request
    }

    fn reads(&mut self, live: &[Add]) -> Reads {
        let rng = &mut self.rng;
        let mut reads = Reads::default();
        match rng.u8(..10) {
            0 => reads.whole_table = true,
            1 | 2 => reads.files = rng.choose_multiple(live.iter(), 2).into_iter().map(Add::key).collect(),
            3 => reads.predicates = vec![predicate(rng)],
            4 => reads.app_ids = vec!["a".into()],
            5 => reads.domains = vec!["one".into()],
            _ => {}
        }
        reads
    }

    /// A random part of a commit, as actions.
    fn change(&mut self, n: usize, live: &[Add]) -> Vec<Action> {
        let (rng, table) = (&mut self.rng, &self.tables[n]);
        let any = |rng: &mut Rng, files: &[Add]| rng.choice(files).cloned();
        match rng.u8(..100) {
            0..30 => (0..rng.usize(1..4)).map(|_| Action::add(new_file(rng))).collect(),
            // An existing or removed file, possibly with other facts.
            30..42 => any(rng, &table.files)
                .map(|f| Action::add(Add { size: rng.i64(0..1 << 60), ..f }))
                .into_iter()
                .collect(),
            42..60 => any(rng, live).map(|f| Action::Remove(respelled(rng, &f))).into_iter().collect(),
            60..62 => any(rng, &table.files).map(|f| remove(&f)).into_iter().collect(),
            62..72 => {
                let Some(old) = any(rng, live) else {
                    return Vec::new();
                };
                vec![remove(&old), Action::add(Add { deletion_vector: Some(vector(rng)), ..old })]
            }
            72..80 => vec![Action::Metadata(changed(rng, table.metadata.clone()))],
            80..84 => {
                let mut features = table.features.clone();
                let more = *rng
                    .choice(&["changeDataFeed", "checkConstraints", "invariants", "rowTracking", "nobody's"])
                    .unwrap();
                features.writer_features.get_or_insert_default().push(more.into());
                vec![Action::Protocol(features)]
            }
            84..89 => vec![txn(if rng.bool() { "a" } else { "b ü" }, rng.i64(..))],
            89..95 => {
                let domain = rng.choice(&["one", "two \u{1}"]).unwrap().to_string();
                let configuration = odd_text(rng);
                vec![Action::DomainMetadata(DomainMetadata {
                    domain,
                    configuration,
                    removed: rng.u8(..3) == 0,
                    extra: Default::default(),
                })]
            }
            95..97 => vec![action(
                r#"{"cdc":{"path":"_change_data/x","partitionValues":{"day":"a"},"size":7,"dataChange":false}}"#,
            )],
            97..98 => vec![action(r#"{"someDay":{"x":123456789012345678901234567890}}"#)],
            _ => vec![action(
                r#"{"commitInfo":{"timestamp":1,"operation":"MERGE","operationMetrics":{"n":1},"engineInfo":"e","isBlindAppend":false,"mine":[1.50]}}"#,
            )],
        }
    }

    /// Checks that every version is the same in the database as in memory, and still has the recorded files.
    async fn check_all_versions(&self, table: &TableModel) {
        let (memory, sqlite) = (self.memory.reader(table.id), self.database.reader(table.id));
        let head = table.hashes.len() as Version - 1;
        let mut rng = Rng::with_seed(head);
        for version in self.base(table.id).await..=head {
            let what = format!("{} at version {version}", table.new.name);
            let bodies: [Option<Bytes>; 2] =
                [memory.commit_bytes(version).await.unwrap(), sqlite.commit_bytes(version).await.unwrap()];
            assert!(bodies[0].is_some());
            assert_eq!(bodies[0], bodies[1], "the bytes of {what}");
            let snapshots: [Snapshot; 2] = [
                memory.snapshot(At::Version(version)).await.unwrap(),
                sqlite.snapshot(At::Version(version)).await.unwrap(),
            ];
            assert_eq!(snapshots[0], snapshots[1], "{what}");
            let time = At::Timestamp(snapshots[0].head.timestamp);
            assert_eq!(sqlite.snapshot(time).await.unwrap(), snapshots[0], "{what}, by its time");
            let files = live(self.database.as_ref(), table.id, version, None).await;
            assert_eq!(files, live(self.memory.as_ref(), table.id, version, None).await, "the files of {what}");
            assert_eq!(set_hash(&files), table.hashes[version as usize], "the files of {what} have changed");
            let predicate = predicate(&mut rng);
            let planned = live(self.database.as_ref(), table.id, version, Some(&predicate)).await;
            let model = live(self.memory.as_ref(), table.id, version, Some(&predicate)).await;
            assert_eq!(planned, model, "the files of {what} where {predicate:?}");
        }
        let range = Default::default();
        assert_eq!(
            memory.history(range).await.unwrap(),
            sqlite.history(range).await.unwrap(),
            "the history of {}",
            table.new.name
        );
    }

    async fn check_mirror(&self, dir: &Path) {
        let mirror = Mirror::new(self.database.clone(), Arc::new(SystemClock));
        for (table, published) in mirror.run().try_collect::<Vec<_>>().await.unwrap() {
            assert_eq!(published.unwrap().version, Some(table.current_version), "in {}", dir.display());
            for version in table.base_version..=table.current_version {
                let theirs = their_state(&table.location, version).await.unwrap();
                let what = format!("{} at version {version}, published", table.name);
                same_state(&what, &our_state(self.database.as_ref(), &table, version).await, &theirs);
            }
        }
    }
}

/// The outcome of a commit, as a text that does not depend on the catalog.
fn outcome_text(result: &Result<Outcome, TxnLogError>) -> String {
    match result {
        Ok(outcome) => format!("{outcome:?}"),
        Err(e) => format!("{:?}: {e}", e.kind()),
    }
}

async fn live(
    catalog: &dyn Catalog,
    table: TableId,
    version: Version,
    predicate: Option<&Predicate>,
) -> BTreeMap<String, Add> {
    let files: Vec<Add> = catalog.reader(table).files(version, predicate).await.unwrap().try_collect().await.unwrap();
    let count = files.len();
    let files: BTreeMap<_, _> = files.into_iter().map(|f| (format!("{:?}", f.key()), f)).collect();
    assert_eq!(files.len(), count, "a file is live once");
    files
}

fn set_hash(files: &BTreeMap<String, Add>) -> SetHash {
    let mut hash = SetHash::default();
    files.values().for_each(|f| hash.insert(&f.key()));
    hash
}

/// Removes invalid combinations: a file added, or removed, twice, and two actions of one kind for one thing.
fn legal(actions: Vec<Action>) -> Vec<Action> {
    let mut seen = std::collections::HashSet::new();
    let thing = |action: &Action| match action {
        Action::Add(a) => format!("{:?}", a.key()),
        Action::Remove(r) => format!("{:?}", r.key()),
        Action::Txn(t) => format!("txn {}", t.app_id),
        Action::DomainMetadata(d) => format!("domain {}", d.domain),
        other => other.name().to_string(),
    };
    actions.into_iter().filter(|a| seen.insert(thing(a))).collect()
}

fn odd_text(rng: &mut Rng) -> String {
    let odd = [
        "",
        "plain",
        "a b",
        "ü",
        "\u{0}",
        "\u{1}\u{2}",
        "'\"--;",
        "%41",
        "\\",
        "null",
        "2024-01-01",
        "\u{10ffff}",
        "1e400",
    ];
    (0..rng.usize(0..3)).map(|_| *rng.choice(&odd).unwrap()).collect()
}

fn new_file(rng: &mut Rng) -> Add {
    let folder =
        *rng.choice(&["", "day=a/", "day=%2541%20b/", "d ü/", "/abs/", "file:///abs/", "s3://bucket/"]).unwrap();
    let min = rng.i64(-100..100);
    let mut add = file("f", min, min.saturating_add(rng.i64(0..50)));
    add.path = format!("{folder}f{}", rng.u32(..));
    if rng.u8(..4) == 0 {
        add.path.push_str(rng.choice(&[" '\"", "%20x", "\u{1}", "#?", "x:y", "{|}~"]).unwrap());
    }
    let day = (rng.u8(..5) > 0).then(|| odd_text(rng));
    add.partition_values = [("day".to_string(), day)].into();
    add.size = rng.i64(0..=i64::MAX);
    add.modification_time = rng.i64(..);
    add.data_change = rng.u8(..5) > 0;
    add.stats = match rng.u8(..8) {
        0 => None,
        1 => Some(String::new()),
        2 => Some("not JSON".into()),
        3 => Some(r#"{"numRecords":12345678901234567890,"minValues":{"id":1.5e300},"maxValues":{"id":null}}"#.into()),
        4 => Some(r#"{"numRecords":3,"nullCount":{"id":3}}"#.into()),
        _ => add.stats,
    };
    if rng.u8(..5) == 0 {
        add.tags = Some([(odd_text(rng), Some(odd_text(rng)))].into());
    }
    if rng.u8(..5) == 0 {
        (add.base_row_id, add.default_row_commit_version) = (Some(rng.i64(..)), Some(rng.i64(..)));
        add.clustering_provider = Some(odd_text(rng));
    }
    if rng.u8(..5) == 0 {
        add.deletion_vector = Some(vector(rng));
    }
    add
}

fn vector(rng: &mut Rng) -> DeletionVector {
    let storage_type = *rng.choice(&["u", "i", "p"]).unwrap();
    DeletionVector {
        storage_type: storage_type.into(),
        path_or_inline_dv: format!("v{}", rng.u32(..)),
        offset: (storage_type != "i").then(|| rng.i64(0..1 << 31)),
        size_in_bytes: rng.i64(0..1 << 31),
        cardinality: rng.i64(0..=i64::MAX),
        extra: Default::default(),
    }
}

/// The remove of a file, with another spelling of its path.
fn respelled(rng: &mut Rng, add: &Add) -> Remove {
    let mut remove = Remove::of(add, rng.i64(..), rng.bool());
    if rng.bool() {
        remove.path = match remove.path.strip_prefix('/') {
            Some(rest) => format!("file:///{rest}"),
            None => remove.path.replace('f', "%66").replace("%66ile:", "file:"),
        };
    }
    remove
}

fn changed(rng: &mut Rng, mut metadata: Metadata) -> Metadata {
    let set = |metadata: &mut Metadata, key: &str, value: &str| {
        metadata.configuration.insert(key.into(), Some(value.into()));
    };
    match rng.u8(..6) {
        0 => metadata.description = Some(odd_text(rng)),
        1 => metadata.name = rng.bool().then(|| odd_text(rng)),
        2 => {
            let column =
                format!(r#""fields":[{{"name":"c{}","type":"string","nullable":true,"metadata":{{}}}},"#, rng.u32(..));
            metadata.schema_string = metadata.schema_string.replacen(r#""fields":["#, &column, 1);
        }
        3 => set(&mut metadata, "delta.isolationLevel", rng.choice(&["Serializable", "WriteSerializable"]).unwrap()),
        4 => set(&mut metadata, "delta.enableInCommitTimestamps", rng.choice(&["true", "false"]).unwrap()),
        _ => set(&mut metadata, &format!("own.{}", odd_text(rng)), &odd_text(rng)),
    }
    metadata
}

fn predicate(rng: &mut Rng) -> Predicate {
    let how = *rng.choice(&[Comparison::Eq, Comparison::Lt, Comparison::GtEq]).unwrap();
    if rng.bool() {
        Predicate::Compare("id".into(), how, Literal::Long(rng.i64(-120..160)))
    } else {
        Predicate::Compare("day".into(), how, Literal::String(odd_text(rng)))
    }
}
