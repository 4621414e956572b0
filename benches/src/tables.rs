//! Delta logs of any size: metadata only, no data files, the same bytes in every run.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};

const SCHEMA: &str = r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}},{"name":"ts","type":"timestamp","nullable":true,"metadata":{}},{"name":"name","type":"string","nullable":true,"metadata":{}},{"name":"amount","type":"double","nullable":true,"metadata":{}},{"name":"day","type":"string","nullable":true,"metadata":{}}]}"#;

/// Writes a table of `commits` commits with `files` adds each, partitioned by day; file n holds the ids from 1000n.
pub(crate) fn write(folder: &Path, commits: u64, files: u64) -> std::io::Result<PathBuf> {
    let table = folder.join(format!("t{commits}x{files}"));
    let log = table.join("_delta_log");
    std::fs::create_dir_all(&log)?;
    for version in 0..commits {
        let mut text = String::new();
        commit(&mut text, version, files).map_err(std::io::Error::other)?;
        std::fs::File::create(log.join(format!("{version:020}.json")))?.write_all(text.as_bytes())?;
    }
    Ok(table)
}

fn commit(text: &mut String, version: u64, files: u64) -> std::fmt::Result {
    let ms = 1_700_000_000_000 + version * 1000;
    writeln!(
        text,
        r#"{{"commitInfo":{{"timestamp":{ms},"operation":"WRITE","operationParameters":{{"mode":"Append"}},"engineInfo":"bench"}}}}"#
    )?;
    if version == 0 {
        writeln!(text, r#"{{"protocol":{{"minReaderVersion":1,"minWriterVersion":2}}}}"#)?;
        let schema = serde_json::Value::from(SCHEMA);
        writeln!(
            text,
            r#"{{"metaData":{{"id":"bench","format":{{"provider":"parquet","options":{{}}}},"schemaString":{schema},"partitionColumns":["day"],"configuration":{{}},"createdTime":{ms}}}}}"#
        )?;
    }
    for n in version * files..(version + 1) * files {
        let day = format!("2024-{:02}-{:02}", n / 3000 % 12 + 1, n / 100 % 28 + 1);
        let stats = format!(
            r#"{{"numRecords":1000,"minValues":{{"id":{},"ts":"2024-01-01T00:00:00.000Z","name":"a{n:07}","amount":0.5}},"maxValues":{{"id":{},"ts":"2024-01-02T00:00:00.000Z","name":"z{n:07}","amount":99.5}},"nullCount":{{"id":0,"ts":0,"name":3,"amount":0}}}}"#,
            n * 1000,
            n * 1000 + 999
        );
        let stats = serde_json::Value::from(stats);
        writeln!(
            text,
            r#"{{"add":{{"path":"day={day}/part-{n:08}.parquet","partitionValues":{{"day":"{day}"}},"size":1048576,"modificationTime":{ms},"dataChange":true,"stats":{stats}}}}}"#
        )?;
    }
    Ok(())
}
