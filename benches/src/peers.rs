//! The peers as their users have them: Python packages, measured by `peers.py` in separate processes.

use std::path::Path;
use std::process::Command;

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use serde_json::Value;

use crate::report::System;

/// The program in this crate's folder.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers.py");

/// The result of a peer for a row.
pub(crate) struct Line {
    pub(crate) row: String,
    pub(crate) system: System,
    /// The samples, or the reason why there are none.
    pub(crate) samples: std::result::Result<Vec<f64>, String>,
    /// The number of files it would read, if it reports it.
    pub(crate) files: Option<u64>,
}

/// Runs `peers.py` with these arguments, to its end.
pub(crate) fn run(arguments: &[&str]) -> Result<Vec<Line>> {
    let text = output(arguments)?;
    text.lines().map(|line| read(line).ok_or_else(|| failed(&format!("it printed {line:?}")))).collect()
}

/// Writes the tables of TPC-H to a folder, each to a Parquet file.
pub(crate) fn generate_tpch(folder: &Path, scale: &str) -> Result<()> {
    output(&["tpch", &folder.to_string_lossy(), scale]).map(|_| ())
}

/// The versions of the peers.
pub(crate) fn versions() -> Result<Vec<(String, String)>> {
    let text = output(&["versions"])?;
    let versions: Value = serde_json::from_str(&text).map_err(|e| failed(&e.to_string()))?;
    let pairs = versions.as_object().into_iter().flatten();
    Ok(pairs.map(|(peer, version)| (peer.clone(), version.as_str().unwrap_or_default().to_string())).collect())
}

fn read(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).ok()?;
    let samples = match line["samples"].as_array() {
        Some(samples) => Ok(samples.iter().map(Value::as_f64).collect::<Option<Vec<_>>>()?),
        None => Err(line["why"].as_str()?.to_string()),
    };
    let system = System::named(line["system"].as_str()?)?;
    Some(Line { row: line["row"].as_str()?.to_string(), system, samples, files: line["files"].as_u64() })
}

fn output(arguments: &[&str]) -> Result<String> {
    let python = std::env::var("DELTALAKEDB_PYTHON").unwrap_or_else(|_| "python3".into());
    let output = Command::new(&python).arg(PROGRAM).args(arguments).output();
    let output = output.map_err(|e| failed(&format!("{python}: {e}")))?;
    if !output.status.success() {
        let (asked, why) = (arguments.first().unwrap_or(&"nothing"), String::from_utf8_lossy(&output.stderr));
        let why = format!("`peers.py {asked}` failed: {}", why.trim());
        return Err(TxnLogError::new(ErrorKind::Internal, why));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn failed(why: &str) -> TxnLogError {
    TxnLogError::new(
        ErrorKind::Unavailable,
        format!("the peers cannot be timed: run this by `make bench`, which installs them ({why})"),
    )
}
