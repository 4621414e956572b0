//! Compares this library with its alternatives: one run on one machine, one table of results.
//!
//! `make bench` builds this in release mode and runs it with a PostgreSQL server. The rows are below, in the order of
//! the table; `docs/benchmarks.md` describes them and contains the results, which are also in `results.json` next to
//! this crate's manifest. The argument `small` runs everything on small tables, and `clients`, `large`, `mirrors`, `rows`,
//! `selects`, `tpch`, `transfers` or `vectors` only some of the rows, and `growth` a report of its own; then no file is
//! written.
#![allow(clippy::print_stdout, reason = "a table on standard output is what this program is for")]

mod bench_catalog;
mod chart;
mod clients;
mod databases;
mod growth;
mod large;
mod machine;
mod mirrors;
mod peers;
mod report;
mod row_tables;
mod scans;
mod slow_store;
mod tables;
mod tpch;
mod transfers;
mod vectors;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use deltalakedb_log::{Clock, Durability, ErrorKind, Predicate, Result, SystemClock, TableId, TxnLogError, time};

use bench_catalog::{BenchCatalog, unavailable};
use databases::{Client, Server};
use machine::Machine;
use report::{Report, System, Unit, grouped};

/// Samples of each peer: some of them take seconds.
const PEER_SAMPLES: usize = 9;
/// Rows of each file of the tables.
const ROWS: i64 = 1000;

/// The duration of one sync.
const SYNC: &str = "one append and fsync of this disk";

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const BEGIN: &str = "<!-- Written by `make bench` from here on. -->";
const END: &str = "<!-- Written by `make bench` up to here. -->";

/// The sizes of the tables: commits, and files of each; and the scale of TPC-H's rows.
#[derive(Clone, Copy)]
struct Scale {
    short: (u64, u64),
    long: (u64, u64),
    few: (u64, u64),
    many: (u64, u64),
    tpch: &'static str,
}

const FULL: Scale = Scale { short: (1_000, 100), long: (50_000, 2), few: (10, 10), many: (1_000, 1_000), tpch: "1" };
const SMALL: Scale = Scale { short: (100, 20), long: (1_000, 2), few: (5, 2), many: (50, 100), tpch: "0.01" };

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let report = match arguments.as_slice() {
        [] => measure(FULL).await?,
        ["small"] => measure(SMALL).await?,
        [part @ ("clients" | "large" | "mirrors" | "rows" | "selects" | "tpch" | "transfers" | "vectors")] => {
            measure_part(part).await?
        }
        ["growth"] => {
            let folder = tempfile::tempdir().map_err(unavailable)?;
            return growth::report(folder.path()).await;
        }
        ["large-commit", uri, table, count] => return print_numbers(&large::commit(uri, table, count).await?),
        ["checkpoint", uri, table] => return print_numbers(&mirrors::checkpoint_in_process(uri, table).await?),
        ["import", uri, table] => return print_numbers(&transfers::import(uri, table).await?),
        ["copy", from, to] => return print_numbers(&transfers::copy(from, to).await?),
        ["memory", uri, table, id] => return print_numbers(&[bench_catalog::memory_of_plan(uri, table, id).await?]),
        ["memory-of-query", uri, table, id] => {
            return print_numbers(&[bench_catalog::memory_of_query(uri, table, id).await?]);
        }
        _ => {
            return Err(TxnLogError::invalid(
                "usage: deltalakedb-benches [small | clients | large | mirrors | rows | selects | tpch | transfers | vectors | growth]",
            ));
        }
    };
    print!("{}", report.table());
    if !arguments.is_empty() {
        return Ok(()); // promises and documents apply to the full size
    }
    publish(&report)?;
    if report.is_missed() { Err(TxnLogError::invalid("a figure is worse than promised")) } else { Ok(()) }
}

/// Prints the numbers of a separate process for its parent.
fn print_numbers(numbers: &[f64]) -> Result<()> {
    println!("{}", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}

/// A catalog that contains both tables.
struct Loaded {
    bench: BenchCatalog,
    short: TableId,
    long: TableId,
}

async fn measure(scale: Scale) -> Result<Report> {
    let folder = tempfile::tempdir().map_err(unavailable)?;
    let folder = folder.path();
    let server = Server::connect().await?;
    let today = time::format_ms(SystemClock.now_ms());
    let date = today.split('T').next().unwrap_or_default().to_string();
    let mut report = Report::new(Machine::of(folder), date, versions(&server).await?);

    let short = tables::write(folder, scale.short.0, scale.short.1).map_err(unavailable)?;
    let long = tables::write(folder, scale.long.0, scale.long.1).map_err(unavailable)?;
    // Before any peer: they write checkpoints, from which an import would start.
    let loaded = imports(&mut report, scale, folder, &server, [&short, &long]).await?;
    opens(&mut report, scale, &loaded, [&short, &long]).await?;
    let lake = folder.join("lake");
    plans(&mut report, scale, &loaded, folder, &server, &short, &lake).await?;
    selects(&mut report, scale, &loaded, &short).await?;
    commits(&mut report, folder, &server, &loaded).await?;
    appends(&mut report, folder, &loaded).await?;
    python(&mut report, folder, &loaded, &short)?;
    appends_to_many_files(&mut report, scale, folder, &loaded).await?;
    tpch::measure(&mut report, folder, scale.tpch).await?;
    let is_small = scale.few == SMALL.few;
    vectors::measure(&mut report, folder, is_small).await?;
    row_tables::measure(&mut report, folder, &server, is_small).await?;
    clients::measure(&mut report, folder, &server, is_small).await?;
    large::measure(&mut report, folder, &server, is_small).await?;
    mirrors::measure(&mut report, folder, is_small).await?;
    transfers::measure(&mut report, folder, &server, scale.many).await?;
    memory(&mut report, scale, loaded, &short, &lake).await?;
    Ok(report)
}

/// Only some of the rows.
async fn measure_part(part: &str) -> Result<Report> {
    let folder = tempfile::tempdir().map_err(unavailable)?;
    let (folder, server) = (folder.path(), Server::connect().await?);
    let mut report = Report::new(Machine::of(folder), time::format_ms(SystemClock.now_ms()), Vec::new());
    match part {
        "clients" => clients::measure(&mut report, folder, &server, false).await?,
        "large" => large::measure(&mut report, folder, &server, false).await?,
        "mirrors" => mirrors::measure(&mut report, folder, false).await?,
        "rows" => row_tables::measure(&mut report, folder, &server, false).await?,
        "selects" => {
            let table = tables::write(folder, FULL.short.0, FULL.short.1).map_err(unavailable)?;
            let bench = BenchCatalog::in_sqlite(folder).await?;
            let (short, _) = bench.import(&table, "short").await?;
            // It writes the checkpoint from which delta-rs opens the table.
            peers::run(&["open", &table.to_string_lossy(), "1"])?;
            selects(&mut report, FULL, &[Loaded { bench, short, long: short }], &table).await?;
        }
        "tpch" => tpch::measure(&mut report, folder, FULL.tpch).await?,
        "vectors" => vectors::measure(&mut report, folder, false).await?,
        _ => transfers::measure(&mut report, folder, &server, FULL.many).await?,
    }
    Ok(report)
}

async fn versions(server: &Server) -> Result<Vec<(String, String)>> {
    let mut versions = vec![
        ("deltalakedb".to_string(), env!("CARGO_PKG_VERSION").to_string()),
        ("SQLite".to_string(), databases::sqlite_version().await?),
        ("PostgreSQL".to_string(), server.version.clone()),
        ("DuckDB".to_string(), locked("duckdb").map(|v| format!("crate duckdb {v}")).unwrap_or_default()),
    ];
    versions.extend(peers::versions()?);
    Ok(versions)
}

/// The version of a crate in the lock file.
fn locked(name: &str) -> Option<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    let rest = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?.1;
    rest.split('"').next()
}

fn shape((commits, files): (u64, u64)) -> String {
    format!("{} commits x {} files", grouped(commits as f64), grouped(files as f64))
}

async fn imports(
    report: &mut Report,
    scale: Scale,
    folder: &Path,
    server: &Server,
    tables: [&Path; 2],
) -> Result<Vec<Loaded>> {
    let rows = [scale.short, scale.long].map(|s| (format!("import of {}", shape(s)), (s.0 * s.1) as f64));
    let mut loaded = Vec::new();
    for bench in BenchCatalog::everywhere(folder, server).await? {
        let (short, seconds) = bench.import(tables[0], "short").await?;
        report.add(&rows[0].0, bench.system, Unit::FilesPerSecond, vec![rows[0].1 / seconds]);
        let (long, seconds) = bench.import(tables[1], "long").await?;
        report.add(&rows[1].0, bench.system, Unit::FilesPerSecond, vec![rows[1].1 / seconds]);
        loaded.push(Loaded { bench, short, long });
    }
    let all = [System::Sqlite, System::Postgres, System::DuckDb];
    report.promise(&rows[0].0, "at least 1,000 files/s", &all, |_, _, p50| Some(p50 >= 1_000.0));
    Ok(loaded)
}

async fn opens(report: &mut Report, scale: Scale, loaded: &[Loaded], tables: [&Path; 2]) -> Result<()> {
    let [short, long] = [scale.short, scale.long].map(|s| format!("open, {}", shape(s)));
    for one in loaded {
        report.add(&short, one.bench.system, Unit::Seconds, one.bench.open(one.short).await?);
        report.add(&long, one.bench.system, Unit::Seconds, one.bench.open(one.long).await?);
    }
    for (row, table) in [(&short, tables[0]), (&long, tables[1])] {
        let path = table.to_string_lossy();
        let lines = peers::run(&["open", &path, &PEER_SAMPLES.to_string()])?;
        add_peers(report, Some(row), Unit::Seconds, lines);
    }
    report.promise(&short, "at most 1/50 of delta-rs", &System::OUR_SYSTEMS, |report, _, p50| {
        Some(p50 * 50.0 <= report.p50(&short, System::DeltaRs)?)
    });
    report.promise(&long, "at most 1.25 times the above + 0.5 ms", &System::OUR_SYSTEMS, |report, system, p50| {
        Some(p50 <= report.p50(&short, system)? * 1.25 + 0.000_5)
    });
    Ok(())
}

/// A row of plans: its name, the predicates in turn, and the row of the same files read by key.
struct Plan {
    row: String,
    predicates: Vec<Predicate>,
    by_key: Option<String>,
}

fn plans_of(files: u64) -> Vec<Plan> {
    let rows = i64::try_from(files).unwrap_or(i64::MAX / ROWS) * ROWS;
    let mut random = fastrand::Rng::with_seed(7);
    let one = format!("open and plan `id = x`, one file of {}, x", grouped(files as f64));
    let plan = |row: String, predicates| Plan { row, predicates, by_key: None };
    let (from, to) = (rows / 2, rows / 2 + (rows / 100).max(ROWS));
    vec![
        plan(format!("{one} at the start"), vec![bench_catalog::id_is(ROWS / 2)]),
        plan(format!("{one} in the middle"), vec![bench_catalog::id_is((rows + ROWS) / 2)]),
        plan(format!("{one} at the end"), vec![bench_catalog::id_is(rows - ROWS / 2)]),
        plan(format!("{one} at random"), (0..200).map(|_| bench_catalog::id_is(random.i64(0..rows))).collect()),
        Plan {
            row: "open and plan `id >= a AND id < b`, 1 % of the files".into(),
            predicates: vec![bench_catalog::id_between(from, to)],
            by_key: Some("just the rows of that 1 %, by file key".into()),
        },
        Plan {
            row: "open and plan `day = '…'`, a partition".into(),
            predicates: vec![bench_catalog::day_is("2024-01-01")],
            by_key: Some("just the rows of that partition, by file key".into()),
        },
    ]
}

async fn plans(
    report: &mut Report,
    scale: Scale,
    loaded: &[Loaded],
    folder: &Path,
    server: &Server,
    table: &Path,
    lake: &Path,
) -> Result<()> {
    let (commits, files) = scale.short;
    let plans = plans_of(commits * files);
    for plan in &plans {
        let Some(first) = plan.predicates.first() else { continue };
        for one in loaded {
            report.add(&plan.row, one.bench.system, Unit::Seconds, one.bench.plan(one.short, &plan.predicates).await?);
        }
        let Some(by_key) = &plan.by_key else { continue };
        for one in loaded {
            let client = match one.bench.system {
                System::Sqlite => Client::of_sqlite(&bench_catalog::sqlite_file(folder)).await?,
                System::Postgres => Client::of_postgres(server).await?,
                // DuckDB scans the columns of its tables in row groups, with or without an index.
                _ => continue,
            };
            let samples = by_keys(client, one, first).await?;
            report.add(by_key, one.bench.system, Unit::Seconds, samples);
        }
        let promised = "SQLite, PostgreSQL: at most 3 times the rows by file key";
        report.promise(&plan.row, promised, &[System::Sqlite, System::Postgres], |report, system, p50| {
            Some(p50 <= report.p50(by_key, system)? * 3.0)
        });
    }
    let mut predicates = serde_json::Map::new();
    for plan in &plans {
        let sql: Vec<String> = plan.predicates.iter().take(PEER_SAMPLES).map(|p| p.to_string()).collect();
        predicates.insert(plan.row.clone(), serde_json::Value::from(sql));
    }
    let lines = peers::run(&[
        "plan",
        &table.to_string_lossy(),
        &lake.to_string_lossy(),
        &commits.to_string(),
        &files.to_string(),
        &PEER_SAMPLES.to_string(),
        &serde_json::Value::from(predicates).to_string(),
    ])?;
    for line in &lines {
        let first = plans.iter().find(|p| p.row == line.row).and_then(|p| p.predicates.first());
        if let (Some(peer_files), Some(first)) = (line.files, first) {
            check_same_plan(loaded, first, line.system, peer_files).await?;
        }
    }
    add_peers(report, None, Unit::Seconds, lines);
    Ok(())
}

/// Times are comparable only if the answers are the same.
async fn check_same_plan(loaded: &[Loaded], predicate: &Predicate, peer: System, peer_files: u64) -> Result<()> {
    for one in loaded {
        let files = one.bench.files(one.short, predicate).await?.len();
        if files as u64 != peer_files {
            let (system, peer) = (one.bench.system.name(), peer.name());
            let message =
                format!("for {predicate} {system} plans {files} files and {peer} {peer_files}: one of them is wrong");
            return Err(TxnLogError::new(ErrorKind::Internal, message));
        }
    }
    Ok(())
}

/// Reads only the rows that a plan would return, without planning.
async fn by_keys(mut client: Client, one: &Loaded, predicate: &Predicate) -> Result<Vec<f64>> {
    let files = one.bench.files(one.short, predicate).await?;
    let wanted = files.len();
    bench_catalog::sampled(200, async |_| {
        let rows = client.rows_by_key(one.short, &files).await?;
        if rows == wanted {
            return Ok(());
        }
        Err(TxnLogError::new(ErrorKind::Internal, format!("{wanted} files were planned and {rows} rows found by key")))
    })
    .await
}

async fn commits(report: &mut Report, folder: &Path, server: &Server, loaded: &[Loaded]) -> Result<()> {
    let (row, alone) = ("durable commit of one file's metadata", SYNC);
    let (to_long, late) = ("the same to the table of 50,000 commits", "the same, made for its first version");
    for one in loaded {
        if one.bench.system == System::Postgres && !server.is_durable {
            report.add_absent(row, System::Postgres, "the server runs with fsync or synchronous_commit off");
            continue;
        }
        report.add(row, one.bench.system, Unit::Seconds, one.bench.commits(one.short).await?);
        report.add(to_long, one.bench.system, Unit::Seconds, one.bench.commits(one.long).await?);
        report.add(late, one.bench.system, Unit::Seconds, one.bench.late_commits(one.long).await?);
    }
    report.add(alone, System::Baseline, Unit::Seconds, append_and_sync(&folder.join("append")).map_err(unavailable)?);
    report.promise(row, "SQLite: at most the disk alone + 1.5 ms", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= report.p50(alone, System::Baseline)? + 0.001_5)
    });
    report.promise(late, "at most 1.5 times the above", &System::OUR_SYSTEMS, |report, system, p50| {
        Some(p50 <= report.p50(to_long, system)? * 1.5)
    });
    Ok(())
}

/// Seconds to append 4 KiB to a file and sync it.
fn append_and_sync(path: &Path) -> std::io::Result<Vec<f64>> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let mut samples = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        samples.push(began.elapsed().as_secs_f64());
    }
    Ok(samples)
}

async fn appends(report: &mut Report, folder: &Path, loaded: &[Loaded]) -> Result<()> {
    let (row, fast) = ("append of 100 rows, published", "the same, the catalog alone durable");
    let acknowledged = "append of 100 rows, acknowledged, before it is published";
    let two = "append of 100 rows to each of two tables at once, the catalog alone durable";
    for one in loaded {
        let system = one.bench.system;
        let place = |what: &str| folder.join(format!("{what}-{}", system.name()));
        let samples = one.bench.acknowledged_appends(&place("acknowledged")).await?;
        report.add(acknowledged, system, Unit::Seconds, samples);
        report.add(row, system, Unit::Seconds, one.bench.appends(&place("appended"), Durability::Full).await?);
        report.add(fast, system, Unit::Seconds, one.bench.appends(&place("fast"), Durability::Catalog).await?);
        report.add(two, system, Unit::Seconds, one.bench.appends_to_two(&place("two"), Durability::Catalog).await?);
    }
    let peer_folder = folder.join("appended-peers");
    let lines = peers::run(&["append", &peer_folder.to_string_lossy(), "50"])?;
    add_peers(report, Some(row), Unit::Seconds, lines);
    let peer_folder = folder.join("appended-peers-to-two");
    let lines = peers::run(&["append-to-two", &peer_folder.to_string_lossy(), "50"])?;
    add_peers(report, Some(two), Unit::Seconds, lines);
    report.promise(
        row,
        "SQLite: at most DuckLake's time and 0.5 times delta-rs'",
        &[System::Sqlite],
        |report, _, p50| {
            Some(p50 <= report.p50(row, System::DuckLake)? && p50 <= report.p50(row, System::DeltaRs)? * 0.5)
        },
    );
    report.promise(acknowledged, "SQLite: at most three syncs + 2 ms", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= 3.0 * report.p50(SYNC, System::Baseline)? + 0.002)
    });
    let promised = "SQLite: at most 1.3 times DuckLake's append and 0.8 times delta-rs'";
    report.promise(fast, promised, &[System::Sqlite], |report, _, p50| {
        let (lake, delta_rs) = (report.p50(row, System::DuckLake)?, report.p50(row, System::DeltaRs)?);
        Some(p50 <= lake * 1.3 && p50 <= delta_rs * 0.8)
    });
    report.promise(two, "SQLite: at most DuckLake's time", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= report.p50(two, System::DuckLake)?)
    });
    Ok(())
}

/// The Python package and `deltalake`, in one interpreter.
fn python(report: &mut Report, folder: &Path, loaded: &[Loaded], table: &Path) -> Result<()> {
    let Some(sqlite) = loaded.iter().find(|one| one.bench.system == System::Sqlite) else { return Ok(()) };
    let uri = sqlite.bench.uri_of("short");
    let mut lines = peers::run(&["python-open", &uri, &table.to_string_lossy(), &PEER_SAMPLES.to_string()])?;
    lines.extend(peers::run(&["python-append", &folder.join("python").to_string_lossy(), "50"])?);
    let rows: Vec<_> = lines.iter().map(|line| line.row.clone()).collect();
    add_peers(report, None, Unit::Seconds, lines);
    let (Some(open), Some(append)) = (rows.first(), rows.last()) else { return Ok(()) };
    report.promise(open, "at most 1/50 of delta-rs", &[System::Sqlite], |report, _, p50| {
        Some(p50 * 50.0 <= report.p50(open, System::DeltaRs)?)
    });
    report.promise(append, "at most 0.9 times delta-rs", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= report.p50(append, System::DeltaRs)? * 0.9)
    });
    Ok(())
}

/// A query of one value, planned completely in DataFusion.
async fn selects(report: &mut Report, scale: Scale, loaded: &[Loaded], table: &Path) -> Result<()> {
    let files = scale.short.0 * scale.short.1;
    let row = format!("open and plan `SELECT … WHERE id = x` in DataFusion, one file of {}", grouped(files as f64));
    let rows = i64::try_from(files).unwrap_or(i64::MAX / ROWS) * ROWS;
    let mut random = fastrand::Rng::with_seed(11);
    let ids: Vec<i64> = (0..200).map(|_| random.i64(0..rows)).collect();
    for one in loaded {
        report.add(&row, one.bench.system, Unit::Seconds, one.bench.selects("short", &ids).await?);
    }
    let predicates: Vec<String> = ids.iter().take(PEER_SAMPLES).map(|id| format!("id = {id}")).collect();
    let predicates = serde_json::Value::from(predicates).to_string();
    let lines = peers::run(&["select", &table.to_string_lossy(), &predicates])?;
    add_peers(report, Some(&row), Unit::Seconds, lines);
    let by_index = loaded.iter().map(|one| one.bench.system).filter(|system| *system != System::DuckDb);
    let by_index: Vec<_> = by_index.collect();
    let promise = "SQLite: at most 1.5 ms; SQLite, PostgreSQL: at most 1/30 of delta-rs";
    report.promise(&row, promise, &by_index, |report, system, p50| {
        let is_short = system != System::Sqlite || p50 <= 0.0015;
        Some(is_short && p50 * 30.0 <= report.p50(&row, System::DeltaRs)?)
    });
    Ok(())
}

/// Appends to a table with few files and to one with many, and a query of the rows of the latter.
async fn appends_to_many_files(report: &mut Report, scale: Scale, folder: &Path, loaded: &[Loaded]) -> Result<()> {
    let count = |(commits, files): (u64, u64)| grouped((commits * files) as f64);
    let rows = [scale.few, scale.many].map(|s| format!("append of 100 rows to a table of {} files", count(s)));
    let memory = format!("memory grown by a query of one value, {} files, at the peak", count(scale.many));
    let late = bench_catalog::late_rows()?;
    // The import of many files takes long, so it is measured in one database only.
    for one in loaded.iter().filter(|one| one.bench.system == System::Sqlite) {
        for (row, (name, shape)) in rows.iter().zip([("few", scale.few), ("many", scale.many)]) {
            let table = tables::write(folder, shape.0, shape.1).map_err(unavailable)?;
            one.bench.import(&table, name).await?;
            // The cost of a checkpoint depends on the table, and is not part of an append.
            one.bench.set(name, ("delta.checkpointInterval", "1000000")).await?;
            let samples = one.bench.appends_to(name, &late, Durability::Full).await?;
            report.add(row, one.bench.system, Unit::Seconds, samples);
        }
        report.add(
            &memory,
            one.bench.system,
            Unit::Bytes,
            one.bench.memory_of_query("many", bench_catalog::LATE).await?,
        );
    }
    report.promise(&rows[1], "at most 1.25 times the above + 0.5 ms", &[System::Sqlite], |report, system, p50| {
        Some(p50 <= report.p50(&rows[0], system)? * 1.25 + 0.000_5)
    });
    report.promise(&memory, "less than 64 MiB", &[System::Sqlite], |_, _, p50| Some(p50 < f64::from(64 << 20)));
    Ok(())
}

async fn memory(report: &mut Report, scale: Scale, loaded: Vec<Loaded>, table: &Path, lake: &Path) -> Result<()> {
    let row = "memory grown by open and plan, at the peak";
    let middle = i64::try_from(scale.short.0 * scale.short.1).unwrap_or_default() * ROWS / 2 + ROWS / 2;
    for one in loaded {
        let system = one.bench.system;
        report.add(row, system, Unit::Bytes, one.bench.memory(one.short, middle).await?);
    }
    for peer in System::COLUMNS.into_iter().filter(|s| !s.is_ours()) {
        let (table, lake) = (table.to_string_lossy(), lake.to_string_lossy());
        let lines = peers::run(&["memory", peer.name(), &table, &lake, &bench_catalog::id_is(middle).to_string()])?;
        add_peers(report, Some(row), Unit::Bytes, lines);
    }
    report.promise(row, "less than 20 MB", &System::OUR_SYSTEMS, |_, _, p50| Some(p50 < 20e6));
    Ok(())
}

/// Adds the figures of the peers to the given row, or to the row that they name.
fn add_peers(report: &mut Report, row: Option<&str>, unit: Unit, lines: Vec<peers::Line>) {
    for line in lines {
        let row = row.unwrap_or(&line.row);
        match line.samples {
            Ok(samples) => report.add(row, line.system, unit, samples),
            Err(why) => report.add_absent(row, line.system, &why),
        }
    }
}

/// Writes `results.json`, the chart, and the marked part of `docs/benchmarks.md`.
fn publish(report: &Report) -> Result<()> {
    let root = Path::new(ROOT);
    let page = root.join("docs/benchmarks.md");
    let text = fs::read_to_string(&page).map_err(unavailable)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| {
        TxnLogError::invalid("docs/benchmarks.md has lost its two marks: `git checkout docs/benchmarks.md` and repeat")
    })?;
    let (table, circumstances) = (report.table(), report.circumstances());
    let section = format!("{BEGIN}\n\n{circumstances}\n{table}\n![The times as bars](benchmarks.svg)\n\n{END}");
    fs::write(&page, format!("{before}{section}{after}")).map_err(unavailable)?;
    fs::write(root.join("docs/benchmarks.svg"), chart::svg(report)).map_err(unavailable)?;
    let json = format!("{:#}\n", report.to_json());
    fs::write(root.join("benches/results.json"), json).map_err(unavailable)
}
