//! Tables written by others, read through the virtual log and by plain delta-rs.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use deltalakedb_log::{FileTxnLogReader, Location, At};

use super::plain;
use crate::{DeltaTable, Scan, SaveMode, WriteOptions};

fn sorted(batches: &[arrow::array::RecordBatch]) -> String {
    let text = pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<_> = text.lines().collect();
    if lines.len() > 3 {
        lines[3..].sort();
    }
    lines.join("\n")
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for e in std::fs::read_dir(from).unwrap() {
        let e = e.unwrap();
        let t = to.join(e.file_name());
        if e.path().is_dir() { copy(&e.path(), &t) } else { std::fs::copy(e.path(), t).unwrap(); }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn golden() {
    let Ok(dir) = std::env::var("GOLDEN_UNPACKED") else { return };
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for table in names {
        let name = table.file_name().unwrap().to_string_lossy().to_string();
        if name.contains("dictionaries") { continue }
        let path = if table.join("delta").exists() { table.join("delta") } else { table };
        let location = Location::parse(path.to_str().unwrap()).unwrap();
        let Ok(reader) = FileTxnLogReader::open(&location).await else { continue };
        let (a, b) = reader.versions();
        let t = DeltaTable::open_with_reader(path.to_str().unwrap(), Arc::new(reader)).unwrap();
        for v in a..=b {
            let theirs = plain::read(&location, Some(v)).await;
            let ours = t.read(&Scan { at: At::Version(v), ..Scan::default() }).await;
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => {
                    if sorted(&ours) != sorted(&theirs) { println!("DIFF {name} {v}") }
                }
                (Err(_), Err(_)) => {}
                (a, b) => println!("ONE {name} {v} ours {:?} theirs {:?}", a.map(|_|()).map_err(|e| e.to_string()), b.map(|_|()).map_err(|e| e.to_string())),
            }
        }
        // write: append its own rows, then overwrite
        let tmp = tempfile::tempdir().unwrap();
        let at = tmp.path().join("odd näme");
        copy(&path, &at);
        let t = DeltaTable::open(at.to_str().unwrap()).await.unwrap();
        let rows = match t.read(&Scan::default()).await { Ok(r) => r, Err(_) => continue };
        let n: usize = rows.iter().map(|r| r.num_rows()).sum();
        match t.write(rows.clone(), SaveMode::Append, &WriteOptions::default()).await {
            Err(e) => { println!("APPEND {name} {e}"); continue }
            Ok(_) => {}
        }
        let count = async |what: &str, want: usize| {
            let ours = t.read(&Scan::default()).await.unwrap();
            let theirs = plain::read(t.location(), None).await;
            let n: usize = ours.iter().map(|r| r.num_rows()).sum();
            if n != want { println!("{what} {name} {n} {want}") }
            match theirs { Ok(x) if sorted(&x) == sorted(&ours) => {}, Ok(_) => println!("{what} {name} differs"), Err(e) => println!("{what} {name} plain {e}") }
        };
        count("AFTER APPEND", 2 * n).await;
        match t.write(rows.clone(), SaveMode::Overwrite, &WriteOptions::default()).await {
            Err(e) => { println!("OVERWRITE {name} {e}"); continue }
            Ok(_) => {}
        }
        count("AFTER OVERWRITE", n).await;
        println!("done {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn golden_filters() {
    let Ok(dir) = std::env::var("GOLDEN_UNPACKED") else { return };
    let mut names: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let (mut n, mut pruned) = (0, 0);
    for table in names {
        let name = table.file_name().unwrap().to_string_lossy().to_string();
        if name.contains("dictionaries") { continue }
        let path = if table.join("delta").exists() { table.join("delta") } else { table };
        let location = Location::parse(path.to_str().unwrap()).unwrap();
        let Ok(reader) = FileTxnLogReader::open(&location).await else { continue };
        let t = DeltaTable::open_with_reader(path.to_str().unwrap(), Arc::new(reader)).unwrap();
        let Ok(all) = t.read(&Scan::default()).await else { continue };
        let reader = t.reader().await.unwrap();
        let head = reader.head().await.unwrap();
        if all.is_empty() { continue }
        let schema = all[0].schema();
        for (i, f) in schema.fields().iter().enumerate() {
            if f.data_type().is_nested() { continue }
            for row in 0..all[0].num_rows().min(3) {
                let v = arrow::util::display::array_value_to_string(all[0].column(i), row).unwrap();
                use arrow::datatypes::DataType as T;
                let lit = match f.data_type() { T::Utf8 | T::Date32 | T::Timestamp(..) => format!("'{}'", v.replace('\'', "''")), T::Binary => continue, _ => v };
                let q = format!("\"{}\"", f.name());
                for cond in [format!("{q} = {lit}"), format!("{q} > {lit}"), format!("{q} <= {lit}"), format!("NOT ({q} <> {lit})"), format!("{q} IN ({lit})"), format!("{q} IS NULL"), format!("NOT ({q} BETWEEN {lit} AND {lit})"), format!("{q} IS NOT NULL AND ({q} < {lit} OR {q} = {lit})")] {
                    if lit == "" || lit == "''" { continue }
                    let ctx = super::session_context().unwrap();
                    let df = ctx.read_batches(all.clone()).unwrap();
                    let want = async { let e = df.parse_sql_expr(&cond)?; df.filter(e)?.collect().await }.await;
                    let got = t.read(&Scan { filter_sql: Some(cond.clone()), ..Scan::default() }).await;
                    match (got, want) {
                        (Ok(a), Ok(b)) => { n += 1; if sorted(&a) != sorted(&b) && (a.iter().any(|a| a.num_rows() > 0) || b.iter().any(|a| a.num_rows() > 0)) { println!("FILTER {name} {cond}") } }
                        (Err(_), Err(_)) => {}
                        (a, b) => println!("FILTER1 {name} {cond} {:?} {:?}", a.map(|_|()).map_err(|e| e.to_string()), b.map(|_|()).map_err(|e| e.to_string())),
                    }
                    if let Ok(p) = crate::predicate_from_sql(&cond, &schema) {
                        use futures::StreamExt;
                        let some = reader.files(head.version, Some(&p)).await.unwrap().count().await;
                        let every = reader.files(head.version, None).await.unwrap().count().await;
                        if some < every { pruned += 1 }
                    }
                }
            }
        }
    }
    println!("{n} filters, {pruned} pruned");
}
