//! History that ends in the catalog and in `_delta_log` together.

use std::time::Duration;

use deltalakedb_log::conformance::actions::protocol;
use deltalakedb_log::retention::{Expiry, HistoryExpiry, Keep};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{ErrorKind, Retention};
use deltalakedb_mirror::{ExpireOptions, Mirror, Replayer};

use crate::publishing::{Local, OurReader, findings, local_runtime};

const WEEK: &str =
    r#"{"delta.logRetentionDuration":"interval 7 days","delta.deletedFileRetentionDuration":"interval 2 days"MORE}"#;

fn days(n: u64) -> Retention {
    Retention { time: Some(Duration::from_secs(n * 24 * 3_600)), versions: None }
}

/// A table with a commit on each of 20 days, the last of them today, and a checkpoint every three.
async fn daily(more: &str, protocol: deltalakedb_log::action::Protocol) -> (Local, Mirror) {
    let local = Local::new(&WEEK.replace("MORE", more), protocol).await;
    let mirror = local.mirror().with_checkpoint_interval(3.try_into().unwrap());
    local.publish_daily(&mirror, 20).await;
    (local, mirror)
}

/// The catalog and the log agree, and another reader opens every version that is held.
async fn check_whole(local: &Local, mirror: &Mirror) {
    let entry = local.entry().await;
    assert_eq!(findings(mirror, &entry).await, []);
    for version in entry.base_version..=entry.current_version {
        OurReader.replay(&entry.location, &environment(), version).await.unwrap();
    }
    assert!(mirror.repair(local.table).await.unwrap().versions.is_empty(), "nothing is missing");
}

#[test]
fn history_ends_in_the_catalog_and_in_the_log() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        let dry = ExpireOptions { dry_run: true, ..ExpireOptions::default() };
        let would = mirror.expire(local.table, &dry).await.unwrap();
        assert_eq!((local.entry().await.base_version, local.versions(".json")[0]), (0, 0), "nothing was done");

        let ended = mirror.expire(local.table, &ExpireOptions::default()).await.unwrap();
        let base = local.entry().await.base_version;
        assert!((12..=14).contains(&base), "{base}");
        assert_eq!((ended.base_version, ended.versions), (base, base));
        assert_eq!((would.base_version, would.versions, would.log_files), (base, base, None));
        assert_eq!(local.versions(".json"), (base..=20).collect::<Vec<_>>());
        assert_eq!(local.versions(".crc")[0], base);
        assert_eq!(local.versions(".checkpoint.parquet")[0], base, "the log begins with it");
        check_whole(&local, &mirror).await;
        let again = mirror.expire(local.table, &ExpireOptions::default()).await.unwrap();
        assert_eq!((again.versions, again.log_files), (0, Some(0)));

        // What is lost of the versions that stay is put back.
        std::fs::remove_file(local.log(base + 1)).unwrap();
        assert_eq!(mirror.repair(local.table).await.unwrap().versions, [base + 1]);
        local.append().await;
        assert_eq!(mirror.publish(local.table).await.unwrap().count, 1);

        // What is said now goes before what the table says, but for its tombstones.
        let now = ExpireOptions { keep: days(0), ..ExpireOptions::default() };
        let ended = mirror.expire(local.table, &now).await.unwrap();
        assert!((17..=19).contains(&ended.base_version), "{ended:?}");
        check_whole(&local, &mirror).await;
        // And what the catalog says, where the table says nothing.
        let default = ExpireOptions { default: days(1), ..ExpireOptions::default() };
        assert_eq!(mirror.expire(local.table, &default).await.unwrap().versions, 0);
    });
}

#[test]
fn an_expiry_that_was_interrupted_goes_on() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        // The catalog's part, in parts, and not the log's.
        let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 };
        for up_to in [3, 4] {
            let expiry = Expiry { table: local.table, keep, up_to, committer: None };
            local.catalog.expire(&expiry).await.unwrap();
            assert_eq!((local.entry().await.base_version, local.versions(".json")[0]), (up_to, 0));
            check_whole(&local, &mirror).await;
        }
        let none = ExpireOptions { keep: days(1_000), ..ExpireOptions::default() };
        assert_eq!(mirror.expire(local.table, &none).await.unwrap().versions, 0);
        assert_eq!(local.versions(".json")[0], 4, "what was left behind goes now");
        assert!(local.versions(".checkpoint.parquet").contains(&4), "the log begins with it");
        check_whole(&local, &mirror).await;
    });
}

#[test]
fn what_a_table_protects_stays() {
    local_runtime(async {
        let mut protects = protocol();
        protects.writer_features.get_or_insert_default().push("checkpointProtection".into());
        let before = r#","delta.requireCheckpointProtectionBeforeVersion":"#;
        for (protected, ends) in [("100", false), ("2", true)] {
            let (local, mirror) = daily(&format!("{before}\"{protected}\""), protects.clone()).await;
            let ended = mirror.expire(local.table, &ExpireOptions::default()).await.unwrap();
            assert_eq!(ended.versions > 0, ends, "before version {protected}");
            assert_eq!(local.versions(".json")[0], ended.base_version, "before version {protected}");
        }
        let (local, mirror) = daily(r#","delta.enableExpiredLogCleanup":"false""#, protocol()).await;
        let ended = mirror.expire(local.table, &ExpireOptions::default()).await.unwrap();
        assert!(ended.versions > 0);
        assert_eq!((ended.log_files, local.versions(".json")[0]), (Some(0), 0));
        check_whole(&local, &mirror).await;
        let (local, mirror) = daily(r#","deltalakedb.retention.versions":"many""#, protocol()).await;
        let refused = mirror.expire(local.table, &ExpireOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.to_string().contains("deltalakedb.retention.versions"), "{refused}");
    });
}

#[test]
fn a_checkpoint_that_is_torn_ends_nothing() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        let options = ExpireOptions::default();
        let end = mirror.expire(local.table, &ExpireOptions { dry_run: true, ..options.clone() }).await.unwrap();
        let path = local.log(end.base_version).with_extension("checkpoint.parquet");
        std::fs::write(&path, "torn").unwrap();
        mirror.expire(local.table, &options).await.unwrap_err();
        assert_eq!((local.entry().await.base_version, local.versions(".json")[0]), (0, 0));
    });
}
