//! Commits that are published before they are synced: when the catalog records them, and power failures before that.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use deltalakedb_log::action::{Action, Version};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{file, metadata, protocol};
use deltalakedb_log::stores::environment;
use deltalakedb_log::{
    Catalog, Clock, CommitRequest, Durability, ErrorKind, Location, MirrorProgress, MirrorState, Result, TableId,
};
use deltalakedb_mirror::{Mirror, VerifyOptions};

use crate::publishing::{DAY, Local, OurReader, local_runtime};
use crate::simulation::{Dice, LostConnections};

/// A publisher as in another process.
fn process(local: &Local) -> Mirror {
    local.mirror().with_deferred_sync()
}

#[test]
fn with_full_durability_a_commit_is_recorded_after_its_sync() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        let mirror = process(&local);
        mirror.publish(local.table).await.unwrap();
        assert_eq!(local.entry().await.published_version, Some(0), "with the folders of a new table at once");
        assert!(!mirror.is_unsettled());
        local.append().await;
        assert_eq!(mirror.publish(local.table).await.unwrap().version, Some(1));
        assert_eq!(std::fs::read(local.log(1)).unwrap(), local.body(1).await, "readers see it");
        assert_eq!(local.entry().await.published_version, Some(0));
        let (other, entry) = (process(&local), local.entry().await);
        let found = other.verify(&entry, &OurReader, VerifyOptions::default(), &|_, _| {}).await.unwrap();
        assert!(found.is_empty(), "it is published, which another process sees: {found:?}");

        mirror.settle_soon();
        while mirror.is_unsettled() {
            tokio::task::yield_now().await;
        }
        assert_eq!(local.entry().await.published_version, Some(1));
    });
}

#[test]
fn a_checkpoint_is_of_a_recorded_version() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        let mirror = process(&local).with_checkpoint_interval(2.try_into().unwrap());
        mirror.publish(local.table).await.unwrap();
        for version in 1..=2 {
            local.append().await;
            let done = mirror.publish(local.table).await.unwrap();
            assert_eq!(done.checkpoint, Some(2).filter(|due| *due == version));
        }
        assert_eq!(local.entry().await.published_version, Some(2));
    });
}

#[test]
fn the_versions_of_two_publishers_are_all_recorded() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        local.mirror().publish(local.table).await.unwrap();
        let (first, second) = (process(&local), process(&local));
        local.append().await;
        first.publish(local.table).await.unwrap();
        local.append().await;
        assert_eq!(second.publish(local.table).await.unwrap().version, Some(2));
        first.settle().await.unwrap();
        assert_eq!(local.entry().await.published_version, Some(1));
        second.settle().await.unwrap();
        assert_eq!(local.entry().await.published_version, Some(2));
    });
}

#[test]
fn what_another_process_has_put_needs_no_lease_if_it_is_the_catalogs() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        local.mirror().publish(local.table).await.unwrap();
        let (first, second) = (process(&local), process(&local));
        let now = local.clock.now_ms();
        let lease = local.catalog.acquire_lease(local.table, local.clock.new_uuid(), now, now + DAY).await;
        assert!(lease.unwrap().is_some(), "so that no publisher gets it");
        for (publisher, version) in [(&first, 1), (&second, 2), (&first, 3), (&second, 4)] {
            local.append().await;
            let done = publisher.publish(local.table).await.unwrap();
            assert_eq!((done.version, done.count, done.elsewhere), (Some(version), 1, false));
            assert_eq!(done.warnings, Vec::<String>::new());
            if version == 3 {
                // As if its process had been killed after it put the commit.
                std::fs::remove_file(local.log(version).with_extension("crc")).unwrap();
            }
        }
        assert_eq!(local.versions(".json"), [0, 1, 2, 3, 4]);
        assert_eq!(local.versions(".crc"), [0, 1, 2, 3, 4]);
        assert_eq!(local.entry().await.published_version, Some(0), "nothing is synced yet");

        // A file that is not whole, as after a power failure, is not taken for the commit.
        local.append().await;
        first.publish(local.table).await.unwrap();
        std::fs::write(local.log(5), &local.body(5).await[..20]).unwrap();
        local.append().await;
        let done = second.publish(local.table).await.unwrap();
        assert_eq!((done.version, done.count, done.elsewhere), (Some(4), 0, true));

        second.settle().await.unwrap();
        assert_eq!(local.entry().await.published_version, Some(4), "with the versions of the other one");
    });
}

#[test]
fn a_file_that_is_lost_before_its_sync_is_published_again() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        let mirror = process(&local);
        mirror.publish(local.table).await.unwrap();
        local.append().await;
        mirror.publish(local.table).await.unwrap();
        std::fs::remove_file(local.log(1)).unwrap();
        mirror.settle().await.unwrap_err();
        assert_eq!(mirror.publish(local.table).await.unwrap().count, 1);
        mirror.settle().await.unwrap();
        assert_eq!(std::fs::read(local.log(1)).unwrap(), local.body(1).await);
        assert_eq!(local.entry().await.published_version, Some(1));
    });
}

#[test]
fn a_table_that_cannot_be_settled_does_not_delay_others() {
    local_runtime(async {
        let (local, others) = (Local::new("{}", protocol()).await, tempfile::tempdir().unwrap());
        let (mirror, clock) = (process(&local), local.clock.clone());
        mirror.publish(local.table).await.unwrap();
        local.append().await;
        mirror.publish(local.table).await.unwrap();
        for n in 0..8 {
            let table = TableId(clock.new_uuid());
            let location = Location::parse(others.path().join(n.to_string()).to_str().unwrap()).unwrap();
            let create = Base::Create(NewTable::new(format!("other{n}").parse().unwrap(), location));
            let begin = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
            for (base, actions) in [(create, begin), (Base::RebaseFrom(0), vec![Action::add(file("f", 0, 9))])] {
                let request = CommitRequest::new(table, clock.new_uuid(), base, actions);
                local.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
                mirror.publish(table).await.unwrap();
            }
        }
        std::fs::remove_file(local.log(1)).unwrap();
        mirror.settle().await.unwrap_err();
        assert!(!mirror.is_unsettled(), "the others are recorded");
    });
}

#[test]
fn after_power_failures_the_log_is_finally_complete() {
    let tenfold = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 10 } else { 1 };
    for seed in 0..200 * tenfold {
        local_runtime(async {
            let (local, dice) = (Local::new("{}", protocol()).await, Dice::new(seed));
            let durability = if seed % 2 == 0 { Durability::Full } else { Durability::Catalog };
            // In some schedules connections to the catalog are lost as well.
            let is_lossy = seed % 4 > 1;
            let percent = Arc::new(AtomicI64::new(if is_lossy { 5 } else { 0 }));
            let catalog = LostConnections::of(&local.catalog, &local.clock, &dice, &percent);
            let process = || {
                let mirror = Mirror::new(catalog.clone(), local.clock.clone()).with_stores(environment());
                mirror.with_deferred_sync().with_durability(durability)
            };
            let check = |done: Result<()>| {
                if let Err(e) = done {
                    assert!(is_lossy && e.kind() == ErrorKind::Unavailable, "seed {seed}: {e}");
                }
            };
            let mut mirrors = [process(), process()];
            for _ in 0..dice.below(4..16) {
                let mirror = &mut mirrors[usize::from(dice.percent(50))];
                match dice.below(0..10) {
                    0..4 => local.append().await,
                    4..7 => check(mirror.publish_commits(local.table).await.map(|_| ())),
                    7 => check(mirror.settle().await),
                    // The process is killed.
                    8 => *mirror = process(),
                    _ => {
                        lose_unsynced(&local, &dice).await;
                        mirrors = [process(), process()];
                    }
                }
            }
            lose_unsynced(&local, &dice).await;
            percent.store(0, Ordering::Relaxed);
            // Leases of which a client got no answer expire.
            local.clock.advance(DAY);
            let mirror = process();
            mirror.publish_commits(local.table).await.unwrap();
            mirror.settle().await.unwrap();
            let now = local.entry().await;
            assert_eq!(now.published_version, Some(now.current_version), "seed {seed}");
            assert_eq!(now.mirror, MirrorState::Following, "seed {seed}: a torn file is no other writer's");
            for version in 0..=now.current_version {
                let there = std::fs::read(local.log(version)).unwrap();
                assert_eq!(there, local.body(version).await, "seed {seed}: version {version}");
            }
        });
    }
}

/// What a power failure may do to commits that were not synced: all after the watermark.
async fn lose_unsynced(local: &Local, dice: &Dice) {
    let now = local.entry().await;
    let unsynced: Range<Version> = now.published_version.map_or(0, |last| last + 1)..now.current_version + 1;
    for version in unsynced {
        let file = local.log(version);
        let Ok(mut bytes) = std::fs::read(&file) else { continue };
        let kept = usize::try_from(dice.below(0..bytes.len() as u64 + 1)).unwrap();
        match dice.below(0..5) {
            0 => {}
            1 => std::fs::remove_file(&file).unwrap(),
            2 => std::fs::write(&file, "").unwrap(),
            3 => std::fs::write(&file, &bytes[..kept]).unwrap(),
            // The size was written, and the content was not.
            _ => {
                bytes[kept..].fill(0);
                std::fs::write(&file, bytes).unwrap();
            }
        }
    }
}
