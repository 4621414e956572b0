//! The mirror: the time until a commit is published, a checkpoint of very many files, and the refresh of the DuckDB
//! mirror.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_log::action::Add;
use deltalakedb_log::commit::{Base, CommitRequest};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{
    Action, Catalog, Clock, ErrorKind, Result, SystemClock, TableId, TableRef, TxnLogError, Version, require,
};
use deltalakedb_mirror::{Mirror, ReconcileOptions, Reconciler};
use deltalakedb_table::DuckDbMirror;

use crate::add_peers;
use crate::bench_catalog::{BenchCatalog, measure_in_process, peak_growth, rows, unavailable};
use crate::large::MEMORY;
use crate::peers;
use crate::report::{Report, System, Unit, grouped};
use crate::slow_store::SlowStores;
use crate::tables;

/// What a put takes in addition.
const PUT: Duration = Duration::from_millis(60);
const TABLES: usize = 10;
const COMMITS_PER_SECOND: usize = 20;
/// The sizes of a `small` run: a twentieth.
const SMALLER: u64 = 20;

pub(crate) async fn measure(report: &mut Report, folder: &Path, small: bool) -> Result<()> {
    let folder = folder.join("mirrors");
    fs::create_dir_all(&folder).map_err(unavailable)?;
    let smaller = if small { SMALLER } else { 1 };
    lag(report, &folder.join("lag"), if small { 2 } else { 30 }).await?;
    checkpoint(report, &folder.join("checkpoint"), 1_000 / smaller).await?;
    refresh(report, &folder.join("duckdb"), 100_000 / smaller).await
}

async fn lag(report: &mut Report, folder: &Path, seconds: usize) -> Result<()> {
    let row = "commit to published, 20 commits/s, 10 tables, 60 ms more for a put";
    fs::create_dir_all(folder).map_err(unavailable)?;
    let bench = BenchCatalog::in_sqlite(folder).await?;
    let mut ids = Vec::new();
    for n in 0..TABLES {
        ids.push(bench.create(&folder.join(format!("t{n}")), &format!("t{n}")).await?);
    }
    let catalog = bench.catalog();
    let slow = Mirror::new(catalog.clone(), Arc::new(SystemClock))
        .with_stores(Arc::new(SlowStores { stores: environment(), put: PUT }));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let reconciler = Reconciler::new(slow, ReconcileOptions::default());
    let running = tokio::spawn(reconciler.run(async move { drop(stopped.await) }, |_| Ok(())));
    let (mut waiting, mut samples) = (Vec::new(), Vec::new());
    let (began, all) = (Instant::now(), seconds * COMMITS_PER_SECOND);
    let mut made = 0;
    while samples.len() < all {
        let due = began.elapsed().as_millis() as usize * COMMITS_PER_SECOND / 1_000;
        while made < due.min(all) {
            let table = ids[made % TABLES];
            waiting.push((table, commit_file(&catalog, table, &format!("f{made}"), 1).await?, Instant::now()));
            made += 1;
        }
        for table in &ids {
            let published = require(catalog.as_ref(), &TableRef::Id(*table)).await?.published_version;
            waiting.retain(|(of, version, since)| {
                let is_published = of == table && published >= Some(*version);
                if is_published {
                    samples.push(since.elapsed().as_secs_f64());
                }
                !is_published
            });
        }
        if began.elapsed() > Duration::from_secs(seconds as u64 * 10) {
            return Err(TxnLogError::new(ErrorKind::Unavailable, "the mirror does not keep up with 20 commits/s"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stop);
    running.await.map_err(|e| TxnLogError::new(ErrorKind::Internal, "the reconciler stopped").with_source(e))??;
    report.add(row, System::Sqlite, Unit::Seconds, samples);
    report
        .promise(row, "p95 less than 5 s", &[System::Sqlite], |report, system, _| Some(report.p95(row, system)? < 5.0));
    Ok(())
}

async fn checkpoint(report: &mut Report, folder: &Path, files: u64) -> Result<()> {
    let row = format!("checkpoint of {} files", grouped((1_000 * files) as f64));
    let memory = "memory grown by that checkpoint, at the peak";
    fs::create_dir_all(folder).map_err(unavailable)?;
    let table = tables::write(folder, 1_000, files).map_err(unavailable)?;
    let bench = BenchCatalog::in_sqlite(folder).await?;
    let (id, _) = bench.import(&table, "many").await?;
    let uri = bench.close().await;
    // delta-rs first, which writes no checkpoint where there is one; ours replaces it.
    let theirs = peers::run(&["checkpoint", &table.to_string_lossy()])?;
    let [grew, took] = measure_in_process(&["checkpoint", &uri, &id.to_string()])?;
    report.add(&row, System::Sqlite, Unit::Seconds, vec![took]);
    add_peers(report, Some(&row), Unit::Seconds, theirs);
    report.add(memory, System::Sqlite, Unit::Bytes, vec![grew]);
    report.promise(&row, "faster than delta-rs", &[System::Sqlite], |report, _, p50| {
        Some(p50 < report.p50(&row, System::DeltaRs)?)
    });
    report.promise(memory, "less than 256 MiB", &[System::Sqlite], |_, _, p50| Some(p50 < MEMORY));
    Ok(())
}

/// In a separate process: the growth of peak resident memory in bytes, and the seconds.
pub(crate) async fn checkpoint_in_process(uri: &str, table: &str) -> Result<[f64; 2]> {
    let catalog = deltalakedb_catalog::connect(uri).await?;
    let table: TableId = table.parse()?;
    peak_growth(Mirror::new(catalog, Arc::new(SystemClock)).checkpoint(table)).await
}

async fn refresh(report: &mut Report, folder: &Path, files: u64) -> Result<()> {
    let row = format!("refresh of the DuckDB mirror, one append to {} files", grouped(files as f64));
    fs::create_dir_all(folder).map_err(unavailable)?;
    let bench = BenchCatalog::in_sqlite(folder).await?;
    let place = folder.join("many");
    let id = bench.create(&place, "many").await?;
    bench.write("many", rows()?).await?;
    let catalog = bench.catalog();
    let reader = catalog.reader(id);
    let version = reader.head().await?.version;
    let written = futures::TryStreamExt::try_next(&mut reader.files(version, None).await?).await?;
    let written = written.ok_or_else(|| TxnLogError::new(ErrorKind::Internal, "the write has no file"))?;
    let mut n = 0;
    // A file system allows so many links to one file only.
    let mut link = |file: &mut Add| {
        n += 1;
        file.path = format!("part-{n:08}-{}.parquet", SystemClock.new_uuid());
        let from = place.join(&written.path);
        let source = if n % 20_000 == 0 { None } else { fs::hard_link(&from, place.join(&file.path)).ok() };
        source.map_or_else(|| fs::copy(&from, place.join(&file.path)).map(|_| ()), Ok).map_err(unavailable)
    };
    let mut adds = Vec::new();
    for _ in 0..files {
        let mut file = written.clone();
        link(&mut file)?;
        adds.push(Action::add(file));
    }
    let base = Base::RebaseFrom(version);
    catalog.commit_all(vec![CommitRequest::new(id, SystemClock.new_uuid(), base, adds)]).await?.committed()?;
    let mut mirror = DuckDbMirror::new(catalog.clone(), &folder.join("mirror.duckdb"))?;
    let began = Instant::now();
    mirror.refresh().await?;
    report.add("the first refresh of that table", System::Sqlite, Unit::Seconds, vec![began.elapsed().as_secs_f64()]);
    let mut samples = Vec::new();
    for _ in 0..20 {
        let mut file = written.clone();
        link(&mut file)?;
        let base = Base::RebaseFrom(version);
        let request = CommitRequest::new(id, SystemClock.new_uuid(), base, vec![Action::add(file)]);
        catalog.commit_all(vec![request]).await?.committed()?;
        let began = Instant::now();
        mirror.refresh().await?;
        samples.push(began.elapsed().as_secs_f64());
    }
    report.add(&row, System::Sqlite, Unit::Seconds, samples);
    report.promise(&row, "at most 50 ms", &[System::Sqlite], |_, _, p50| Some(p50 <= 0.05));
    Ok(())
}

/// Commits one file that does not exist.
async fn commit_file(catalog: &Arc<dyn Catalog>, table: TableId, name: &str, id: i64) -> Result<Version> {
    let add = Action::add(deltalakedb_log::conformance::actions::file(&format!("{name}.parquet"), id, id));
    let request = CommitRequest::new(table, SystemClock.new_uuid(), Base::RebaseFrom(0), vec![add]);
    let committed = catalog.commit_all(vec![request]).await?.committed()?;
    Ok(committed.first().map_or(0, |committed| committed.version))
}
