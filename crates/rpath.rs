//! The build script of every package whose programs, tests or examples call DuckDB or RocksDB: they search
//! `libduckdb.so` and `librocksdb.so` in their folders at build time, and in their own folder, so that
//! `LD_LIBRARY_PATH` need not be set. With `DELTALAKEDB_PORTABLE` in the environment the program is for other machines:
//! it searches its own folder only.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

/// The variables with the folders of the libraries.
const LIBRARIES: [(&str, &str); 2] = [("DUCKDB_LIB_DIR", "libduckdb.so"), ("ROCKSDB_LIB_DIR", "librocksdb.so")];

const PORTABLE: &str = "DELTALAKEDB_PORTABLE";

pub(crate) fn main() -> io::Result<()> {
    let mut cargo = io::stdout().lock();
    writeln!(cargo, "cargo::rerun-if-env-changed={PORTABLE}")?;
    let is_portable = env::var_os(PORTABLE).is_some();
    for (variable, library) in LIBRARIES {
        writeln!(cargo, "cargo::rerun-if-env-changed={variable}")?;
        let Some(dir) = env::var_os(variable).map(PathBuf::from) else { continue };
        // The folder may be a link, and point elsewhere after the next version's set-up.
        writeln!(cargo, "cargo::rerun-if-changed={}", dir.join(library).display())?;
        match dir.canonicalize() {
            Ok(found) if found.join(library).exists() => {
                if is_portable {
                    writeln!(cargo, "cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN")?;
                    continue;
                }
                writeln!(cargo, "cargo::rustc-link-arg=-Wl,-rpath,{}:$ORIGIN", found.display())?;
            }
            _ => writeln!(cargo, "cargo::warning=there is no {library} in {}: run scripts/setup", dir.display())?,
        }
    }
    Ok(())
}
