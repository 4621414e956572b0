//! Data skipping loses no file: random tables, files with known rows, and predicates that a plain interpreter evaluates
//! row by row. Statistics are modified as real writers do: left out, truncated, rounded, widened.

mod rows;
mod story;
mod writers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::action::Add;
use deltalakedb_log::commit::{Base, CommitRequest, NewTable};
use deltalakedb_log::{
    Action, Catalog, Commit, CommitTime, HistoryItem, HistoryLoad, HistoryLoading, Location, LoggedCommit, Predicate,
    SeededClock, TableId, TimeSource, TxnLogReader, TxnLogReaderExt, Version,
};
use fastrand::Rng;
use futures::{StreamExt, TryStreamExt};
use story::{Column, Kind, State, Story, Values, protocol};
use uuid::Uuid;

use crate::databases::{Database, databases};

/// Tables created in every database.
const SCHEMAS: u64 = 200;
/// Predicates for each table.
const PREDICATES: usize = 50;
/// How many of these are also compared with the result of the statistics alone; the first ones are also run on older
/// versions.
const COMPARED: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn every_file_with_a_matching_row_is_found() {
    let tenfold = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 10 } else { 1 };
    let seeds: Vec<u64> = match std::env::var("DELTALAKEDB_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..SCHEMAS * tenfold).collect(),
    };
    let dir = tempfile::tempdir().unwrap();
    let mut catalogs = Vec::new();
    for database in databases("planning") {
        catalogs.push((*database, open(&database.uri(dir.path(), "planning")).await));
    }
    let catalogs = Arc::new(catalogs);
    let mut checks = futures::stream::iter(seeds)
        .map(|seed| {
            let catalogs = catalogs.clone();
            tokio::spawn(async move {
                let hint = ReplayHint(seed);
                let began = Instant::now();
                let truth = Truth::new(seed);
                let mut took = vec![("truth".to_string(), began.elapsed())];
                for (database, catalog) in catalogs.iter() {
                    let began = Instant::now();
                    check_planning(*database, catalog, &truth).await;
                    took.push((format!("{database:?}"), began.elapsed()));
                }
                drop(hint);
                took
            })
        })
        .buffer_unordered(std::thread::available_parallelism().map_or(2, usize::from));
    let mut total: BTreeMap<String, Duration> = BTreeMap::new();
    while let Some(took) = checks.next().await {
        for (what, time) in took.unwrap() {
            *total.entry(what).or_default() += time;
        }
    }
    eprintln!("planning: {total:.1?}");
}

/// If every file has complete and exact statistics, the log answers without a data file.
#[tokio::test(flavor = "multi_thread")]
async fn exact_statistics_answer_counts_and_bounds() {
    let kinds = [Kind::Text, Kind::Long, Kind::Short, Kind::Date, Kind::Decimal(10, 2), Kind::Boolean, Kind::Timestamp];
    let mut rng = Rng::with_seed(1);
    let column = |(i, kind): (usize, &Kind)| Column {
        name: format!("c{i}"),
        physical: format!("c{i}"),
        kind: *kind,
        nullable: i % 2 == 1,
        partition: i == 0,
        late: false,
        values: Values::Clustered,
    };
    let columns = kinds.iter().enumerate().map(column).collect();
    let mut story = Story { seed: 1, columns, files: Vec::new(), versions: Vec::new(), hides: false };
    let create = vec![Action::Protocol(protocol()), Action::Metadata(story.metadata(&mut Rng::with_seed(2), false))];
    story.push(create, BTreeMap::new());
    story.files = (0..20).map(|n| story.file(&mut rng, n, false, true)).collect();
    let adds = story.files.iter().map(|file| Action::add(file.add.clone())).collect();
    let live = story.files.iter().enumerate().map(|(n, file)| (file.add.path.clone(), n)).collect();
    story.push(adds, live);
    let truth = Truth { story, questions: Vec::new() };
    let dir = tempfile::tempdir().unwrap();
    for database in databases("planning") {
        let catalog = open(&database.uri(dir.path(), "plain")).await;
        let reader = load(&catalog, &truth.story).await;
        // Exact statistics are not required here, only that there are some.
        check_whole_version(*database, reader.as_ref(), &truth, 1).await;
        assert!(reader.counts(1).await.unwrap().rows.is_some(), "{database:?}");
        for column in &truth.story.columns {
            let ends = reader.min_max(1, &column.name).await.unwrap();
            let exact = column.kind != Kind::Timestamp;
            assert_eq!(ends.is_some(), exact, "{database:?}: the ends of {}", column.kind.name());
        }
        catalog.close().await;
    }
}

async fn open(uri: &str) -> SqlCatalog {
    let clock = Arc::new(SeededClock::new(1_700_000_000_000, 1));
    SqlCatalog::connect(&CatalogUri::parse(uri).unwrap(), ConnectOptions { clock, ..Default::default() }).await.unwrap()
}

/// Prints how to reproduce a failure.
struct ReplayHint(u64);

impl Drop for ReplayHint {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run it again with DELTALAKEDB_SEED={}", self.0);
        }
    }
}

async fn check_planning(database: Database, catalog: &SqlCatalog, truth: &Truth) {
    let reader = load(catalog, &truth.story).await;
    let newest = truth.story.versions.len() as Version - 1;
    for version in 0..=newest {
        check_whole_version(database, reader.as_ref(), truth, version).await;
    }
    for question in &truth.questions {
        let found = reader.files(question.version, Some(&question.predicate)).await.unwrap();
        check_found(database, truth, question, found.try_collect().await.unwrap());
    }
}

fn check_found(database: Database, truth: &Truth, question: &Question, found: Vec<Add>) {
    let about = || format!("{database:?}, version {}: {}", question.version, question.predicate);
    let live = &truth.story.versions[question.version as usize].live;
    let mut paths = BTreeSet::new();
    for add in &found {
        let file = live.get(&add.path).unwrap_or_else(|| panic!("{}: {} is not live", about(), add.path));
        assert_eq!(add, &truth.story.files[*file].add, "{}", about());
        assert!(paths.insert(add.path.as_str()), "{}: {} comes twice", about(), add.path);
    }
    for path in &question.matching {
        assert!(paths.contains(path.as_str()), "{}: has a row in {:?}", about(), truth.story.files[live[path]]);
    }
    if let Some(kept) = &question.kept {
        let too_many: Vec<_> = paths.iter().filter(|p| !kept.contains(**p)).collect();
        assert!(too_many.is_empty(), "{}: statistics exclude {too_many:?}", about());
        let lost: Vec<_> = kept.iter().filter(|p| !paths.contains(p.as_str())).collect();
        let knows_more = truth.story.sql_may_know_more(database, &question.predicate, true);
        assert!(lost.is_empty() || knows_more, "{}: SQL excludes {lost:?}, statistics do not", about());
    }
}

async fn check_whole_version(database: Database, reader: &dyn TxnLogReader, truth: &Truth, version: Version) {
    let state = &truth.story.versions[version as usize];
    let about = || format!("{database:?}, version {version}");
    let all: Vec<Add> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
    let by_path: BTreeMap<_, _> = all.iter().map(|add| (add.path.clone(), add)).collect();
    assert_eq!(all.len(), state.live.len(), "{}", about());
    let live: Vec<_> = state.live.iter().map(|(path, file)| (path, &truth.story.files[*file])).collect();
    for (path, file) in &live {
        assert_eq!(by_path.get(*path), Some(&&file.add), "{}", about());
    }
    let counts = reader.counts(version).await.unwrap();
    let rows = live.iter().map(|(_, file)| file.counted.then_some((file.rows.len() - file.hidden) as i64));
    let bytes = live.iter().map(|(_, file)| file.add.size).sum();
    assert_eq!((counts.files, counts.bytes), (live.len() as u64, bytes), "{}", about());
    assert_eq!(counts.rows, rows.sum(), "{}", about());
    for (i, column) in truth.story.columns.iter().enumerate() {
        let Some((min, max)) = reader.min_max(version, &column.name).await.unwrap() else { continue };
        let values: Vec<_> = live.iter().flat_map(|(_, f)| &f.rows[f.hidden..]).filter_map(|r| r[i].clone()).collect();
        let least = values.iter().cloned().reduce(|a, b| if b < a { b } else { a });
        let most = values.iter().cloned().reduce(|a, b| if b > a { b } else { a });
        assert_eq!((Some(&min), Some(&max)), (least.as_ref(), most.as_ref()), "{} of {}", column.name, about());
    }
}

/// Loads the story as a table of the catalog: committed, or loaded as history.
async fn load(catalog: &SqlCatalog, story: &Story) -> Arc<dyn TxnLogReader> {
    let id = TableId(Uuid::from_u128(u128::from(story.seed) + 1));
    let name = format!("t{}", story.seed);
    let new = NewTable::new(name.parse().unwrap(), Location::parse(&format!("/nowhere/{name}")).unwrap());
    let mut versions = (0..).zip(&story.versions);
    if story.seed.is_multiple_of(2) {
        for (version, state) in versions {
            let base = if version == 0 { Base::Create(new.clone()) } else { Base::Exactly(version - 1) };
            let request = CommitRequest::new(id, Uuid::from_u128(version.into()), base, state.actions.clone());
            catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        }
    } else {
        let item = |(version, state): (Version, &State)| {
            let body = Commit::render(&state.actions);
            let time = CommitTime { ms: 1_700_000_000_000 + version as i64, source: TimeSource::File };
            Ok(HistoryItem::Commit(LoggedCommit { version, time, body, origin: "planning".into() }))
        };
        let items = futures::stream::iter(versions.by_ref().map(item).collect::<Vec<_>>());
        let load = HistoryLoad::new(id, new, items);
        catalog.load_history(load).await.unwrap();
    }
    catalog.reader(id)
}

/// A story, its predicates, and their expected results.
#[derive(Debug)]
struct Truth {
    story: Story,
    questions: Vec<Question>,
}

#[derive(Debug)]
struct Question {
    predicate: Predicate,
    version: Version,
    /// The files in which a row matches.
    matching: BTreeSet<String>,
    /// The files that their statistics do not exclude.
    kept: Option<BTreeSet<String>>,
}

impl Truth {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let story = Story::new(seed, &mut rng);
        let newest = story.versions.len() as Version - 1;
        let mut questions = Vec::new();
        for n in 0..PREDICATES {
            let predicate = story.predicate(&mut rng, 3);
            questions.push(story.question(predicate.clone(), newest, n < COMPARED));
            if newest > 1 && n < COMPARED {
                questions.push(story.question(predicate, rng.u64(0..newest), n % 2 == 0));
            }
        }
        Self { story, questions }
    }
}
