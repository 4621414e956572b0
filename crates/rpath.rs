//! The build script of every package whose programs, tests or examples call DuckDB: they search `libduckdb.so` in its
//! folder at build time, and in their own folder, so that `LD_LIBRARY_PATH` need not be set.

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;

const LIB_DIR: &str = "DUCKDB_LIB_DIR";
const LIB: &str = "libduckdb.so";

fn main() -> io::Result<()> {
    let mut cargo = io::stdout().lock();
    writeln!(cargo, "cargo::rerun-if-env-changed={LIB_DIR}")?;
    let Some(dir) = env::var_os(LIB_DIR).map(PathBuf::from) else {
        return Ok(());
    };
    // The folder may be a link, and point elsewhere after the next version's set-up.
    writeln!(cargo, "cargo::rerun-if-changed={}", dir.join(LIB).display())?;
    match dir.canonicalize() {
        Ok(found) if found.join(LIB).exists() => {
            writeln!(cargo, "cargo::rustc-link-arg=-Wl,-rpath,{}:$ORIGIN", found.display())
        }
        _ => writeln!(cargo, "cargo::warning=there is no {LIB} in {}: run scripts/setup", dir.display()),
    }
}
