//! Many concurrent clients: their total number of commits per second, and the latency of the slowest commits.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_log::{Durability, ErrorKind, Result, TableId, TxnLogError};

use crate::bench_catalog::BenchCatalog;
use crate::databases::Server;
use crate::peers;
use crate::report::{Report, System, Unit};

/// How long each number of clients commits; also for the peers.
const TIME: Duration = Duration::from_secs(3);
/// The number of repetitions.
const REPEATED: usize = 3;

/// The result of concurrent clients.
struct Ran {
    /// Commits per second, for each repetition.
    rates: Vec<f64>,
    /// The 99th percentile of the commit latency, in seconds.
    slow: f64,
}

/// Measures clients that commit one file's metadata each, clients that append rows, and peers that append the same
/// rows.
pub(crate) async fn measure(report: &mut Report, folder: &Path, server: &Server, small: bool) -> Result<()> {
    let time = if small { TIME / 20 } else { TIME };
    // Separate catalogs, so that the effects of other rows are not measured here.
    let folder = folder.join("clients");
    std::fs::create_dir_all(&folder).map_err(crate::bench_catalog::unavailable)?;
    for bench in BenchCatalog::everywhere(&folder, server).await?.into_iter().map(Arc::new) {
        let tables = folder.join(bench.system.name());
        commits(report, &bench, &tables, time).await?;
        appends(report, &bench, &tables, time).await?;
    }
    for clients in [1, 16] {
        let peer_folder = folder.join(format!("peers-{clients}"));
        let (peer_folder, clients, time) =
            (peer_folder.to_string_lossy(), clients.to_string(), time.as_secs_f64().to_string());
        for line in peers::run(&["append-at-once", &peer_folder, &clients, &time, &REPEATED.to_string()])? {
            let (row, unit) = match line.row.as_str() {
                "rate" => (appending(&clients), Unit::CommitsPerSecond),
                _ => (slowest(&appending(&clients)), Unit::Seconds),
            };
            match line.samples {
                Ok(samples) => report.add(&row, line.system, unit, samples),
                Err(why) => report.add_absent(&row, line.system, &why),
            }
        }
    }
    promises(report);
    Ok(())
}

fn committing(clients: usize) -> String {
    format!("commits of one file's metadata to one table, clients: {clients}")
}

const TO_MANY: &str = "commits of one file's metadata, clients: 64, each to a table of its own";

fn to_all(tables: usize) -> String {
    format!("durable commit of one file's metadata to each of {tables} tables at once")
}

fn appending(clients: &str) -> String {
    format!("appends of 100 rows to one table, published, clients: {clients}")
}

fn slowest(row: &str) -> String {
    format!("99 of 100 take at most: {row}")
}

async fn commits(report: &mut Report, bench: &Arc<BenchCatalog>, folder: &Path, time: Duration) -> Result<()> {
    for clients in [1, 16, 64] {
        let table = bench.create(&folder.join(format!("one{clients}")), &format!("one{clients}")).await?;
        let ran = committing_to(bench, vec![table], clients, time).await?;
        let row = committing(clients);
        report.add(&row, bench.system, Unit::CommitsPerSecond, ran.rates);
        report.add(&slowest(&row), bench.system, Unit::Seconds, vec![ran.slow]);
    }
    let mut tables = Vec::new();
    for n in 0..64 {
        tables.push(bench.create(&folder.join(format!("own{n}")), &format!("own{n}")).await?);
    }
    let ran = committing_to(bench, tables.clone(), tables.len(), time).await?;
    report.add(TO_MANY, bench.system, Unit::CommitsPerSecond, ran.rates);
    for count in [2, 20] {
        report.add(&to_all(count), bench.system, Unit::Seconds, bench.commits_to_all(&tables[..count]).await?);
    }
    Ok(())
}

async fn appends(report: &mut Report, bench: &Arc<BenchCatalog>, folder: &Path, time: Duration) -> Result<()> {
    let system = bench.system;
    for clients in [1, 16] {
        let name = format!("rows{clients}");
        let table = bench.create(&folder.join(&name), &name).await?;
        let (bench, mirror) = (bench.clone(), bench.mirror(Durability::Full).with_deferred_sync());
        let append = move |_, _| {
            let (bench, name, mirror) = (bench.clone(), name.clone(), mirror.clone());
            async move { bench.append_to(&name, table, &mirror).await }
        };
        let ran = run(clients, time, append).await?;
        let row = appending(&clients.to_string());
        report.add(&row, system, Unit::CommitsPerSecond, ran.rates);
        report.add(&slowest(&row), system, Unit::Seconds, vec![ran.slow]);
    }
    Ok(())
}

/// Clients that commit one file's metadata each, to the tables in turn.
async fn committing_to(bench: &Arc<BenchCatalog>, tables: Vec<TableId>, clients: usize, time: Duration) -> Result<Ran> {
    let (bench, tables) = (bench.clone(), Arc::new(tables));
    let commit = move |client: usize, n| {
        let (bench, table) = (bench.clone(), tables[client % tables.len()]);
        async move { bench.commit_to(table, n).await }
    };
    run(clients, time, commit).await
}

/// Concurrent clients, each of which commits in a loop. A commit that fails ends the benchmark.
async fn run<F: Future<Output = Result<()>> + Send + 'static>(
    clients: usize,
    time: Duration,
    commit: impl Fn(usize, usize) -> F + Clone + Send + 'static,
) -> Result<Ran> {
    let (mut rates, mut took) = (Vec::new(), Vec::new());
    for repetition in 0..REPEATED {
        let began = Instant::now();
        let all = (0..clients).map(|client| (client, commit.clone())).map(|(client, commit)| async move {
            let mut took = Vec::new();
            while began.elapsed() < time {
                let started = Instant::now();
                let unique = (took.len() * clients + client) * REPEATED + repetition;
                commit(client, unique).await?;
                took.push(started.elapsed().as_secs_f64());
            }
            Ok::<_, TxnLogError>(took)
        });
        let tasks: Vec<_> = all.map(tokio::spawn).collect();
        let mut all = Vec::new();
        for task in tasks {
            let ended = |e| TxnLogError::new(ErrorKind::Internal, "a client of the benchmark panicked").with_source(e);
            all.extend(task.await.map_err(ended)??);
        }
        rates.push(all.len() as f64 / began.elapsed().as_secs_f64());
        took.extend(all);
    }
    took.sort_by(f64::total_cmp);
    let slow = took.get(took.len().saturating_sub(1) * 99 / 100).copied();
    let none = || TxnLogError::new(ErrorKind::Internal, "no client committed anything");
    Ok(Ran { rates, slow: slow.ok_or_else(none)? })
}

fn promises(report: &mut Report) {
    let of = |clients| committing(clients);
    let databases = [System::Sqlite, System::Postgres];
    report.promise(
        &of(64),
        "SQLite, PostgreSQL: at least 2 times one client; PostgreSQL: at least 1,000",
        &databases,
        {
            |report, system, p50| {
                let alone = report.p50(&of(1), system)?;
                Some(p50 >= 2.0 * alone && (system != System::Postgres || p50 >= 1000.0))
            }
        },
    );
    report.promise(&slowest(&of(64)), "SQLite, PostgreSQL: less than 100 ms", &databases, |_, _, p50| Some(p50 < 0.1));
    report.promise(TO_MANY, "PostgreSQL: at least 1.5 times one client", &[System::Postgres], |report, system, p50| {
        Some(p50 >= 1.5 * report.p50(&of(1), system)?)
    });
    let promised = "PostgreSQL: at most 3 times that to 2 tables; SQLite, DuckDB: less than 10 times";
    report.promise(&to_all(20), promised, &System::OUR_SYSTEMS, |report, system, p50| {
        let times = if system == System::Postgres { 3.0 } else { 10.0 };
        Some(p50 <= times * report.p50(&to_all(2), system)?)
    });
    let row = appending("16");
    report.promise(&row, "SQLite: at least 2 times one client", &[System::Sqlite], |report, system, p50| {
        Some(p50 >= 2.0 * report.p50(&appending("1"), system)?)
    });
    report.promise(&slowest(&row), "SQLite: at most 100 ms", &[System::Sqlite], |_, _, p50| Some(p50 <= 0.1));
}
