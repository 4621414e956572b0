//! The build script of `dl`: the folders of the libraries, as for the other packages, and the versions of the parts that
//! `dl --version` prints.

use std::fs;
use std::io::{self, Write};

#[path = "../rpath.rs"]
mod rpath;

/// The versions of all packages of the build.
const LOCK: &str = "../../Cargo.lock";

fn main() -> io::Result<()> {
    rpath::main()?;
    let lock = fs::read_to_string(LOCK)?;
    let mut cargo = io::stdout().lock();
    writeln!(cargo, "cargo::rerun-if-changed={LOCK}")?;
    // The bindings of DuckDB and RocksDB have the versions of the libraries in their own.
    let duckdb = newest(&lock, "libduckdb-sys").split('.').nth(1).and_then(|number| number.parse::<u32>().ok());
    let duckdb = duckdb.map(|number| format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100));
    let rocksdb = newest(&lock, "librocksdb-sys").split_once('+').map_or("", |(_, library)| library);
    for (variable, version) in [
        ("ARROW", newest(&lock, "arrow")),
        ("DATAFUSION", newest(&lock, "datafusion")),
        ("DELTA_RS", newest(&lock, "deltalake-core")),
        ("DUCKDB", duckdb.as_deref().unwrap_or_default()),
        ("ROCKSDB", rocksdb),
    ] {
        if version.is_empty() {
            return Err(io::Error::other(format!("{LOCK} has no version of {variable}")));
        }
        writeln!(cargo, "cargo::rustc-env=DL_VERSION_{variable}={version}")?;
    }
    Ok(())
}

/// The newest version of a package; empty if there is none. The lock file has the versions of a package in ascending
/// order, as far as their major versions have as many digits.
fn newest<'a>(lock: &'a str, package: &str) -> &'a str {
    let name = format!("name = \"{package}\"\n");
    let sections = lock.split("[[package]]\n").filter(|section| section.starts_with(&name));
    let version = |section: &'a str| section.lines().find_map(|line| line.strip_prefix("version = "));
    sections.filter_map(version).last().map_or("", |version| version.trim_matches('"'))
}
