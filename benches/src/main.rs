//! Us beside our peers: one run on one machine, one table out.
//!
//! `make bench` builds this in release and runs it. The figures are medians; the peer is the Python package `deltalake`,
//! as its users have it. The tables are logs without data files, the same at every run.
#![allow(clippy::print_stdout, reason = "a table on standard output is what this program is for")]

mod peer;
mod tables;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog};
use deltalakedb_log::commit::{Base, CommitRequest};
use deltalakedb_log::conformance::actions;
use deltalakedb_log::{Action, Catalog, Clock, Location, Result, SystemClock, TableEntry, TxnLogError};

#[tokio::main]
async fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(io)?;
    let short = tables::write(folder.path(), 1_000, 100).map_err(io)?;
    let long = tables::write(folder.path(), 50_000, 2).map_err(io)?;
    let mut report = Report::default();

    let catalog = connect(&folder.path().join("catalog.db")).await?;
    let (entry, took) = import(&catalog, &short, "short").await?;
    let rate = 100_000.0 / took.as_secs_f64();
    report.row(
        "import 1,000 commits x 100 files",
        format!("{rate:.0} files/s"),
        String::new(),
        "at least 50,000 files/s",
        rate >= 50_000.0,
    );
    let (long_entry, took) = import(&catalog, &long, "long").await?;
    let rate = 100_000.0 / took.as_secs_f64();
    report.row("import 50,000 commits x 2 files", format!("{rate:.0} files/s"), String::new(), "-", true);

    let ours = open(&catalog, &entry).await?;
    let peers = peer::open(&short)?;
    let ratio = peers / ours;
    report.row(
        "open, 1,000 commits, 100,000 files",
        ms(ours),
        format!("{} (checkpoint), {ratio:.0}x", ms(peers)),
        "at most 1/50 of delta-rs",
        ratio >= 50.0,
    );
    let ours_long = open(&catalog, &long_entry).await?;
    report.row(
        "open, 50,000 commits, 100,000 files",
        ms(ours_long),
        String::new(),
        "at most 1.25 times the above + 0.5 ms",
        ours_long <= ours * 1.25 + 0.000_5,
    );

    let disk = append_and_sync(&folder.path().join("append")).map_err(io)?;
    let commit = commits(&catalog, &entry).await?;
    report.row("one append and fsync of this disk", ms(disk), String::new(), "-", true);
    report.row(
        "durable commit of one file",
        ms(commit),
        String::new(),
        "at most that + 1.5 ms",
        commit <= disk + 0.001_5,
    );

    report.print();
    if report.missed() { Err(TxnLogError::invalid("a figure is worse than promised")) } else { Ok(()) }
}

async fn connect(path: &Path) -> Result<Arc<dyn Catalog>> {
    let uri = CatalogUri { path: path.into(), table: None };
    Ok(Arc::new(SqlCatalog::connect(&uri, ConnectOptions::default()).await?))
}

async fn import(catalog: &Arc<dyn Catalog>, table: &Path, name: &str) -> Result<(TableEntry, Duration)> {
    let place = Location::parse(&table.to_string_lossy())?;
    let name = name.parse()?;
    let began = Instant::now();
    let imported = deltalakedb_mirror::import(catalog, &SystemClock, &place, Some(&name), &|_, _| {}).await?;
    Ok((imported.table, began.elapsed()))
}

/// Seconds to open a table: head, protocol and metadata, over a connection that is there.
async fn open(catalog: &Arc<dyn Catalog>, entry: &TableEntry) -> Result<f64> {
    let mut samples = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        catalog.reader(entry.id).head().await?;
        samples.push(began.elapsed());
    }
    Ok(median(samples))
}

/// Seconds for a durable commit of one file whose data is written already.
async fn commits(catalog: &Arc<dyn Catalog>, entry: &TableEntry) -> Result<f64> {
    let mut samples = Vec::new();
    let mut head = entry.current_version;
    for n in 0..200 {
        let add = actions::file(&format!("day=a/new-{n}.parquet"), 0, 9);
        let request =
            CommitRequest::new(entry.id, SystemClock.new_uuid(), Base::RebaseFrom(head), vec![Action::Add(add)]);
        let began = Instant::now();
        let committed = catalog.commit_all(vec![request]).await?.committed()?;
        samples.push(began.elapsed());
        head = committed[0].version;
    }
    Ok(median(samples))
}

/// Seconds to append four KiB to a file and sync it.
fn append_and_sync(path: &Path) -> std::io::Result<f64> {
    let mut file = File::options().create(true).append(true).open(path)?;
    let mut samples = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        samples.push(began.elapsed());
    }
    Ok(median(samples))
}

fn median(mut samples: Vec<Duration>) -> f64 {
    samples.sort();
    samples.get(samples.len() / 2).copied().unwrap_or_default().as_secs_f64()
}

fn ms(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1000.0)
}

fn io(e: std::io::Error) -> TxnLogError {
    TxnLogError::new(deltalakedb_log::ErrorKind::Unavailable, "a file of the benchmark cannot be written")
        .with_source(e)
}

#[derive(Default)]
struct Report(Vec<([String; 4], bool)>);

impl Report {
    fn row(&mut self, what: &str, ours: String, delta_rs: String, promised: &str, kept: bool) {
        self.0.push(([what.into(), ours, delta_rs, promised.into()], kept));
    }

    fn missed(&self) -> bool {
        self.0.iter().any(|(_, kept)| !kept)
    }

    fn print(&self) {
        println!("| what | deltalakedb | delta-rs | promised | kept |");
        println!("|---|---|---|---|---|");
        for ([what, ours, theirs, promised], kept) in &self.0 {
            println!("| {what} | {ours} | {theirs} | {promised} | {} |", if *kept { "yes" } else { "NO" });
        }
    }
}
