//! Large tables that consist of a log only.

use std::fmt::Write as _;
use std::path::Path;

const ID_ONLY: &str =
    r#"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}"#;

/// Writes a log of that many commits with that many files each, and no data.
pub fn large_log(table: &Path, commits: u64, files: u64) {
    let folder = table.join("_delta_log");
    std::fs::create_dir_all(&folder).unwrap();
    for version in 0..commits {
        let mut text = String::from("{\"commitInfo\":{\"timestamp\":1700000000000,\"operation\":\"WRITE\"}}\n");
        if version == 0 {
            text.push_str("{\"protocol\":{\"minReaderVersion\":1,\"minWriterVersion\":2}}\n");
            let metadata = format!(
                r#"{{"metaData":{{"id":"x","format":{{"provider":"parquet","options":{{}}}},"schemaString":"{ID_ONLY}","partitionColumns":[],"configuration":{{}},"createdTime":1}}}}"#
            );
            writeln!(text, "{metadata}").unwrap();
        }
        for n in version * files..(version + 1) * files {
            let (low, high) = (n * 1000, n * 1000 + 999);
            let stats = format!(
                r#"{{\"numRecords\":1000,\"minValues\":{{\"id\":{low}}},\"maxValues\":{{\"id\":{high}}},\"nullCount\":{{\"id\":0}}}}"#
            );
            writeln!(
                text,
                r#"{{"add":{{"path":"part-{n:08}.parquet","partitionValues":{{}},"size":1048576,"modificationTime":1,"dataChange":true,"stats":"{stats}"}}}}"#
            )
            .unwrap();
        }
        std::fs::write(folder.join(format!("{version:020}.json")), text).unwrap();
    }
}
