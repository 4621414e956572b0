//! The memory for the import of a table with very many files, and for a copy of its catalog.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use deltalakedb_catalog::{CatalogUri, ConnectOptions, SqlCatalog, copy_catalog};
use deltalakedb_log::{Location, Result, SystemClock};
use deltalakedb_mirror::Mirror;

use crate::bench_catalog::{measure_in_process, peak_growth, unavailable};
use crate::databases::{COPIES, IMPORTS, Server};
use crate::large::MEMORY;
use crate::report::{Report, System, Unit, grouped};
use crate::tables;

/// Measures a table with this many commits and files of each. Each catalog is new, and each transfer runs in a separate
/// process.
pub(crate) async fn measure(report: &mut Report, folder: &Path, server: &Server, shape: (u64, u64)) -> Result<()> {
    let (table, files) = (tables::write(folder, shape.0, shape.1).map_err(unavailable)?, shape.0 * shape.1);
    let rows =
        ["imported", "copied from SQLite"].map(|done| format!("a table of {} files, {done}", grouped(files as f64)));
    let memory = rows.clone().map(|row| format!("memory grown: {row}"));
    let folder = folder.join("transfers");
    fs::create_dir_all(&folder).map_err(unavailable)?;
    let place = |name: &str| folder.join(name).display().to_string();
    let uris = |file: &str, schema: &str| {
        [
            (System::Sqlite, format!("deltasql://sqlite/{}", place(&format!("{file}.db")))),
            (System::Postgres, server.uri_of(schema)),
            (System::DuckDb, format!("deltasql://duckdb/{}", place(&format!("{file}.duckdb")))),
        ]
    };
    let imports = uris("imported", IMPORTS);
    let table = table.display().to_string();
    let mut add = |row: usize, system: System, [bytes, seconds]: [f64; 2]| {
        report.add(&rows[row], system, Unit::FilesPerSecond, vec![files as f64 / seconds]);
        report.add(&memory[row], system, Unit::Bytes, vec![bytes]);
    };
    for (system, uri) in &imports {
        add(0, *system, measure_in_process(&["import", uri, &table])?);
    }
    for (system, uri) in uris("copied", COPIES) {
        add(1, system, measure_in_process(&["copy", &imports[0].1, &uri])?);
    }
    for row in &memory {
        let held = [System::Sqlite, System::Postgres];
        report.promise(row, "SQLite, PostgreSQL: less than 256 MiB", &held, |_, _, p50| Some(p50 < MEMORY));
    }
    Ok(())
}

/// In a separate process: the growth of peak resident memory in bytes, in addition to the connection, and the seconds.
pub(crate) async fn import(uri: &str, table: &str) -> Result<[f64; 2]> {
    let (catalog, place) = (connect(uri).await?, Location::parse(table)?);
    let (mirror, name) = (Mirror::new(Arc::new(catalog), Arc::new(SystemClock)), "imported".parse()?);
    peak_growth(mirror.import(&place, Some(&name), &|_, _| {})).await
}

/// The same for a copy.
pub(crate) async fn copy(from: &str, to: &str) -> Result<[f64; 2]> {
    let (from, to) = (connect(from).await?, connect(to).await?);
    peak_growth(copy_catalog(&from, &to, &|_, _| {})).await
}

async fn connect(uri: &str) -> Result<SqlCatalog> {
    let options = ConnectOptions { create: true, ..ConnectOptions::default() };
    SqlCatalog::connect(&CatalogUri::parse(uri)?, options).await
}
