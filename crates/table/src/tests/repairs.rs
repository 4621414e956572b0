//! Missing files are removed from a table, and no others.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_removes_missing_files() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &["day"]).await;
    let options = WriteOptions::default();
    table.write(rows(&[1, 2, 3, 4], &["a b", "c", "ü/%", "x"]), SaveMode::Append, &options).await.unwrap();
    let at = table.location().local_path().unwrap();
    std::fs::remove_dir_all(at.join("day=c")).unwrap();
    let planned = table.run(Operation::Repair { dry_run: true }, &options).await.unwrap();
    assert!(planned.committed.is_none() && planned.metrics["dry_run"] == true, "{planned:?}");
    let done = table.run(Operation::Repair { dry_run: false }, &options).await.unwrap();
    assert_eq!(done.metrics["files_removed"], planned.metrics["files_removed"]);
    let removed: Vec<String> = serde_json::from_str(done.metrics["files_removed"].as_str().unwrap()).unwrap();
    assert!(removed.len() == 1 && removed[0].starts_with("day=c/"), "{removed:?}");
    check(&table, &Scan::default(), &["|1|ab|", "|3|ü/%|", "|4|x|"]).await;
    check_plain(&table).await;
    let again = table.run(Operation::Repair { dry_run: false }, &options).await.unwrap();
    assert!(again.committed.is_none(), "{again:?}");
}
