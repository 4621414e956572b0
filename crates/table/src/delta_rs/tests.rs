//! Tables written by others, read through the virtual log and by plain delta-rs.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::{FileTxnLogReader, Location};
use futures::TryStreamExt;

use super::plain;
use crate::{DeltaTable, Scan};

fn sorted(batches: &[arrow::array::RecordBatch]) -> String {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<_> = text.lines().collect();
    if lines.len() > 3 {
        lines[3..].sort();
    }
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn golden() {
    let Ok(dir) = std::env::var("GOLDEN_UNPACKED") else { return };
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for table in names {
        let name = table.file_name().unwrap().to_string_lossy().to_string();
        let path = if table.join("delta").exists() { table.join("delta") } else { table };
        let location = Location::parse(path.to_str().unwrap()).unwrap();
        let theirs = plain::read(&location, None).await;
        let ours = async {
            let reader = FileTxnLogReader::open(&location).await?;
            let table = DeltaTable::open_with_reader(path.to_str().unwrap(), Arc::new(reader))?;
            let rows = table.scan(&Scan::default()).await?;
            rows.try_collect::<Vec<_>>().await.map_err(|e| deltalakedb_log::TxnLogError::invalid(e.to_string()))
        }
        .await;
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                let n: usize = theirs.iter().map(|b| b.num_rows()).sum();
                println!("{} {name} {n}", if sorted(&ours) == sorted(&theirs) { "SAME" } else { "DIFF" });
            }
            (Err(a), Err(b)) => println!("BOTH {name}\n   ours {a}\n   theirs {b}"),
            (Err(a), Ok(b)) => println!("OURS {name} {a} {}", sorted(&b).lines().count()),
            (Ok(a), Err(b)) => println!("THEIRS {name} {b} {}", sorted(&a).lines().count()),
        }
        match plain::replay(&location, None).await {
            Ok(r) => println!("   replay v{} {} files, {} txns", r.version, r.files.len(), r.txns.len()),
            Err(e) => println!("   replay {e}"),
        }
    }
}
