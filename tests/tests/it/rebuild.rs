//! A lost catalog is rebuilt from the mirrors of its tables: it has what a dump of the lost one had.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{metadata, protocol, txn};
use deltalakedb_log::conformance::refused;
use deltalakedb_log::listing::tables;
use deltalakedb_log::{
    Action, Catalog, Clock, Commit, CommitRequest, Committer, ErrorKind, FutureTimes, HistoryRange, Location, Outcome,
    Retention, SystemClock, TableEntry, TableId, TableOwner, TableRef, TxnLogError, Version,
};
use deltalakedb_mirror::{ExpireOptions, Mirror, Rebuilt};
use deltalakedb_table::{DeltaTable, SaveMode, Transaction, TransactionOptions, WriteOptions, create_table};
use deltalakedb_tests::{SeedReport, contents, golden, import, location, our_state, seeds, soak, sqlite, unpack};
use fastrand::Rng;
use futures::TryStreamExt;
use tempfile::TempDir;

/// What a catalog says about its tables, as data.
#[derive(Clone, Debug, Default, PartialEq)]
struct Dump(BTreeMap<String, DumpedTable>);

#[derive(Clone, Debug, PartialEq)]
struct DumpedTable {
    /// Id, location, owner, and the oldest version.
    entry: String,
    versions: BTreeMap<Version, DumpedVersion>,
}

/// The time, the bytes, the commit id with the version it finds, the summary, and the state with all files.
#[derive(Clone, Debug, PartialEq)]
struct DumpedVersion {
    ms: i64,
    body: Option<String>,
    id: String,
    summary: String,
    state: String,
}

impl Dump {
    async fn of(catalog: &Arc<dyn Catalog>) -> Self {
        let mut dump = BTreeMap::new();
        let entries: Vec<_> = tables(catalog.clone(), None).try_collect().await.unwrap();
        for entry in entries {
            dump.insert(entry.name.to_string(), DumpedTable::of(catalog, &entry).await);
        }
        Self(dump)
    }

    /// The same catalog when these tables were at these versions.
    fn cut(mut self, newest: &[(&str, Version)]) -> Self {
        for (name, newest) in newest {
            self.0.get_mut(*name).unwrap().versions.retain(|version, _| version <= newest);
        }
        self
    }

    fn without_ids(mut self) -> Self {
        self.0.values_mut().for_each(|table| table.entry = table.entry[36..].to_string());
        self
    }
}

impl DumpedTable {
    async fn of(catalog: &Arc<dyn Catalog>, entry: &TableEntry) -> Self {
        let TableEntry { id, location, owner, base_version, current_version, .. } = entry;
        let reader = catalog.reader(*id);
        let history = reader.history(HistoryRange::default()).await.unwrap();
        let mut versions = BTreeMap::new();
        for version in *base_version..=*current_version {
            let body = reader.commit_bytes(version).await.unwrap();
            let commit = body.as_ref().map(|body| Commit::parse(body.clone(), "a commit").unwrap());
            let own = commit.as_ref().and_then(|commit| deltalakedb_log::commit::id_of(commit.info()?));
            let found = match own {
                Some(own) => catalog.find_commit(*id, own).await.unwrap().map(|found| found.version),
                None => None,
            };
            let summary = history.iter().find(|summary| summary.version == version);
            let head = reader.snapshot(deltalakedb_log::At::Version(version)).await.unwrap().head;
            let dumped = DumpedVersion {
                ms: head.timestamp,
                body: body.map(|body| String::from_utf8_lossy(&body).into_owned()),
                id: format!("{own:?} {found:?}"),
                summary: format!("{summary:?}"),
                state: format!("{:?}", our_state(catalog.as_ref(), entry, version).await),
            };
            versions.insert(version, dumped);
        }
        Self { entry: format!("{id} {location} {owner:?} {base_version}"), versions }
    }
}

#[track_caller]
fn assert_same(rebuilt: &Dump, before: &Dump) {
    assert_eq!(rebuilt.0.keys().collect::<Vec<_>>(), before.0.keys().collect::<Vec<_>>());
    for (name, table) in &rebuilt.0 {
        let other = &before.0[name];
        assert_eq!(table.entry, other.entry, "{name}");
        assert_eq!(table.versions.keys().collect::<Vec<_>>(), other.versions.keys().collect::<Vec<_>>(), "{name}");
        for (version, dumped) in &table.versions {
            assert_eq!(dumped, &other.versions[version], "version {version} of {name}");
        }
    }
}

/// A folder with a catalog and its tables.
struct Place {
    dir: TempDir,
    catalog: Arc<dyn Catalog>,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = sqlite(dir.path()).await;
        Self { dir, catalog }
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("lake").join(name)
    }

    fn lake(&self) -> Location {
        location(&self.dir.path().join("lake"))
    }

    async fn create(&self, name: &str) {
        self.create_with(name, None, &[]).await;
    }

    async fn create_with(&self, name: &str, owner: Option<TableOwner>, properties: &[&str]) {
        let schema = deltalakedb_table::parse_schema("id long").unwrap();
        let new = NewTable { owner, ..NewTable::new(name.parse().unwrap(), location(&self.at(name))) };
        let properties = properties.iter().map(|key| (key.to_string(), "interval 0 days".to_string())).collect();
        let options = WriteOptions::default();
        create_table(self.catalog.as_ref(), new, &schema, &[], &properties, &options).await.unwrap();
    }

    async fn entry(&self, name: &str) -> TableEntry {
        self.catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap()
    }

    async fn try_write(&self, name: &str, id: i64) -> Result<(), TxnLogError> {
        let entry = self.entry(name).await;
        let options = WriteOptions { owner: entry.owner.clone(), ..WriteOptions::default() };
        let table = DeltaTable::of_entry(self.catalog.clone(), entry);
        table.write(rows(id), SaveMode::Append, &options).await.map(drop)
    }

    async fn write(&self, name: &str, id: i64) {
        self.try_write(name, id).await.unwrap();
    }

    async fn write_together(&self, names: &[&str], id: i64) {
        let tx = Transaction::begin(self.catalog.clone(), TransactionOptions::default()).await.unwrap();
        for name in names {
            tx.write(name, rows(id), SaveMode::Append).await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    fn mirror(&self) -> Mirror {
        Mirror::new(self.catalog.clone(), Arc::new(SystemClock))
    }

    async fn publish(&self, names: &[&str]) {
        for name in names {
            self.mirror().publish(self.entry(name).await.id).await.unwrap();
        }
    }

    /// A catalog rebuilt from these locations, and what the rebuild says.
    async fn rebuild(&self, locations: &[Location]) -> (Self, Result<Rebuilt, TxnLogError>) {
        let dir = tempfile::tempdir().unwrap();
        let catalog = sqlite(dir.path()).await;
        let said = rebuild(&catalog, locations).await;
        (Self { dir, catalog }, said)
    }
}

/// The cuts: the table, the first version that is left out, and the table that lacks its part.
fn cuts(said: &Rebuilt) -> Vec<String> {
    let cut = said.tables.iter().filter_map(|table| Some((&table.table.name, table.cut.as_ref()?)));
    cut.map(|(name, cut)| format!("{name} before {} because of {}", cut.version, cut.because)).collect()
}

async fn rebuild(catalog: &Arc<dyn Catalog>, locations: &[Location]) -> Result<Rebuilt, TxnLogError> {
    Mirror::new(catalog.clone(), Arc::new(SystemClock)).rebuild(locations, &|_, _| {}).await
}

fn rows(id: i64) -> Vec<RecordBatch> {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    vec![RecordBatch::try_from_iter([("id", ids)]).unwrap()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_catalog_equals_the_lost_one() {
    let p = Place::new().await;
    for name in ["a", "sales.b", "c"] {
        p.create(name).await;
    }
    p.create_with("owned", Some("rows:/data".parse().unwrap()), &[]).await;
    p.write("owned", 1).await;
    p.write("a", 1).await;
    p.write_together(&["a", "sales.b"], 2).await;
    p.write_together(&["c", "sales.b"], 3).await;
    p.publish(&["a", "sales.b", "c", "owned"]).await;
    let before = Dump::of(&p.catalog).await;
    let (lost, epoch) = p.catalog.identity().await.unwrap();
    let files = contents(&p.dir.path().join("lake"));
    let (q, said) = p.rebuild(&[p.lake()]).await;
    let said = said.unwrap();
    assert!(said.tables.iter().all(|table| table.cut.is_none() && table.is_known));
    assert_same(&Dump::of(&q.catalog).await, &before);
    let identity = q.catalog.identity().await.unwrap();
    assert_eq!(identity, (lost, said.epoch));
    assert!(deltalakedb_log::epoch::is_later(&said.epoch, &epoch));
    assert!(contents(&p.dir.path().join("lake")) == files, "the mirrors are not changed");
}

/// What was not published is lost, and the rebuilt tables are as they were at their last published versions.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_rebuilt_at_its_last_published_version() {
    let p = Place::new().await;
    p.create("a").await;
    p.create("b").await;
    p.write("a", 1).await;
    p.write("b", 1).await;
    p.publish(&["a", "b"]).await;
    p.write("a", 2).await;
    p.write("a", 3).await;
    let before = Dump::of(&p.catalog).await;
    let (q, said) = p.rebuild(&[p.lake()]).await;
    let said = said.unwrap();
    let versions: Vec<_> = said.tables.iter().map(|t| (t.table.name.to_string(), t.table.current_version)).collect();
    assert_eq!(versions, [("default.a".to_string(), 1), ("default.b".to_string(), 1)]);
    assert_same(&Dump::of(&q.catalog).await, &before.cut(&[("default.a", 1)]));
    q.write("a", 4).await;
    q.publish(&["a", "b"]).await;
    assert_eq!(q.entry("a").await.published_version, Some(2));
}

/// The parts of a transaction are restored all, or none: also those that are published.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_rebuilt_in_all_of_its_tables_or_in_none() {
    let p = Place::new().await;
    for name in ["a", "b", "c", "d"] {
        p.create(name).await;
    }
    p.write_together(&["a", "b"], 1).await;
    p.publish(&["a", "b", "c", "d"]).await;
    p.write("a", 2).await;
    p.write_together(&["a", "b"], 3).await;
    p.write_together(&["a", "c"], 4).await;
    p.write("d", 5).await;
    p.write("c", 6).await;
    p.publish(&["a", "c", "d"]).await;
    let before = Dump::of(&p.catalog).await;
    let (q, said) = p.rebuild(&[p.lake()]).await;
    let said = said.unwrap();
    let expected =
        ["default.a before 3 because of default.b", "default.c before 1 because of default.a"].map(String::from);
    assert_eq!(cuts(&said), expected);
    let cut = before.cut(&[("default.a", 2), ("default.b", 1), ("default.c", 0)]);
    assert_same(&Dump::of(&q.catalog).await, &cut);

    // The rest of the log is not continued, nor imported in part.
    let says = ["the catalog is at version 2 of default.a", "has version 3"];
    refused(q.try_write("a", 7).await, ErrorKind::Invalid, &says);
    let half = q.mirror().import(&q.entry("a").await.location, None, &|_, _| {}).await;
    refused(half, ErrorKind::Invalid, &["version 3 of default.a", "default.b as well"]);
    let log = p.at("a").join("_delta_log");
    for version in [3, 4] {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
        std::fs::remove_file(log.join(format!("{version:020}.crc"))).unwrap();
    }
    q.write("a", 7).await;
    q.publish(&["a"]).await;
    assert_eq!(q.entry("a").await.published_version, Some(3));
}

/// A table that a transaction created does not exist without the transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_an_incomplete_transaction_created_is_left_out() {
    let p = Place::new().await;
    p.create("a").await;
    p.publish(&["a"]).await;
    let new = NewTable::new("made".parse().unwrap(), location(&p.at("made")));
    let first = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
    let (made, operation) = (TableId(SystemClock.new_uuid()), SystemClock.new_uuid());
    let both = vec![
        CommitRequest::new(made, operation, Base::Create(new), first),
        CommitRequest::new(p.entry("a").await.id, operation, Base::RebaseFrom(0), vec![txn("made", 1)]),
    ];
    p.catalog.commit_all(both).await.unwrap().committed().unwrap();
    p.publish(&["made"]).await;
    let (q, said) = p.rebuild(&[p.lake()]).await;
    let said = said.unwrap();
    assert_eq!(Dump::of(&q.catalog).await.0.keys().collect::<Vec<_>>(), ["default.a"]);
    let left: Vec<_> = said.left_out.iter().map(|table| (table.name.to_string(), table.reason.clone())).collect();
    assert_eq!(left.len(), 1);
    assert!(left[0].0 == "default.made" && left[0].1.contains("default.a was not published"), "{left:?}");
}

/// A transaction names its tables by the names of that time, and by their ids.
#[tokio::test(flavor = "multi_thread")]
async fn renamed_and_absent_tables_are_told_apart() {
    let p = Place::new().await;
    for name in ["a", "b", "gone"] {
        p.create(name).await;
    }
    p.write_together(&["a", "b", "gone"], 1).await;
    p.publish(&["a", "b", "gone"]).await;
    let id = p.entry("b").await.id;
    p.catalog.rename_table(id, &"z".parse().unwrap(), &Committer::default()).await.unwrap();
    // Only the name of the last published commit is known, and the id says what was renamed.
    p.write_together(&["a", "z"], 2).await;
    p.publish(&["a"]).await;
    let (q, said) = p.rebuild(&[location(&p.at("a")), location(&p.at("b"))]).await;
    let said = said.unwrap();
    assert_eq!(cuts(&said), ["default.a before 2 because of default.b".to_string()]);
    assert_eq!(said.absent.iter().map(ToString::to_string).collect::<Vec<_>>(), ["default.gone"]);
    assert_eq!(q.entry("b").await.id, id);
    p.publish(&["z"]).await;
    let (q, said) = p.rebuild(&[location(&p.at("a")), location(&p.at("b"))]).await;
    assert_eq!(cuts(&said.unwrap()), Vec::<String>::new());
    assert_eq!(q.entry("z").await.id, id);
}

/// The lost database comes back, and meets what its successor has committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_catalog_that_comes_back_is_refused() {
    let p = Place::new().await;
    for name in ["a", "b"] {
        p.create(name).await;
        p.publish(&[name]).await;
    }
    let (q, said) = p.rebuild(&[p.lake()]).await;
    said.unwrap();
    q.write("a", 1).await;
    q.write("a", 2).await;
    q.publish(&["a"]).await;
    let files = contents(&p.dir.path().join("lake"));
    // As another process that opens the database.
    let p = Place { catalog: sqlite(p.dir.path()).await, dir: p.dir };
    let says = ["version 1 in", "committed by the successor of deltasql://sqlite/", "dl init --restored"];
    refused(p.try_write("a", 3).await, ErrorKind::Invalid, &says);
    let imported = async |p: &Place| p.mirror().import(&p.entry("a").await.location, None, &|_, _| {}).await;
    refused(imported(&p).await, ErrorKind::Invalid, &says);
    refused(p.mirror().publish(p.entry("a").await.id).await, ErrorKind::Invalid, &says);
    refused(p.mirror().keep_ours(p.entry("a").await.id).await, ErrorKind::Invalid, &says);
    refused(imported(&p).await, ErrorKind::Invalid, &says);
    assert!(contents(&p.dir.path().join("lake")) == files, "nothing was written");
    p.write("b", 1).await;

    // Only if its operator says so, it continues, and then it is the successor.
    p.catalog.renew_epoch().await.unwrap();
    assert_eq!(imported(&p).await.unwrap().versions, 2);
    p.write("a", 4).await;
    p.publish(&["a"]).await;
    let q = Place { catalog: sqlite(q.dir.path()).await, dir: q.dir };
    refused(q.try_write("a", 5).await, ErrorKind::Invalid, &["version 3 in", "committed by the successor of"]);
}

/// The database was lost with a commit that it had not published, and whose version its successor has used.
#[tokio::test(flavor = "multi_thread")]
async fn an_unpublished_commit_of_a_lost_catalog_does_not_replace_that_of_its_successor() {
    let p = Place::new().await;
    p.create("a").await;
    p.publish(&["a"]).await;
    p.write("a", 1).await;
    let (q, said) = p.rebuild(&[p.lake()]).await;
    said.unwrap();
    q.write("a", 2).await;
    q.publish(&["a"]).await;
    let p = Place { catalog: sqlite(p.dir.path()).await, dir: p.dir };
    let says = ["version 1 in", "committed by the successor of"];
    refused(p.try_write("a", 3).await, ErrorKind::Invalid, &says);
    let place = location(&p.at("a"));
    refused(p.mirror().import(&place, None, &|_, _| {}).await, ErrorKind::Invalid, &says);
    refused(p.mirror().publish(p.entry("a").await.id).await, ErrorKind::Invalid, &says);
    refused(p.mirror().keep_ours(p.entry("a").await.id).await, ErrorKind::Invalid, &says);
    refused(p.mirror().import(&place, None, &|_, _| {}).await, ErrorKind::Invalid, &says);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rebuild_continues() {
    let p = Place::new().await;
    p.create("a").await;
    p.write("a", 1).await;
    p.publish(&["a"]).await;
    // The log of another writer, ahead of the clock: its load fails after that of `a`.
    let ahead = p.at("b/_delta_log");
    std::fs::create_dir_all(&ahead).unwrap();
    let in_commit = r#""delta.enableInCommitTimestamps":"true""#;
    let first = std::fs::read_to_string(p.at("a/_delta_log/00000000000000000000.json")).unwrap();
    let first = first.lines().skip(1).collect::<Vec<_>>().join("\n");
    let first = first.replace("\"configuration\":{", &format!("\"configuration\":{{{in_commit}"));
    let info = r#"{"commitInfo":{"inCommitTimestamp":4000000000000,"timestamp":1,"operation":"WRITE"}}"#;
    std::fs::write(ahead.join("00000000000000000000.json"), format!("{info}\n{first}\n")).unwrap();
    let (q, said) = p.rebuild(&[p.lake()]).await;
    refused(said, ErrorKind::Invalid, &["version 0 of default.b", "import.future_times=accept"]);
    assert_eq!(Dump::of(&q.catalog).await.0.keys().collect::<Vec<_>>(), ["default.a"]);
    let lost = p.catalog.identity().await.unwrap().0;
    assert_ne!(q.catalog.identity().await.unwrap().0, lost);
    let (a, b) = (location(&p.at("a")), location(&p.at("b")));
    refused(
        rebuild(&q.catalog, std::slice::from_ref(&b)).await,
        ErrorKind::AlreadyExists,
        &["has the table default.a"],
    );
    let accepting = q.mirror().with_future_times(FutureTimes::Accept);
    let said = accepting.rebuild(&[a, b], &|_, _| {}).await.unwrap();
    assert_eq!(said.tables.iter().map(|table| table.is_known).collect::<Vec<_>>(), [true, false]);
    assert_eq!(q.catalog.identity().await.unwrap().0, lost);
    let mut both = Dump::of(&q.catalog).await;
    both.0.remove("default.b");
    assert_same(&both, &Dump::of(&p.catalog).await);
    refused(rebuild(&q.catalog, &[p.lake()]).await, ErrorKind::AlreadyExists, &["is not empty", "a new catalog"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_in_one_sentence_and_nothing_is_stored() {
    let p = Place::new().await;
    p.create("a").await;
    p.write("a", 1).await;
    p.publish(&["a"]).await;
    let check = async |locations: &[Location], kind: ErrorKind, says: &[&str]| {
        let (q, said) = p.rebuild(locations).await;
        refused(said, kind, says);
        assert_eq!(Dump::of(&q.catalog).await, Dump::default());
        assert!(q.catalog.inactive_tables(None, 9).await.unwrap().is_empty());
    };
    let at = |name: &str| location(&p.at(name));
    check(&[at("nowhere")], ErrorKind::NotFound, &["there is no table at", "nowhere", "_delta_log"]).await;
    std::fs::create_dir_all(p.at("data")).unwrap();
    std::fs::write(p.at("data/x.parquet"), "x").unwrap();
    check(&[at("a"), at("data")], ErrorKind::NotFound, &["there is no table at", "data"]).await;
    std::fs::create_dir_all(p.at("empty/_delta_log")).unwrap();
    let says = ["nothing was rebuilt", "empty cannot be read", "is not a Delta table"];
    check(&[p.lake()], ErrorKind::NotFound, &says).await;
    std::fs::remove_dir_all(p.at("empty")).unwrap();

    let log = p.at("a/_delta_log");
    let last = log.join("00000000000000000001.json");
    let whole = std::fs::read(&last).unwrap();
    for torn in [&whole[..whole.len() / 2], b"{\"add\":", b"[1]\n"] {
        std::fs::write(&last, torn).unwrap();
        let says = ["nothing was rebuilt", "a cannot be read", "00000000000000000001.json, line"];
        check(&[p.lake()], ErrorKind::Corrupt, &says).await;
    }
    std::fs::remove_file(&last).unwrap();
    std::fs::write(log.join("00000000000000000002.json"), &whole).unwrap();
    check(&[p.lake()], ErrorKind::Corrupt, &["00000000000000000001.json is missing"]).await;
    std::fs::remove_file(log.join("00000000000000000002.json")).unwrap();
    std::fs::write(&last, &whole).unwrap();

    deltalakedb_tests::copy(&p.at("a"), &p.at("copy"));
    check(&[p.lake()], ErrorKind::AlreadyExists, &["are both named default.a", "leave one out"]).await;
    let (one, other) = (Place::new().await, Place::new().await);
    for place in [&one, &other] {
        place.create("t").await;
        place.publish(&["t"]).await;
    }
    check(&[one.lake(), other.lake()], ErrorKind::AlreadyExists, &["are both named default.t"]).await;
    let says = ["default.a was in the catalog", "default.t in the catalog", "import the tables of the other"];
    check(&[at("a"), one.lake()], ErrorKind::Invalid, &says).await;
    let a = std::slice::from_ref(&at("a")).to_vec();
    refused(rebuild(&p.catalog, &a).await, ErrorKind::AlreadyExists, &["is not empty", "default.a", "a new catalog"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_table_is_left_out() {
    let p = Place::new().await;
    p.create("a").await;
    p.create("b").await;
    p.publish(&["a", "b"]).await;
    let table = p.entry("b").await;
    deltalakedb_table::detach_table(&p.mirror(), table.id, &WriteOptions::default()).await.unwrap();
    let before = Dump::of(&p.catalog).await;
    let (q, said) = p.rebuild(&[p.lake()]).await;
    assert_same(&Dump::of(&q.catalog).await, &before);
    let left = said.unwrap().left_out;
    assert_eq!(left.iter().map(|table| table.name.to_string()).collect::<Vec<_>>(), ["default.b"]);
}

/// History that has expired begins at a checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn expired_history_is_rebuilt_from_its_checkpoint() {
    let p = Place::new().await;
    p.create_with("a", None, &["delta.deletedFileRetentionDuration", "delta.logRetentionDuration"]).await;
    for id in 0..7 {
        p.write("a", id).await;
    }
    p.publish(&["a"]).await;
    let keep = Retention { time: Some(std::time::Duration::ZERO), versions: Some(3) };
    let options = ExpireOptions { keep, ..ExpireOptions::default() };
    let mirror = p.mirror();
    mirror.expire(p.entry("a").await.id, &options).await.unwrap();
    let entry = p.entry("a").await;
    assert!(entry.base_version > 0, "{entry:?}");
    let before = Dump::of(&p.catalog).await;
    let (q, said) = p.rebuild(&[p.lake()]).await;
    said.unwrap();
    assert_same(&Dump::of(&q.catalog).await, &before);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_are_rebuilt_as_they_were_published() {
    let mut cut = 0;
    for seed in seeds(12 * soak()) {
        let _named = SeedReport::new(seed, "sqlite");
        cut += random_history(seed).await;
    }
    assert!(cut > 0, "no history was cut");
}

/// Returns how many tables were cut.
async fn random_history(seed: u64) -> usize {
    const TABLES: [&str; 4] = ["default.a", "default.b", "sales.c", "sales.d"];
    let mut rng = Rng::with_seed(seed);
    let p = Place::new().await;
    for name in TABLES {
        p.create(name).await;
        p.publish(&[name]).await;
    }
    let mirror = p.mirror();
    // The tables and versions of each transaction, and the published versions.
    let mut transactions: Vec<BTreeMap<&str, Version>> = Vec::new();
    let mut published: BTreeMap<&str, Version> = TABLES.map(|name| (name, 0)).into();
    for step in 0..rng.i64(10..40) {
        let count = if rng.u8(..3) == 0 { rng.usize(2..=3) } else { 1 };
        let mut names = TABLES.to_vec();
        rng.shuffle(&mut names);
        let names = &names[..count];
        match names {
            [one] => p.write(one, step).await,
            several => p.write_together(several, step).await,
        }
        let mut versions = BTreeMap::new();
        for name in names {
            versions.insert(*name, p.entry(name).await.current_version);
        }
        transactions.push(versions);
        for name in TABLES {
            if rng.u8(..4) == 0 {
                let done = mirror.publish(p.entry(name).await.id).await.unwrap();
                published.insert(name, done.version.unwrap());
            }
        }
    }
    let mut expected = published.clone();
    loop {
        let is_there = |versions: &BTreeMap<&str, Version>, newest: &BTreeMap<&str, Version>| {
            versions.iter().filter(|(name, version)| newest[*name] >= **version).count()
        };
        let broken = transactions.iter().find(|versions| {
            let there = is_there(versions, &expected);
            there > 0 && there < versions.len()
        });
        let Some(broken) = broken else { break };
        for (name, version) in broken {
            let newest = expected.get_mut(name).unwrap();
            *newest = (*newest).min(version - 1);
        }
    }
    let before = Dump::of(&p.catalog).await;
    let (q, said) = p.rebuild(&[p.lake()]).await;
    let said = said.unwrap();
    let newest: Vec<_> = expected.iter().map(|(name, version)| (*name, *version)).collect();
    assert_same(&Dump::of(&q.catalog).await, &before.cut(&newest));
    let of: BTreeMap<_, _> = said.tables.iter().map(|t| (t.table.name.to_string(), t)).collect();
    for name in TABLES {
        let said = of[name];
        assert_eq!((said.table.current_version, said.published), (expected[name], published[name]), "{name}");
        let cut = said.cut.as_ref().map(|cut| cut.version);
        assert_eq!(cut, (expected[name] < published[name]).then_some(expected[name] + 1), "{name}");
    }
    TABLES.iter().filter(|name| expected[*name] < published[*name]).count()
}

/// Imported tables, as they are and after a commit of the catalog, which gives them their id and name.
#[tokio::test(flavor = "multi_thread")]
async fn golden_tables_are_rebuilt() {
    let Some(archives) = golden() else { return };
    let (mut rebuilt, mut with_commit) = (0, 0);
    for (name, archive) in archives {
        let at_first = tempfile::tempdir().unwrap();
        let at = unpack(&archive, at_first.path());
        let place = location(&at);
        let catalog = sqlite(at_first.path()).await;
        let folder = place.folder().replace('.', "_");
        let imported = import(&catalog, &at, &folder).await;
        let new = tempfile::tempdir().unwrap();
        let other = sqlite(new.path()).await;
        let said = rebuild(&other, std::slice::from_ref(&place)).await;
        if let Some((_, cause)) = crate::golden::REFUSED.iter().find(|(refused, _)| *refused == name) {
            imported.unwrap_err();
            let error = said.unwrap_err();
            let cause = if name == "no-delta-log-folder" { "there is no table at" } else { cause };
            let all: Vec<_> = deltalakedb_log::causes(&error).map(ToString::to_string).collect();
            let text = format!("{error} {all:?}");
            assert!(text.contains(cause), "{name}: {text}");
            assert_eq!(Dump::of(&other).await, Dump::default(), "{name}");
            continue;
        }
        let entry = imported.unwrap();
        let said = said.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(!said.tables[0].is_known, "{name}");
        let before = Dump::of(&catalog).await;
        assert_same(&Dump::of(&other).await.without_ids(), &before.without_ids());
        rebuilt += 1;

        let base = Base::RebaseFrom(entry.current_version);
        let request = CommitRequest::new(entry.id, SystemClock.new_uuid(), base, vec![txn("rebuild", 1)]);
        let committed = catalog.commit_all(vec![request]).await;
        // Not all of these tables can be written.
        if !matches!(committed, Ok(Outcome::Committed(_))) {
            continue;
        }
        let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
        mirror.publish(entry.id).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let before = Dump::of(&catalog).await;
        let new = tempfile::tempdir().unwrap();
        let other = sqlite(new.path()).await;
        let said = rebuild(&other, &[place]).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(said.tables[0].is_known, "{name}");
        assert_same(&Dump::of(&other).await, &before);
        assert_eq!(other.identity().await.unwrap().0, catalog.identity().await.unwrap().0);
        with_commit += 1;
    }
    assert!(rebuilt >= 58 && with_commit >= 40, "{rebuilt} tables were rebuilt, {with_commit} of them with a commit");
}
