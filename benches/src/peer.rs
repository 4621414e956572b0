//! delta-rs as its users have it: the Python package, timed in its own process.

use std::path::Path;
use std::process::Command;

use deltalakedb_log::{Result, TxnLogError};

const OPEN: &str = "
import statistics, sys, time
from deltalake import DeltaTable
table = sys.argv[1]
DeltaTable(table).create_checkpoint()
samples = []
for _ in range(9):
    began = time.perf_counter()
    DeltaTable(table)
    samples.append(time.perf_counter() - began)
print(statistics.median(samples))
";

/// Median seconds delta-rs takes to open the table from a checkpoint. The checkpoint is made here: nothing else of this
/// run may read the table's log afterwards.
pub(crate) fn open(table: &Path) -> Result<f64> {
    let python = std::env::var("DELTALAKEDB_PYTHON").unwrap_or_else(|_| "python3".into());
    let failed = |why: String| {
        TxnLogError::invalid(format!("delta-rs cannot be timed with {python} ({why}): run this by `make bench`"))
    };
    let output = Command::new(&python).args(["-c", OPEN]).arg(table).output().map_err(|e| failed(e.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| failed(String::from_utf8_lossy(&output.stderr).trim().to_string()))
}
