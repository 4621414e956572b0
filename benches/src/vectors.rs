//! Deletion vectors: scans of a table with hidden rows, compared with the same files without a log and with the peers, and
//! deletes of one row.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

use crate::bench_catalog::{BenchCatalog, FEWEST, unavailable};
use crate::growth::bytes_of;
use crate::report::{Report, System, Unit, grouped};
use crate::{SYNC, add_peers, append_and_sync, peers, scans};

/// Reads every value, and returns one row.
const EVERY_VALUE: &str = "SELECT sum(id), sum(k), sum(v), max(s) FROM scanned";
/// The property under which files keep their vectors, however many rows these hide.
const KEEP: (&str, &str) = ("deltalakedb.deletionVectors.maxShare", "1");
const ONE_ROW: &str = "one row of those, by its id";
const DELETE: &str = "DELETE of one row of a file of 100 MB, published";
const DELETE_BYTES: &str = "bytes that this DELETE writes";

/// Deletes before the first measured one.
const WARM_UP: usize = 2;

/// Rows to hide, and how long their scan may take, in times of DataFusion's scan of other files.
struct Pattern {
    name: &'static str,
    hidden: Option<&'static str>,
    baseline: Baseline,
    at_most: f64,
}

/// The files that DataFusion scans for comparison.
#[derive(Clone, Copy)]
enum Baseline {
    /// The same files, as if nothing were hidden.
    BareFiles,
    /// A file of the rows that are left.
    Compacted,
}

const fn pattern(name: &'static str, hidden: Option<&'static str>, at_most: f64) -> Pattern {
    Pattern { name, hidden, baseline: Baseline::BareFiles, at_most }
}

const PATTERNS: [Pattern; 5] = [
    pattern("nothing hidden", None, 1.03),
    pattern("1 % hidden at random", Some("k % 100 = 0"), 1.10),
    pattern("5 % hidden in runs", Some("id % 10000 < 500"), 1.05),
    Pattern { baseline: Baseline::Compacted, ..pattern("99 % hidden in runs", Some("id % 100000 >= 1000"), 2.0) },
    pattern("5 % hidden at random", Some("k % 20 = 0"), 1.25),
];

pub(crate) async fn measure(report: &mut Report, folder: &Path, is_small: bool) -> Result<()> {
    let folder = folder.join("vectors");
    std::fs::create_dir_all(&folder).map_err(unavailable)?;
    let bench = BenchCatalog::in_sqlite(&folder).await?;
    scans(report, &bench, &folder, if is_small { 5_000 } else { 500_000 }).await?;
    deletes(report, &bench, &folder, if is_small { 20_000 } else { 2_800_000 }).await
}

async fn scans(report: &mut Report, bench: &BenchCatalog, folder: &Path, rows: i64) -> Result<()> {
    let (table, compacted) = (folder.join("scanned"), folder.join("compacted"));
    let properties = [("delta.enableDeletionVectors", "true"), KEEP];
    bench.create_with(&table, "scanned", SCHEMA, &[], &properties).await?;
    for file in 0..20 {
        bench.write("scanned", self::rows(file * rows..(file + 1) * rows, |_| true)?).await?;
    }
    bench.create_with(&compacted, "compacted", SCHEMA, &[], &[]).await?;
    bench.write("compacted", self::rows(0..20 * rows, |id| id % 100_000 < 1000)?).await?;
    let bare = folder.join("bare");
    scans::link_data(&table, &bare).map_err(unavailable)?;
    let mut is_hiding = false;
    for Pattern { name, hidden, baseline, at_most } in PATTERNS {
        if let Some(condition) = hidden {
            if is_hiding {
                bench.restore("scanned", 20).await?;
            }
            is_hiding = true;
            bench.delete("scanned", condition).await?;
        }
        bench.publish("scanned").await?;
        let files = match baseline {
            Baseline::BareFiles => &bare,
            Baseline::Compacted => &compacted,
        };
        let [ours, theirs] = scans::in_turn(bench, &[("scanned", files.clone())], &[EVERY_VALUE], FEWEST).await?;
        let row = format!("every value of {} rows, {name}", grouped(20.0 * rows as f64));
        report.add(&row, System::Sqlite, Unit::Seconds, ours);
        report.add(&row, System::Baseline, Unit::Seconds, theirs);
        let lines = peers::run(&["scan", &table.to_string_lossy(), EVERY_VALUE, "5"])?;
        add_peers(report, Some(&row), Unit::Seconds, lines);
        let text = match (baseline, hidden) {
            (Baseline::BareFiles, None) => format!("at most {at_most} times the bare files"),
            (Baseline::BareFiles, Some(_)) => format!("at most {at_most} times the bare files, 1/1.8 of delta-rs"),
            (Baseline::Compacted, _) => format!("at most {at_most} times a file of what is left"),
        };
        report.promise(&row, &text, &[System::Sqlite], |report, _, p50| {
            let is_faster = match (baseline, hidden) {
                (Baseline::BareFiles, Some(_)) => p50 * 1.8 <= report.p50(&row, System::DeltaRs)?,
                _ => true,
            };
            Some(p50 <= at_most * report.p50(&row, System::Baseline)? && is_faster)
        });
    }

    let one = format!("SELECT * FROM scanned WHERE id = {}", 7 * rows + rows / 2 + 1);
    report.add(ONE_ROW, System::Sqlite, Unit::Seconds, bench.queries(&one).await?);
    let lines = peers::run(&["scan", &table.to_string_lossy(), &one, "9"])?;
    add_peers(report, Some(ONE_ROW), Unit::Seconds, lines);
    report.promise(ONE_ROW, "at most 1/20 of delta-rs", &[System::Sqlite], |report, _, p50| {
        Some(p50 * 20.0 <= report.p50(ONE_ROW, System::DeltaRs)?)
    });
    Ok(())
}

async fn deletes(report: &mut Report, bench: &BenchCatalog, folder: &Path, rows: i64) -> Result<()> {
    let table = folder.join("large");
    bench.create_with(&table, "large", SCHEMA, &[], &[("delta.enableDeletionVectors", "true")]).await?;
    bench.write("large", self::rows(0..rows, |_| true)?).await?;
    bench.publish("large").await?;
    let folders = [table.clone(), table.join("_delta_log")];
    let written = || folders.iter().map(|folder| bytes_of(folder, &|_| true)).sum::<Result<u64>>();
    let (mut samples, mut bytes) = (Vec::new(), Vec::new());
    for n in 0..(FEWEST + WARM_UP) as i64 {
        let before = written()?;
        let began = Instant::now();
        bench.delete("large", &format!("id = {}", (n * 7_919 + 13) % rows)).await?;
        bench.publish("large").await?;
        if n >= WARM_UP as i64 {
            samples.push(began.elapsed().as_secs_f64());
            bytes.push(written()?.saturating_sub(before) as f64);
        }
    }
    report.add(DELETE, System::Sqlite, Unit::Seconds, samples);
    report.add(DELETE_BYTES, System::Sqlite, Unit::Bytes, bytes);
    let lines = peers::run(&["delete", &table.to_string_lossy(), &folder.join("peers").to_string_lossy()])?;
    add_peers(report, Some(DELETE), Unit::Seconds, lines);
    if report.p50(SYNC, System::Baseline).is_none() {
        report.add(
            SYNC,
            System::Baseline,
            Unit::Seconds,
            append_and_sync(&folder.join("append")).map_err(unavailable)?,
        );
    }
    report.promise(DELETE, "at most three syncs + 10 ms", &[System::Sqlite], |report, _, p50| {
        Some(p50 <= 3.0 * report.p50(SYNC, System::Baseline)? + 0.010)
    });
    report.promise(DELETE_BYTES, "at most 4 KiB", &[System::Sqlite], |_, _, p50| Some(p50 <= 4_096.0));
    Ok(())
}

const SCHEMA: &str = "id long, k long, v double, s string";

/// Rows with these ids that satisfy a condition; their other values look random.
fn rows(ids: std::ops::Range<i64>, keeps: impl Fn(i64) -> bool) -> Result<RecordBatch> {
    let ids: Vec<i64> = ids.filter(|id| keeps(*id)).collect();
    let mixed = |id: i64| {
        let x = (id as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x ^ (x >> 32)
    };
    let number = |id: i64| (mixed(id) >> 24) as i64;
    let k: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| number(*id))));
    let v: ArrayRef = Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| number(*id) as f64 / 8.0)));
    let s: ArrayRef = Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("{:016x}", mixed(*id)))));
    let ids: ArrayRef = Arc::new(Int64Array::from(ids));
    RecordBatch::try_from_iter([("id", ids), ("k", k), ("v", v), ("s", s)])
        .map_err(|e| TxnLogError::new(ErrorKind::Internal, "the rows cannot be created").with_source(e))
}
