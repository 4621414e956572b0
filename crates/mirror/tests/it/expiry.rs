//! Expiry in the catalog and in `_delta_log` together.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{metadata, protocol};
use deltalakedb_log::lifecycle::RemovedRows;
use deltalakedb_log::retention::{COMMIT_IDS_MS, Expiry, HistoryExpiry, Keep};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{
    Action, Catalog, CatalogAdministration, Clock, CommitRequest, Committer, DropMode, DropTable, ErrorKind, Location,
    MirrorProgress, Retention, TableId, TableLifecycle,
};
use deltalakedb_mirror::{ExpireOptions, ExpiryCycle, ExpiryStep, Mirror, Replayer};
use futures::TryStreamExt;

use crate::intercepted_catalog::InterceptedCatalog;
use crate::interceptors::UnansweredRemovals;
use crate::publishing::{Local, OurReader, findings, local_runtime};

const WEEK: &str =
    r#"{"delta.logRetentionDuration":"interval 7 days","delta.deletedFileRetentionDuration":"interval 2 days"MORE}"#;

fn days(n: u64) -> Retention {
    Retention { time: Some(Duration::from_secs(n * 24 * 3_600)), versions: None }
}

/// A table with a commit on each of 20 days, the last of them today, and a checkpoint every three versions.
async fn daily(more: &str, protocol: deltalakedb_log::action::Protocol) -> (Local, Mirror) {
    let local = Local::new(&WEEK.replace("MORE", more), protocol).await;
    let mirror = local.mirror().with_checkpoint_interval(3.try_into().unwrap());
    local.publish_daily(&mirror, 20).await;
    (local, mirror)
}

/// Checks that the catalog and the log agree, and that another reader opens every retained version.
async fn check_whole(local: &Local, mirror: &Mirror) {
    let entry = local.entry().await;
    assert_eq!(findings(mirror, &entry).await, []);
    for version in entry.base_version..=entry.current_version {
        OurReader.replay(&entry.location, &environment(), version).await.unwrap();
    }
    assert!(mirror.repair(local.table).await.unwrap().versions.is_empty(), "nothing is missing");
}

#[test]
fn expiry_removes_versions_from_the_catalog_and_the_log() {
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

        // A missing commit of a retained version is restored.
        std::fs::remove_file(local.log(base + 1)).unwrap();
        assert_eq!(mirror.repair(local.table).await.unwrap().versions, [base + 1]);
        local.append().await;
        assert_eq!(mirror.publish(local.table).await.unwrap().count, 1);

        // The option overrides the table's property, except its tombstone retention.
        let now = ExpireOptions { keep: days(0), ..ExpireOptions::default() };
        let ended = mirror.expire(local.table, &now).await.unwrap();
        assert!((17..=19).contains(&ended.base_version), "{ended:?}");
        check_whole(&local, &mirror).await;
        // The default applies instead of the catalog's retention, if the table has none.
        let default = ExpireOptions { default: days(1), ..ExpireOptions::default() };
        assert_eq!(mirror.expire(local.table, &default).await.unwrap().versions, 0);
    });
}

#[test]
fn an_interrupted_expiry_resumes() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        // The catalog's part, in steps, without the log's.
        let keep = Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 };
        for up_to in [3, 4] {
            let expiry = Expiry { table: local.table, keep, up_to, committer: Committer::default() };
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
fn the_hint_names_a_retained_checkpoint_after_an_expiry() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        let hint = local.log(0).with_file_name("_last_checkpoint");
        let dry = ExpireOptions { dry_run: true, ..ExpireOptions::default() };
        let base = mirror.expire(local.table, &dry).await.unwrap().base_version;
        // The state after a process was killed when it had written the checkpoint.
        mirror.checkpoint_at(&local.entry().await, base).await.unwrap();
        std::fs::write(&hint, r#"{"version":3,"size":1}"#).unwrap();
        mirror.expire(local.table, &ExpireOptions::default()).await.unwrap();
        let said = std::fs::read_to_string(&hint).unwrap();
        assert!(said.contains(&format!("\"version\":{base},")), "{said}");
        check_whole(&local, &mirror).await;

        // History that has expired in the catalog already.
        let expiry = Expiry {
            table: local.table,
            keep: Keep { since_ms: i64::MAX, versions: 1, ids_since_ms: 0 },
            up_to: base + 1,
            committer: Committer::default(),
        };
        local.catalog.expire(&expiry).await.unwrap();
        std::fs::write(&hint, format!(r#"{{"version":{base},"size":1}}"#)).unwrap();
        let none = ExpireOptions { keep: days(1_000), ..ExpireOptions::default() };
        mirror.expire(local.table, &none).await.unwrap();
        check_whole(&local, &mirror).await;
        // A hint that cannot be parsed is ignored.
        local.catalog.expire(&Expiry { up_to: base + 2, ..expiry }).await.unwrap();
        std::fs::write(&hint, "torn").unwrap();
        mirror.expire(local.table, &none).await.unwrap();
        check_whole(&local, &mirror).await;
    });
}

#[test]
fn a_lost_checkpoint_at_which_the_log_begins_is_restored() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        let base = mirror.expire(local.table, &ExpireOptions::default()).await.unwrap().base_version;
        for version in local.versions(".checkpoint.parquet") {
            std::fs::remove_file(local.log(version).with_extension("checkpoint.parquet")).unwrap();
        }
        std::fs::remove_file(local.log(0).with_file_name("_last_checkpoint")).unwrap();
        let found = findings(&mirror, &local.entry().await).await;
        assert_eq!(found.len(), 1, "{found:?}");
        let said = found[0].to_string();
        assert!(said.contains("no reader can open it") && said.contains("`dl mirror repair "), "{said}");
        let repaired = mirror.repair(local.table).await.unwrap();
        assert_eq!((repaired.versions.len(), &repaired.checkpoints[..]), (0, &[base][..]), "{repaired}");
        check_whole(&local, &mirror).await;
        assert!(mirror.repair(local.table).await.unwrap().is_empty());
    });
}

/// Expired commits are not missing, also if the hint that says so is.
#[test]
fn a_lost_hint_is_restored_and_expired_commits_are_not() {
    local_runtime(async {
        let local = Local::new(r#"{"delta.logRetentionDuration":"interval 7 days"}"#, protocol()).await;
        let mirror = local.mirror().with_checkpoint_interval(3.try_into().unwrap());
        local.publish_daily(&mirror, 12).await;
        assert!(mirror.clean_up(local.table).await.unwrap() > 0);
        let kept = local.versions(".json");
        std::fs::remove_file(local.log(0).with_file_name("_last_checkpoint")).unwrap();
        let found = findings(&mirror, &local.entry().await).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("_last_checkpoint is missing"), "{}", found[0]);
        let repaired = mirror.repair(local.table).await.unwrap();
        assert!(repaired.hint && repaired.versions.is_empty(), "{repaired}");
        assert_eq!(local.versions(".json"), kept);
        assert_eq!(findings(&mirror, &local.entry().await).await, []);
    });
}

#[test]
fn expiry_keeps_versions_that_need_a_protected_checkpoint() {
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
fn a_torn_checkpoint_prevents_expiry() {
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

impl Local {
    /// Creates another table in its catalog, at version 0.
    async fn create(&self, name: &str, properties: &str) -> TableId {
        let (id, operation) = (TableId(self.clock.new_uuid()), self.clock.new_uuid());
        let new = NewTable::new(name.parse().unwrap(), Location::parse(&format!("/nowhere/{name}")).unwrap());
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata(properties))];
        let request = CommitRequest::new(id, operation, Base::Create(new), actions);
        self.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        id
    }

    /// Drops a new table, which can be undropped for this many milliseconds.
    async fn drop_new(&self, name: &str, ms: i64) {
        let id = self.create(name, "{}").await;
        let lease = self.catalog.acquire_lease(id, self.clock.new_uuid(), 0, 1).await.unwrap().unwrap();
        let mode = DropMode::Retain { ms };
        let drop = DropTable { mode, allow_unpublished: true, at_version: None, committer: Committer::default() };
        self.catalog.drop_table(&lease, &drop).await.unwrap();
    }
}

/// A short form of the steps' results.
fn step_texts(steps: Vec<ExpiryStep>) -> Vec<String> {
    let tell = |step| match step {
        ExpiryStep::History(entry, Ok(ended)) => format!("{}: {} versions", entry.name, ended.versions),
        ExpiryStep::History(entry, Err(e)) => format!("{}: {:?}", entry.name, e.kind()),
        ExpiryStep::Table(table, Ok(RemovedRows { is_done, .. })) => format!("{}: removed {is_done}", table.name),
        ExpiryStep::Table(table, Err(e)) => format!("{}: {:?}", table.name, e.kind()),
        ExpiryStep::Audit { lines } => format!("{lines} lines"),
        other => panic!("{other:?}"),
    };
    steps.into_iter().map(tell).collect()
}

#[test]
fn expire_all_expires_histories_and_removes_dropped_tables() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        // Its retention cannot be parsed, so its history cannot expire.
        local.create("a", r#"{"deltalakedb.retention.versions":"many"}"#).await;
        local.drop_new("dropped", 0).await;
        local.drop_new("kept", 1_000_000_000).await;
        local.clock.advance(COMMIT_IDS_MS);
        let options = ExpireOptions { dry_run: true, ..ExpireOptions::default() };
        let would = step_texts(mirror.expire_all(&options).try_collect().await.unwrap());
        let ended = local.entry().await;
        assert_eq!(ended.base_version, 0, "nothing was done");
        let all = step_texts(mirror.expire_all(&ExpireOptions::default()).try_collect().await.unwrap());
        let versions = local.entry().await.base_version;
        assert!((18..=20).contains(&versions), "{versions}");
        let history = format!("default.t: {versions} versions");
        assert_eq!(would, ["default.a: Invalid", "default.dropped: removed false", &history]);
        assert_eq!(all, ["default.a: Invalid", "default.dropped: removed true", &history]);
        let again = step_texts(mirror.expire_all(&ExpireOptions::default()).try_collect().await.unwrap());
        assert_eq!(again, ["default.a: Invalid", "default.t: 0 versions"]);
        check_whole(&local, &mirror).await;
    });
}

#[test]
fn an_expiry_cycle_expires_histories_in_slices() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        for n in 0..25 {
            local.create(&format!("s.t{n:02}"), "{}").await;
        }
        let mut cycle = ExpiryCycle::new(mirror.clone(), &ExpireOptions::default(), Duration::from_secs(60));
        let (first, second) = (step_texts(cycle.slice().await.unwrap()), step_texts(cycle.slice().await.unwrap()));
        assert!(first[0].starts_with("default.t: 1"), "{first:?}");
        assert_eq!((first.len(), second.len()), (20, 6), "the rest comes next");
        assert_eq!(second[5], "s.t24: 0 versions");
        assert!(cycle.slice().await.unwrap().is_empty(), "it is not time yet");
        local.clock.advance(60_000);
        assert_eq!(step_texts(cycle.slice().await.unwrap())[0], "default.t: 0 versions");
        check_whole(&local, &mirror).await;
    });
}

#[test]
fn an_expiry_cycle_alternates_removals_and_histories() {
    local_runtime(async {
        let (local, mirror) = daily("", protocol()).await;
        for n in 0..25 {
            local.create(&format!("s.t{n:02}"), "{}").await;
            local.drop_new(&format!("s.over{n:02}"), 0).await;
        }
        local.clock.advance(COMMIT_IDS_MS);
        let mut cycle = ExpiryCycle::new(mirror.clone(), &ExpireOptions::default(), Duration::from_secs(60));
        let first = step_texts(cycle.slice().await.unwrap());
        assert_eq!(first.iter().filter(|step| step.ends_with("removed true")).count(), 10, "{first:?}");
        assert_eq!(step_texts(cycle.slice().await.unwrap()).len(), 20);
        assert_eq!(step_texts(cycle.slice().await.unwrap()).len(), 11);
        assert!(cycle.slice().await.unwrap().is_empty(), "it is not time yet");
    });
}

#[test]
fn an_error_does_not_restart_an_expiry_cycle() {
    local_runtime(async {
        let (local, _) = daily("", protocol()).await;
        local.create("a", r#"{"deltalakedb.retention.versions":"many"}"#).await;
        local.create("u", "{}").await;
        let unanswered = Arc::new(UnansweredRemovals(AtomicI64::new(2)));
        let catalog = Arc::new(InterceptedCatalog::new(local.catalog.clone(), unanswered));
        let mirror = Mirror::new(catalog, local.clock.clone());
        let mut cycle = ExpiryCycle::new(mirror, &ExpireOptions::default(), Duration::from_secs(60));
        // Finished steps are returned before the error; histories are expired while removals fail.
        for history in ["default.a: Invalid", "default.t: 1"] {
            let done = step_texts(cycle.slice().await.unwrap());
            assert!(done.len() == 1 && done[0].starts_with(history), "{done:?}");
            let e = cycle.slice().await.unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
        }
        assert_eq!(step_texts(cycle.slice().await.unwrap()), ["default.u: 0 versions"]);
    });
}

#[test]
fn the_retention_of_the_catalog_is_the_default_of_its_tables() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        let mirror = local.mirror();
        local.publish_daily(&mirror, 20).await;
        let dry = ExpireOptions { dry_run: true, ..ExpireOptions::default() };
        let would = async |options: &ExpireOptions| mirror.expire(local.table, options).await.unwrap().versions;
        assert_eq!(would(&dry).await, 0, "thirty days");
        local.catalog.set_default_retention(days(10), None).await.unwrap();
        assert!((9..=11).contains(&would(&dry).await));
        assert_eq!(would(&ExpireOptions { default: days(30), ..dry.clone() }).await, 0, "a setting goes before it");
        // A limited number of versions at a time.
        let some = ExpireOptions { at_most: Some(4), ..ExpireOptions::default() };
        assert_eq!((would(&some).await, would(&some).await), (4, 4));
        assert_eq!((local.entry().await.base_version, local.versions(".json")[0]), (8, 8));
        check_whole(&local, &mirror).await;
    });
}
