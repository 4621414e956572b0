//! Random operations, from a seed: through a catalog in each database, and by delta-rs itself on a plain path. After
//! each step both have rejected it or both have executed it, and have the same rows and equivalent logs; at the end
//! other readers of the published table agree.
//!
//! Allowed differences: paths, sizes, times and ids; `engineInfo`; metrics, some of which are times; whether a restore
//! or an optimize finds exactly the same files. The number of files that an operation writes depends on delta-rs' plan,
//! and so on the files it gets: a catalog passes only those that may match.

pub(crate) mod delta_rs;
pub(crate) mod deltalakedb;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::kernels::cmp::eq;
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use deltalakedb_log::action::{Action, Protocol, Version};
use deltalakedb_log::snapshot::Replay;
use deltalakedb_log::{At, Catalog, Commit, Location, SystemClock, TableEntry, TableRef};
use deltalakedb_mirror::Mirror;
use deltalakedb_table::{DeltaTable, MergeClause, Scan, plain};
use deltalakedb_tests::{
    catalog, databases, lines, location, our_rows, our_state, read_by_duckdb, run_histories, same_state, seeds, soak,
    their_rows, their_state,
};
use futures::TryStreamExt;
use serde_json::{Value, json};

pub(crate) use self::random::{Random, Step, TableState};

const SEQUENCES: u64 = 40;
const STEPS: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn random_operations_equal_those_of_delta_rs() {
    let dir = tempfile::tempdir().unwrap();
    let mut catalogs = Vec::new();
    for database in databases("operations") {
        let folder = dir.path().join(format!("{database:?}"));
        std::fs::create_dir(&folder).unwrap();
        let catalog = catalog(*database, &folder).await;
        catalogs.push((folder, catalog));
    }
    let seeds = seeds(if soak() > 1 { 500 } else { SEQUENCES });
    let (root, catalogs) = (dir.path().to_path_buf(), Arc::new(catalogs));
    let played = run_histories(seeds, "everywhere", move |seed| {
        let (root, catalogs) = (root.clone(), catalogs.clone());
        async move { sequence(seed, &root, &catalogs).await }
    });
    let played = played.await;
    let count = played.len();
    let sum = |of: fn(&Played) -> usize| played.iter().map(of).sum::<usize>();
    let (done, beyond, balanced) = (sum(|p| p.done), sum(|p| p.beyond), sum(|p| p.balanced));
    eprintln!(
        "{count} sequences: {done} steps done, {beyond} beyond delta-rs, the changes of {balanced} tables add up"
    );
    assert!(done > count * STEPS / 2, "most of what is asked is refused: {done} steps in {count} sequences");
    assert!(beyond <= count * STEPS / 10, "too much is beyond delta-rs: {beyond} steps in {count} sequences");
    assert!(count == 1 || balanced > 0, "no table records its changes in {count} sequences");
    read_by_duckdb(&dir.path().join("tables.json"), played.into_iter().flat_map(|p| p.tables).collect());
}

/// The result of a sequence.
struct Played {
    /// Steps that were not rejected.
    done: usize,
    /// Steps that were skipped because delta-rs does not support them.
    beyond: usize,
    /// Tables whose recorded changes were compared with their rows.
    balanced: usize,
    /// Tables for other readers.
    tables: Vec<Value>,
}

/// The messages of delta-rs for conditions that it cannot write into a commit, or pass to the kernel; here they work.
const BEYOND_DELTA_RS: [&str; 2] = ["Unable to convert expression to string", "Predicate references unknown column"];

/// The result of a step in delta-rs.
struct Seen {
    step: Step,
    refused: Option<String>,
    version: Version,
    commits: Vec<Value>,
    rows: Vec<String>,
}

/// Runs one sequence in every catalog and in delta-rs.
async fn sequence(seed: u64, root: &Path, catalogs: &[(PathBuf, Arc<dyn Catalog>)]) -> Played {
    let mut random = Random::new(seed);
    let plain = location(&root.join(format!("plain/t{seed}")));
    std::fs::create_dir_all(plain.local_path().unwrap()).unwrap();
    let (mut story, mut beyond) = (Vec::new(), 0);
    let mut table: Option<TableState> = None;
    for n in 0..STEPS {
        let step = match &table {
            None => random.create(),
            Some(table) => random.step(table),
        };
        let refused = delta_rs::run(&plain, &step).await.err().map(|e| e.to_string());
        // A merge of a timestamp without zone makes delta-rs commit a table that it cannot read; here it is rejected.
        if refused.as_ref().is_some_and(|e| e.contains("the required 'timestampNtz' feature")) {
            beyond += STEPS - n;
            break;
        }
        if refused.as_ref().is_some_and(|e| BEYOND_DELTA_RS.iter().any(|what| e.contains(what))) {
            beyond += 1;
            continue;
        }
        let before = table.as_ref().map(|t| t.version);
        let (after, seen) = observe(&plain, before, step, refused).await;
        table = Some(after);
        story.push(seen);
    }
    let done = story.iter().filter(|seen| seen.refused.is_none()).count();
    let mut played = Played { done, beyond, balanced: 0, tables: Vec::new() };
    for (n, (folder, catalog)) in catalogs.iter().enumerate() {
        let at = location(&folder.join(format!("t{seed}")));
        let (table, balanced) = replay(seed, &story, catalog, &at, &plain, n).await;
        played.tables.push(table);
        played.balanced += usize::from(balanced);
    }
    played
}

async fn observe(plain: &Location, before: Option<Version>, step: Step, refused: Option<String>) -> (TableState, Seen) {
    let log = plain.local_path().unwrap().join("_delta_log");
    let body = |version: Version| std::fs::read(log.join(format!("{version:020}.json"))).ok();
    let mut replay = Replay::default();
    let (mut version, mut commits, mut protocol) = (0, Vec::new(), no_protocol());
    while let Some(bytes) = body(version) {
        let commit = Commit::parse(bytes.into(), "their commit").unwrap();
        let facts = facts(&commit, plain, &mut protocol);
        if before.is_none_or(|before| version > before) {
            commits.push(facts);
        }
        replay.apply(commit.into_actions());
        version += 1;
    }
    let what = || format!("after {step}, which gave {refused:?}");
    let rows = plain::read(plain, None).await.unwrap_or_else(|e| panic!("{e} {}", what()));
    let metadata = replay.metadata.unwrap();
    let schema = deltalakedb_table::parse_schema(&metadata.schema_string).unwrap();
    let table = TableState {
        columns: schema.to_arrow().unwrap(),
        partition_by: metadata.partition_columns.clone(),
        version: version - 1,
    };
    (table, Seen { step, refused, version: version - 1, commits, rows: lines(&rows) })
}

/// Repeats the steps of delta-rs in a catalog, and compares the commits of every step, and the rows of every third,
/// selected differently for each catalog, and of the last.
async fn replay(
    seed: u64,
    story: &[Seen],
    catalog: &Arc<dyn Catalog>,
    at: &Location,
    plain: &Location,
    turn: usize,
) -> (Value, bool) {
    let name = format!("t{seed}");
    let (mut version, mut protocol) = (None, no_protocol());
    for (n, seen) in story.iter().enumerate() {
        let what = format!("seed {seed}, step {n}, {at}: {}", seen.step);
        let done = deltalakedb::run(catalog, &name, at, &seen.step).await;
        assert_eq!(
            done.as_ref().err().map(drop),
            seen.refused.as_ref().map(drop),
            "{what}: {done:?}, {:?}",
            seen.refused
        );
        let entry = catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap();
        assert_eq!(entry.current_version, seen.version, "the version after {what}");
        let mut commits = Vec::new();
        for version in version.map_or(0, |v| v + 1)..=seen.version {
            let bytes = catalog.reader(entry.id).commit_bytes(version).await.unwrap().unwrap();
            let commit = Commit::parse(bytes, "our commit").unwrap();
            assert_eq!(conditions_said(&commit), conditions_asked(&seen.step), "the conditions of {what}");
            commits.push(facts(&commit, at, &mut protocol));
        }
        version = Some(seen.version);
        let differ: Vec<_> =
            commits.iter().zip(&seen.commits).flat_map(|(ours, theirs)| differences(ours, theirs)).collect();
        assert!(commits.len() == seen.commits.len() && differ.is_empty(), "the commits of {what}: {differ:#?}");
        if n % 3 != turn % 3 && n + 1 < story.len() {
            continue;
        }
        let rows = our_rows(catalog, &entry, seen.version).await.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(rows, seen.rows, "the rows after {what}");
    }
    published(seed, catalog, &name, plain).await
}

fn no_protocol() -> Protocol {
    Protocol::from_json(r#"{"minReaderVersion":0,"minWriterVersion":0}"#).unwrap()
}

fn differences(ours: &Value, theirs: &Value) -> Vec<String> {
    let names = ours.as_object().unwrap().keys().chain(theirs.as_object().unwrap().keys());
    let differ = names.filter(|name| ours[*name] != theirs[*name]);
    let differ = differ.collect::<BTreeSet<_>>().into_iter();
    differ.map(|name| format!("{name}: ours {}, theirs {}", ours[name], theirs[name])).collect()
}

const CLAUSES: [&str; 3] = ["matchedPredicates", "notMatchedPredicates", "notMatchedBySourcePredicates"];

/// The conditions in a commit: that of the operation, then those of a merge's clauses. The additional predicate of a
/// merge is derived by delta-rs from the source rows, and is ignored.
fn conditions_said(commit: &Commit) -> Vec<Option<String>> {
    let parameters = commit.info().and_then(|info| info.0.get::<Value>("operationParameters")).unwrap_or_default();
    let predicate = |of: &Value| of["predicate"].as_str().map(String::from);
    let clauses = CLAUSES.iter().filter_map(|clauses| parameters[*clauses].as_str());
    let clauses = clauses.flat_map(|clauses| serde_json::from_str::<Vec<Value>>(clauses).unwrap());
    let of_merge = parameters["mergePredicate"].as_str().map(String::from);
    std::iter::once(of_merge.or_else(|| predicate(&parameters)))
        .chain(clauses.map(|clause| predicate(&clause)))
        .collect()
}

/// The conditions of a step, as recorded in its commit.
fn conditions_asked(step: &Step) -> Vec<Option<String>> {
    match step {
        Step::Delete(filter) | Step::Update { filter, .. } => vec![filter.clone()],
        Step::Overwrite { replace_where, .. } => vec![replace_where.clone()],
        Step::Merge(merge, _) => {
            use MergeClause as C;
            let list = |clause: &C| match clause {
                C::MatchedUpdate { condition, .. } | C::MatchedDelete { condition } => (0, condition.clone()),
                C::NotMatchedInsert { condition, .. } => (1, condition.clone()),
                C::NotMatchedBySourceUpdate { condition, .. } | C::NotMatchedBySourceDelete { condition } => {
                    (2, condition.clone())
                }
            };
            let mut clauses: Vec<_> = merge.clauses.iter().map(list).collect();
            clauses.sort_by_key(|(list, _)| *list);
            std::iter::once(Some(merge.on.clone())).chain(clauses.into_iter().map(|(_, condition)| condition)).collect()
        }
        // No partitions are selected.
        Step::Optimize(_) => vec![Some("[]".into())],
        _ => vec![None],
    }
}

/// Conditions are recorded in their original form here, and simplified in delta-rs: only their presence is compared.
fn hide_conditions(parameters: &mut Value) {
    let hide = |of: &mut Value| {
        if let Some(predicate) = of.get_mut("predicate") {
            *predicate = predicate.is_string().into();
        }
    };
    if parameters.get("mergePredicate").is_none() {
        hide(parameters);
    }
    for clauses in CLAUSES {
        let Some(said) = parameters.get_mut(clauses) else { continue };
        let mut parsed: Value = serde_json::from_str(said.as_str().unwrap()).unwrap();
        parsed.as_array_mut().unwrap().iter_mut().for_each(hide);
        *said = parsed;
    }
}

/// The parts of a commit that must be equal, and the protocol after it.
fn facts(commit: &Commit, place: &Location, protocol: &mut Protocol) -> Value {
    let parsed = |json: String| serde_json::from_str::<Value>(&json).unwrap();
    let mut facts = json!({});
    let (mut adds, mut removes, mut changes) = ([0, 0], [0, 0], 0);
    for action in commit.actions() {
        match action {
            Action::CommitInfo(info) => {
                facts["operation"] = info.0.get::<Value>("operation").unwrap();
                let mut parameters = info.0.get::<Value>("operationParameters").unwrap_or_default();
                if let Some(location) = parameters.get_mut("location") {
                    assert_eq!(location, place.url().as_str());
                    *location = "here".into();
                    // They are separate actions, and one contains an id and the time.
                    parameters["metadata"] = Value::Null;
                    parameters["protocol"] = Value::Null;
                }
                hide_conditions(&mut parameters);
                facts["parameters"] = parameters;
            }
            Action::Protocol(new) => *protocol = new.clone(),
            Action::Metadata(metadata) => {
                facts["metadata"] = parsed(metadata.to_json());
                facts["metadata"]["schemaString"] = parsed(metadata.schema_string.clone());
                for own in ["id", "createdTime"] {
                    facts["metadata"][own] = Value::Null;
                }
            }
            Action::Add(add) => adds[usize::from(add.data_change)] += 1,
            Action::Remove(remove) => removes[usize::from(remove.data_change)] += 1,
            Action::Cdc(_) => changes += 1,
            other => facts[other.name()] = parsed(other.to_json()),
        }
    }
    // delta-rs sometimes repeats features.
    for list in [&mut protocol.reader_features, &mut protocol.writer_features].into_iter().flatten() {
        list.sort();
    }
    facts["protocol"] = parsed(protocol.to_json());
    facts["adds"] = json!(adds);
    facts["removes"] = json!(removes);
    facts["changes"] = json!(changes);
    facts
}

/// Publishes the table, and checks that plain delta-rs reads the same rows. Returns its facts for other readers, and
/// whether recorded changes were compared with the rows.
async fn published(seed: u64, catalog: &Arc<dyn Catalog>, name: &str, plain: &Location) -> (Value, bool) {
    let what = format!("seed {seed}, published in {}", catalog.describe());
    let entry = catalog.find(&TableRef::Name(name.parse().unwrap())).await.unwrap().unwrap();
    let mirror = Mirror::new(catalog.clone(), Arc::new(SystemClock));
    let published = mirror.publish(entry.id).await.unwrap();
    let version = entry.current_version;
    assert_eq!(published.version, Some(version), "{what}");
    let theirs = their_state(&entry.location, version).await.unwrap();
    same_state(&what, &our_state(catalog.as_ref(), &entry, version).await, &theirs);
    let table = DeltaTable::open_in(catalog.clone(), &TableRef::Id(entry.id)).await.unwrap();
    let rows = table.read(&Scan::default()).await.unwrap();
    assert_eq!(lines(&rows), their_rows(&entry.location, version).await.unwrap(), "{what}");
    let balanced = recorded(&what, &table, &entry, plain).await;
    let file = entry.location.local_path().unwrap().with_extension("arrow");
    let schema = rows.first().map_or_else(|| Arc::new(Schema::empty()), |b| b.schema());
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(std::fs::File::create(&file).unwrap(), &schema).unwrap();
    rows.iter().for_each(|batch| writer.write(&as_the_protocol_says(batch)).unwrap());
    writer.finish().unwrap();
    (json!({"table": what, "location": entry.location.to_string(), "rows": file}), balanced)
}

/// The protocol defines an empty partition value as null. delta-rs writes and reads it as an empty text.
fn as_the_protocol_says(rows: &RecordBatch) -> RecordBatch {
    let value = |(field, column): (&FieldRef, &ArrayRef)| {
        if field.name() == "part" {
            let empty = eq(column, &StringArray::new_scalar("")).unwrap();
            arrow::compute::nullif(column, &empty).unwrap()
        } else {
            column.clone()
        }
    };
    let columns = rows.schema().fields().iter().zip(rows.columns()).map(value).collect();
    RecordBatch::try_new(rows.schema(), columns).unwrap()
}

/// Checks that the recorded changes are consistent with the rows, here and in delta-rs; returns whether the rows could
/// be compared.
async fn recorded(what: &str, table: &DeltaTable, entry: &TableEntry, plain: &Location) -> bool {
    let reader = table.reader().await.unwrap();
    let mut from = entry.current_version + 1;
    while from > 0 {
        let before = reader.snapshot(At::Version(from - 1)).await.unwrap();
        if !before.head.metadata.is_on("delta.enableChangeDataFeed") {
            break;
        }
        from -= 1;
    }
    if from > entry.current_version {
        return false;
    }
    let ours = table.changes(from, None).await.unwrap_or_else(|e| panic!("the changes of {what} from {from}: {e}"));
    let ours: Vec<_> = ours.try_collect().await.unwrap_or_else(|e| panic!("the changes of {what} from {from}: {e}"));
    let timeless = |mut rows: Vec<RecordBatch>| -> Vec<String> {
        for batch in &mut rows {
            batch.remove_column(batch.schema().index_of("_commit_timestamp").unwrap());
        }
        lines(&rows)
    };
    match delta_rs::changes(plain, from).await.map_err(|e| e.to_string()) {
        Ok(theirs) => assert_eq!(timeless(ours.clone()), timeless(theirs), "the changes of {what} from {from}"),
        // delta-rs treats a decoded path as a name and encodes it again.
        Err(e) => assert!(
            e.contains("Failed to fetch metadata for file") && e.contains("%25"),
            "the changes of {what} from {from}: {e}"
        ),
    }
    add_up(what, table, from, &ours).await
}

/// Checks that the earlier rows, with the recorded changes applied, are the current rows. Rows with different columns
/// cannot be compared.
async fn add_up(what: &str, table: &DeltaTable, from: Version, changes: &[RecordBatch]) -> bool {
    let rows = async |at| table.read(&Scan { at, ..Scan::default() }).await.unwrap();
    let columns = async |at| table.schema(at).await.unwrap();
    let now = columns(At::Latest).await;
    let mut sum: BTreeMap<String, i64> = BTreeMap::new();
    let mut count = |rows: &[RecordBatch], times: i64| {
        // The first line names the columns.
        lines(rows).into_iter().skip(1).for_each(|row| *sum.entry(row).or_default() += times);
    };
    if let Some(before) = from.checked_sub(1).map(At::Version) {
        if columns(before).await != now {
            return false;
        }
        count(&rows(before).await, 1);
    }
    for (kind, times) in [("insert", 1), ("update_postimage", 1), ("delete", -1), ("update_preimage", -1)] {
        let of_kind = |batch: &RecordBatch| {
            let kinds = cast(batch.column_by_name("_change_type").unwrap(), &DataType::Utf8).unwrap();
            let chosen = filter_record_batch(batch, &eq(&kinds, &StringArray::new_scalar(kind)).unwrap()).unwrap();
            // Partition columns may be in another position.
            let order: Vec<_> = now.fields().iter().map(|f| chosen.schema().index_of(f.name()).unwrap()).collect();
            chosen.project(&order).unwrap()
        };
        count(&changes.iter().map(of_kind).collect::<Vec<_>>(), times);
    }
    count(&rows(At::Latest).await, -1);
    sum.retain(|_, times| *times != 0);
    assert_eq!(sum, BTreeMap::new(), "the changes of {what} from {from} do not lead to its rows");
    true
}
