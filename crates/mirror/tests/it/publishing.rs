//! Publishers concurrent with writers and with each other, and after files were lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use deltalakedb_log::action::{Action, Add, DeletionVector, Protocol, Version};
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{action, file, metadata, protocol, with_dv};
use deltalakedb_log::conformance::refused;
use deltalakedb_log::stores::environment;
use deltalakedb_log::{
    At, Catalog, Clock, CommitRequest, Durability, ErrorKind, FileTxnLogReader, Location, MemoryCatalog, MirrorState,
    Result, Stores, TableEntry, TableId, TableRef, TxnLogReader,
};
use deltalakedb_mirror::{Finding, Mirror, ReplayedSnapshot, Replayer, VerifyOptions};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::intercepted_catalog::InterceptedCatalog;
use crate::interceptors::OpenReads;
use crate::simulation::{Dice, VirtualClock, World, bytes_of, commit};

pub(crate) const DAY: i64 = 24 * 3_600_000;

fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, story);
}

/// Reads the log with our own reader, for tests that do not test the reader.
pub(crate) struct OurReader;

#[async_trait]
impl Replayer for OurReader {
    async fn replay(
        &self,
        location: &Location,
        stores: &Arc<dyn Stores>,
        version: Version,
    ) -> Result<ReplayedSnapshot> {
        let log = FileTxnLogReader::open_in(location, stores.as_ref()).await?;
        let snapshot = log.snapshot(At::Version(version)).await?;
        Ok(ReplayedSnapshot {
            version,
            protocol: snapshot.head.protocol,
            metadata: snapshot.head.metadata,
            txns: snapshot.txns,
            domains: snapshot.domains,
            files: log.files(version, None).await?.try_collect().await?,
        })
    }
}

/// A table with this many commits after its creation.
async fn world(seed: u64, commits: usize) -> World {
    let world = World::new(seed).await;
    for _ in 0..commits {
        world.append().await;
    }
    world
}

pub(crate) async fn findings(mirror: &Mirror, entry: &TableEntry) -> Vec<Finding> {
    let every = VerifyOptions { every_version: true, data: false };
    mirror.verify(entry, &OurReader, every, &|_, _| {}).await.unwrap()
}

#[test]
fn an_idle_publisher_beside_writers_marks_no_divergence() {
    for seed in 0..30 {
        run(async move {
            let world = Arc::new(World::new(seed).await);
            world.mirror().publish_commits(world.table).await.unwrap();
            let writer = tokio::task::spawn_local({
                let world = world.clone();
                async move {
                    let mirror = world.mirror();
                    for _ in 0..20 {
                        world.append().await;
                        mirror.publish_commits(world.table).await.unwrap();
                        world.sleep(0..10).await;
                    }
                }
            });
            let (idle, verifier) = (world.mirror(), world.mirror());
            while !writer.is_finished() {
                idle.publish_commits(world.table).await.unwrap();
                let entry = world.entry().await;
                world.sleep(0..10).await;
                assert_eq!(findings(&verifier, &entry).await, [], "seed {seed}");
            }
            writer.await.unwrap();
            assert_eq!(world.entry().await.mirror, MirrorState::Following);
            assert_eq!(world.log().await, world.committed().await);
        });
    }
}

#[test]
fn tasks_of_a_process_publish_a_table_in_turn() {
    for seed in 0..20 {
        run(async move {
            let world = Arc::new(world(seed, 30).await);
            let mirror = world.mirror();
            let publish = || {
                let (world, mirror) = (world.clone(), mirror.clone());
                tokio::task::spawn_local(async move {
                    let done = mirror.publish(world.table).await.unwrap();
                    mirror.checkpoint(world.table).await.unwrap();
                    done
                })
            };
            let mut count = 0;
            for task in [publish(), publish(), publish()] {
                let done = task.await.unwrap();
                assert!(!done.elsewhere, "{done:?}");
                count += done.count;
            }
            assert_eq!(count, 31, "nobody did another's work again");
            assert_eq!(world.log().await, world.committed().await);
        });
    }
}

#[test]
fn publishing_returns_while_commits_continue() {
    run(async {
        let world = Arc::new(World::new(17).await);
        let writer = tokio::task::spawn_local({
            let world = world.clone();
            async move {
                loop {
                    world.append().await;
                    world.sleep(0..2).await;
                }
            }
        });
        world.sleep(10..20).await;
        let done = world.mirror().publish_commits(world.table).await.unwrap();
        assert!(done.count > 10 && done.version.is_some_and(|v| v < 100_000), "{done:?}");
        writer.abort();
        // The next publisher publishes the rest.
        world.mirror().publish_commits(world.table).await.unwrap();
        assert_eq!(world.log().await, world.committed().await);
    });
}

#[test]
fn lost_published_commits_are_restored() {
    run(async {
        let world = world(7, 5).await;
        let mirror = world.mirror();
        mirror.publish(world.table).await.unwrap();

        // A missing commit in the middle is not checked by default.
        world.store.inner.delete(&commit(2)).await.unwrap();
        world.store.inner.put(&commit(3), Bytes::new().into()).await.unwrap();
        let found = findings(&mirror, &world.entry().await).await;
        let said: Vec<_> = found.iter().map(|f| (f.version, f.to_string())).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        for ((version, said), what) in said.iter().zip([(2, "is missing"), (3, "is torn: it has 0 of")]) {
            assert_eq!(*version, what.0);
            assert!(said.contains(what.1) && said.contains("`dl mirror repair default.t` publishes"), "{said}");
        }
        let repaired = mirror.repair(world.table).await.unwrap();
        assert_eq!(repaired.versions, [2, 3], "{repaired}");
        assert_eq!(world.log().await, world.committed().await);
        assert_eq!(findings(&mirror, &world.entry().await).await, []);
        assert!(mirror.repair(world.table).await.unwrap().versions.is_empty());

        // A publisher that starts checks the last one: nothing is put after a gap.
        world.store.inner.delete(&commit(5)).await.unwrap();
        world.store.inner.delete(&commit(4)).await.unwrap();
        world.append().await;
        let done = world.mirror().publish(world.table).await.unwrap();
        assert_eq!((done.version, done.count), (Some(6), 1));
        assert!(done.warnings[0].contains("2 versions of default.t, from 4 to 5, were missing"), "{:?}", done.warnings);
        assert_eq!(world.log().await, world.committed().await);
        assert_eq!(world.store.wrong(), Vec::<String>::new());

        // A file that another writer put there is kept.
        world.store.inner.put(&commit(1), "another's".into()).await.unwrap();
        refused(mirror.repair(world.table).await, ErrorKind::Invalid, &["version 1", "dl mirror repair", "--ours"]);
        assert_eq!(bytes_of(&world.store.inner, &commit(1)).await.unwrap(), "another's");
    });
}

#[test]
fn commits_of_other_writers_are_set_aside_whatever_the_store_does() {
    for seed in 0..200 {
        run(async {
            let world = world(seed, 6).await;
            world.mirror().publish(world.table).await.unwrap();
            for _ in 0..world.dice.below(0..4) {
                world.append().await;
            }
            let (inner, current) = (world.store.inner.clone(), world.entry().await.current_version);
            let first = world.dice.below(1..current + 2);
            let theirs: Vec<_> =
                (first..=first + world.dice.below(0..3)).map(|v| (v, format!("another's {v}"))).collect();
            for (version, bytes) in &theirs {
                inner.put(&commit(*version), bytes.clone().into()).await.unwrap();
            }
            let checkpoint = Path::from(format!("_delta_log/{first:020}.checkpoint.parquet"));
            if world.dice.percent(50) {
                inner.put(&checkpoint, "another's".into()).await.unwrap();
                let hint = format!("{{\"version\":{first},\"size\":1}}");
                inner.put(&"_delta_log/_last_checkpoint".into(), hint.into()).await.unwrap();
                let compacted = format!("_delta_log/{:020}.{first:020}.compacted.json", first - 1);
                inner.put(&compacted.into(), "another's".into()).await.unwrap();
            }

            world.store.faults.store(20, Ordering::Relaxed);
            let mirror = world.mirror();
            let mut attempts = 0;
            while let Err(e) = mirror.keep_ours(world.table).await {
                attempts += 1;
                assert!(attempts < 300, "seed {seed}: {e}");
                world.sleep(1_000..60_000).await;
            }
            world.store.faults.store(0, Ordering::Relaxed);
            let again = mirror.keep_ours(world.table).await.unwrap();
            assert_eq!(again.set_aside, Vec::<String>::new(), "seed {seed}");

            assert_eq!(world.log().await, world.committed().await, "seed {seed}");
            // The store tears puts, so checksums may be torn, and a checkpoint may lack its hint.
            mirror.repair(world.table).await.unwrap();
            assert_eq!(findings(&mirror, &world.entry().await).await, [], "seed {seed}");
            assert_eq!(world.entry().await.mirror, MirrorState::Following, "seed {seed}");
            assert_eq!(world.store.wrong(), Vec::<String>::new(), "seed {seed}");
            let aside: Vec<_> = inner.list(Some(&"_set_aside".into())).try_collect().await.unwrap();
            let mut kept = Vec::new();
            for file in aside {
                kept.push((
                    file.location.filename().unwrap().to_string(),
                    bytes_of(&inner, &file.location).await.unwrap(),
                ));
            }
            for (version, bytes) in theirs {
                assert!(
                    kept.contains(&(format!("{version:020}.json"), bytes.into())),
                    "seed {seed}: {version}: {kept:?}"
                );
            }
        });
    }
}

#[test]
fn an_emptied_location_is_not_published_into() {
    run(async {
        let world = world(8, 1).await;
        world.mirror().publish(world.table).await.unwrap();
        let all: Vec<_> = world.store.inner.list(None).try_collect().await.unwrap();
        for file in all {
            world.store.inner.delete(&file.location).await.unwrap();
        }
        world.append().await;
        let mirror = world.mirror();
        for _ in 0..2 {
            let published = mirror.publish(world.table).await;
            refused(
                published,
                ErrorKind::Unavailable,
                &["check that the disk is mounted", "dl mirror repair default.t"],
            );
        }
        assert!(world.log().await.is_empty());
        let repaired = mirror.repair(world.table).await.unwrap();
        assert_eq!(repaired.versions, [0, 1]);
        assert_eq!(mirror.publish(world.table).await.unwrap().count, 1);
        assert_eq!(world.log().await, world.committed().await);
    });
}

#[test]
fn an_empty_commit_file_is_replaced_as_torn() {
    run(async {
        let world = World::new(9).await;
        let whole = world.committed().await.remove(&0).unwrap();
        for torn in [whole.slice(..0), whole.slice(..40), whole.slice(..whole.len() - 1)] {
            let world = World::new(9).await;
            world.store.inner.put(&commit(0), torn.into()).await.unwrap();
            assert_eq!(world.mirror().publish(world.table).await.unwrap().count, 1);
            assert_eq!(world.log().await, world.committed().await);
        }
    });
}

#[test]
fn a_store_without_put_if_absent_is_refused() {
    run(async {
        let world = World::new(10).await;
        world.store.overwrites.store(true, Ordering::Relaxed);
        let published = world.mirror().publish(world.table).await;
        assert_eq!(published.as_ref().unwrap_err().kind(), ErrorKind::Invalid);
        let cause = std::error::Error::source(published.as_ref().unwrap_err()).unwrap().to_string();
        assert!(cause.contains("overwrites existing files"), "{cause}");
        assert!(world.log().await.is_empty());
        assert_eq!(world.failed().await, [0], "and the version is named");
    });
}

#[test]
fn a_slow_publisher_does_not_set_the_hint_back() {
    run(async {
        let world = world(11, 4).await;
        let mirror = world.mirror();
        mirror.publish_commits(world.table).await.unwrap();
        let before = world.entry().await;
        for _ in 0..4 {
            world.append().await;
        }
        mirror.publish_commits(world.table).await.unwrap();
        assert!(mirror.checkpoint(world.table).await.unwrap().is_last);
        // It read the table before the others published.
        let late = mirror.checkpoint_at(&before, 4).await.unwrap();
        assert!(!late.is_last, "readers are led to version 8");
        assert_eq!(world.store.wrong(), Vec::<String>::new());
    });
}

#[test]
fn an_import_never_lowers_the_watermark_nor_accepts_another_history() {
    run(async {
        let world = world(12, 3).await;
        let mirror = world.mirror();
        mirror.publish(world.table).await.unwrap();
        let location = world.entry().await.location;
        let last = bytes_of(&world.store.inner, &commit(3)).await.unwrap();
        world.store.inner.delete(&commit(3)).await.unwrap();
        let shorter = mirror.import(&location, None, &|_, _| {}).await;
        refused(shorter, ErrorKind::Invalid, &["ends at version 2", "dl mirror repair default.t"]);
        assert_eq!(world.entry().await.published_version, Some(3));

        let other = String::from_utf8(last.to_vec()).unwrap().replace("WRITE", "MERGE");
        let other = if other.as_bytes() == last { other.replace("\"size\":10", "\"size\":11") } else { other };
        world.store.inner.put(&commit(3), other.clone().into()).await.unwrap();
        world.store.inner.put(&commit(4), other.into()).await.unwrap();
        let forked = mirror.import(&location, None, &|_, _| {}).await;
        refused(forked, ErrorKind::Conflict, &["version 3 of default.t", "dl verify default.t"]);
        assert_eq!(world.entry().await.current_version, 3);
    });
}

/// An in-memory catalog with a table on the local disk.
pub(crate) struct Local {
    dir: tempfile::TempDir,
    pub(crate) catalog: Arc<MemoryCatalog>,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) table: TableId,
}

impl Local {
    pub(crate) async fn new(properties: &str, protocol: Protocol) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(VirtualClock::new(Dice::new(1)));
        let catalog = Arc::new(MemoryCatalog::new(clock.clone()));
        let table = TableId(clock.new_uuid());
        let location = Location::parse(dir.path().join("t").to_str().unwrap()).unwrap();
        let new = NewTable::new("t".parse().unwrap(), location);
        let actions = vec![Action::Protocol(protocol), Action::Metadata(metadata(properties))];
        let request = CommitRequest::new(table, clock.new_uuid(), Base::Create(new), actions);
        catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        Self { dir, catalog, clock, table }
    }

    pub(crate) fn mirror(&self) -> Mirror {
        Mirror::new(self.catalog.clone(), self.clock.clone()).with_stores(environment())
    }

    pub(crate) async fn append(&self) {
        let head = self.entry().await.current_version;
        let add = Action::add(file(&format!("f{}", self.clock.new_uuid()), 0, 9));
        let request = CommitRequest::new(self.table, self.clock.new_uuid(), Base::RebaseFrom(head), vec![add]);
        self.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    }

    /// Commits once a day, each published before the next.
    pub(crate) async fn publish_daily(&self, mirror: &Mirror, days: usize) {
        for _ in 0..days {
            mirror.publish(self.table).await.unwrap();
            self.append().await;
            self.clock.advance(DAY);
        }
        mirror.publish(self.table).await.unwrap();
    }

    pub(crate) async fn entry(&self) -> TableEntry {
        self.catalog.find(&TableRef::Id(self.table)).await.unwrap().unwrap()
    }

    pub(crate) fn log(&self, version: Version) -> PathBuf {
        self.dir.path().join("t").join(commit(version).as_ref())
    }

    pub(crate) async fn body(&self, version: Version) -> Bytes {
        self.catalog.reader(self.table).commit_bytes(version).await.unwrap().unwrap()
    }

    /// The versions in the log with files of this ending.
    pub(crate) fn versions(&self, ending: &str) -> Vec<Version> {
        let log = std::fs::read_dir(self.dir.path().join("t/_delta_log")).unwrap();
        let names = log.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut versions: Vec<_> = names.filter_map(|name| name.strip_suffix(ending)?.parse().ok()).collect();
        versions.sort_unstable();
        versions
    }
}

pub(crate) fn local_runtime(story: impl Future<Output = ()>) {
    // Files are written on other threads.
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(story);
}

#[test]
fn the_watermark_moves_only_after_the_sync() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        let mirror = local.mirror().with_durability(Durability::Catalog);
        let done = mirror.publish(local.table).await.unwrap();
        assert_eq!((done.version, done.count), (Some(0), 1), "it is there");
        local.append().await;
        assert_eq!(mirror.publish(local.table).await.unwrap().count, 1, "and is not published twice");
        assert_eq!(local.entry().await.published_version, None, "but it may be lost still");
        assert!(mirror.is_unsettled());

        // After a power failure the files are empty. Another process starts.
        std::fs::write(local.log(0), "").unwrap();
        std::fs::write(local.log(1), "").unwrap();
        let mirror = local.mirror().with_durability(Durability::Catalog);
        assert_eq!(mirror.publish(local.table).await.unwrap().count, 2);
        for version in [0, 1] {
            assert_eq!(std::fs::read(local.log(version)).unwrap(), local.body(version).await, "{version}");
        }
        mirror.settle().await.unwrap();
        assert!(!mirror.is_unsettled());
        assert_eq!(local.entry().await.published_version, Some(1));
        local.append().await;
        assert_eq!(local.mirror().publish(local.table).await.unwrap().count, 1, "with full durability at once");
        assert_eq!(local.entry().await.published_version, Some(2));
    });
}

#[test]
fn a_published_file_has_the_time_of_its_commit_where_it_can_be_set() {
    use std::os::unix::fs::PermissionsExt;
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        local.mirror().publish(local.table).await.unwrap();
        let at = std::fs::metadata(local.log(0)).unwrap().modified().unwrap();
        let ms = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert_eq!(i64::try_from(ms).unwrap(), local.entry().await.current_timestamp);

        // Another user's process put the next one and ended before it recorded that.
        local.append().await;
        std::fs::write(local.log(1), local.body(1).await).unwrap();
        std::fs::set_permissions(local.log(1), PermissionsExt::from_mode(0o444)).unwrap();
        assert_eq!(local.mirror().publish(local.table).await.unwrap().count, 1);
        assert_eq!(local.entry().await.published_version, Some(1));
    });
}

#[test]
fn a_batch_is_published_in_order_up_to_the_first_foreign_file() {
    local_runtime(async {
        let local = Local::new("{}", protocol()).await;
        for _ in 0..6 {
            local.append().await;
            local.clock.advance(DAY);
        }
        // A process put one of them and ended before it recorded that.
        std::fs::create_dir_all(local.log(0).parent().unwrap()).unwrap();
        std::fs::write(local.log(2), local.body(2).await).unwrap();
        assert_eq!(local.mirror().publish(local.table).await.unwrap().count, 7);
        let reader = local.catalog.reader(local.table);
        for version in (0..=6).filter(|version| *version != 2) {
            assert_eq!(std::fs::read(local.log(version)).unwrap(), local.body(version).await);
            let at = std::fs::metadata(local.log(version)).unwrap().modified().unwrap();
            let ms = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            let committed = reader.snapshot(At::Version(version)).await.unwrap().head.timestamp;
            assert_eq!(i64::try_from(ms).unwrap(), committed);
        }
        assert_eq!(local.versions(".crc"), (0..=6).collect::<Vec<_>>());

        for _ in 0..4 {
            local.append().await;
        }
        std::fs::write(local.log(9), "{}").unwrap();
        let refused = local.mirror().publish(local.table).await.unwrap_err();
        assert!(refused.to_string().contains("version 9"), "{refused}");
        assert_eq!(local.entry().await.published_version, Some(8));
        assert_eq!(local.versions(".json"), (0..=9).collect::<Vec<_>>());
        let left = std::fs::read_dir(local.log(0).parent().unwrap()).unwrap();
        let mut left = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(left.all(|name| !name.contains('#')), "nothing that was only staged");
    });
}

#[test]
fn checkpoints_are_rare_while_many_tasks_publish() {
    run(async {
        let world = Arc::new(World::new(5).await);
        let mirror = world.mirror();
        let count = |tasks: usize| {
            let (world, mirror) = (world.clone(), mirror.clone());
            async move {
                let publish = async |_| {
                    let mut count = 0;
                    for _ in 0..200 / tasks {
                        world.append().await;
                        let done = mirror.publish(world.table).await.unwrap();
                        count += usize::from(done.checkpoint.is_some());
                    }
                    count
                };
                let counts = futures::future::join_all((0..tasks).map(publish)).await;
                counts.into_iter().sum::<usize>()
            }
        };
        assert_eq!(count(1).await, 20, "one task writes each that is due");
        let together = count(10).await;
        assert!((1..10).contains(&together), "{together} of 20");
        assert_eq!(world.log().await, world.committed().await);
    });
}

#[test]
fn after_a_clean_up_the_log_verifies_and_every_kept_version_opens() {
    local_runtime(async {
        let local = Local::new(r#"{"delta.logRetentionDuration":"interval 7 days"}"#, protocol()).await;
        let mirror = local.mirror().with_checkpoint_interval(3.try_into().unwrap());
        local.publish_daily(&mirror, 12).await;
        assert_eq!(local.versions(".json"), (0..=12).collect::<Vec<_>>());
        assert!(mirror.clean_up(local.table).await.unwrap() > 0);
        let kept = local.versions(".json");
        let first = kept[0];
        assert!(first > 0 && kept == (first..=12).collect::<Vec<_>>(), "{kept:?}");
        assert!(local.versions(".checkpoint.parquet").contains(&first));
        let entry = local.entry().await;
        assert_eq!(findings(&mirror, &entry).await, [], "what is over is no finding");
        for version in first..=12 {
            OurReader.replay(&entry.location, &environment(), version).await.unwrap();
        }
        // An expired commit is not restored either.
        assert!(mirror.repair(local.table).await.unwrap().versions.is_empty());
        local.append().await;
        assert_eq!(local.mirror().publish(local.table).await.unwrap().count, 1);

        // The clean-up of another engine has the same effect, and is accepted.
        local.clock.advance(7 * DAY);
        std::fs::remove_file(local.log(first)).unwrap();
        assert_eq!(findings(&mirror, &local.entry().await).await, []);
    });
}

#[test]
fn no_checkpoint_is_written_while_the_time_that_tombstones_are_kept_cannot_be_read() {
    local_runtime(async {
        let local = Local::new(r#"{"delta.deletedFileRetentionDuration":"a week"}"#, protocol()).await;
        let mirror = local.mirror();
        mirror.publish(local.table).await.unwrap();
        let checkpoint = mirror.checkpoint(local.table).await;
        refused(checkpoint, ErrorKind::Invalid, &["delta.deletedFileRetentionDuration", "a week"]);
        assert!(local.versions(".checkpoint.parquet").is_empty());
    });
}

#[test]
fn a_clean_up_keeps_protected_checkpoints() {
    local_runtime(async {
        let mut protects = protocol();
        protects.writer_features.get_or_insert_default().push("checkpointProtection".into());
        let properties = r#"{"delta.logRetentionDuration":"interval 7 days","delta.requireCheckpointProtectionBeforeVersion":"PROTECTED"}"#;
        for (protected, is_cleaned) in [(100, false), (2, true)] {
            let properties = properties.replace("PROTECTED", &protected.to_string());
            let local = Local::new(&properties, protects.clone()).await;
            let mirror = local.mirror().with_checkpoint_interval(3.try_into().unwrap());
            local.publish_daily(&mirror, 12).await;
            assert_eq!(mirror.clean_up(local.table).await.unwrap() > 0, is_cleaned, "before version {protected}");
        }
    });
}

#[test]
fn an_interrupted_clean_up_leaves_no_gap() {
    run(async {
        let world = world(13, 9).await;
        let mirror = world.mirror().with_checkpoint_interval(3.try_into().unwrap());
        mirror.publish(world.table).await.unwrap();
        for version in [3, 6] {
            mirror.checkpoint_at(&world.entry().await, version).await.unwrap();
        }
        // Long after all of it was written, whatever this machine's clock shows.
        world.clock.advance(365_000 * DAY);
        world.append().await;
        mirror.publish(world.table).await.unwrap();
        let before = world.log().await.len();
        // The sidecars of a missing checkpoint.
        let sidecar = Path::from("_delta_log/_sidecars/of-nobody.parquet");
        world.store.inner.put(&sidecar, "x".into()).await.unwrap();
        world.store.faults.store(40, Ordering::Relaxed);
        let mut tries = 0..1_000;
        loop {
            let done = mirror.clean_up(world.table).await;
            let kept: Vec<_> = world.log().await.into_keys().collect();
            assert_eq!(kept, (kept[0]..=10).collect::<Vec<_>>(), "no hole");
            if done.is_ok_and(|count| count == 0) && kept.len() < before {
                break;
            }
            assert!(tries.next().is_some(), "it never ends");
        }
        assert_eq!(bytes_of(&world.store.inner, &sidecar).await, None);
    });
}

#[test]
fn verify_finds_a_checkpoint_that_differs_from_the_catalog() {
    type Change = fn(&mut Add);
    let changes: [(Change, &str); 6] = [
        (|add| add.size = 11, "has files of 11 bytes in all instead of 10"),
        (|add| add.stats = add.stats.take().map(|stats| stats.replace("\"min", "\"max")), "other statistics"),
        (|add| add.partition_values.clear(), "other partition values"),
        (|add| _ = add.tags.get_or_insert_default().insert("more".into(), None), "other tags"),
        (|add| add.base_row_id = Some(8), "other row ids"),
        (|add| _ = add.deletion_vector.as_mut().map(|vector| vector.cardinality = 5), "other deletion vectors"),
    ];
    for (change, want) in changes {
        run(async move {
            let table = |add: Add| async move {
                let world = World::new(14).await;
                let request = CommitRequest::new(
                    world.table,
                    world.clock.new_uuid(),
                    Base::RebaseFrom(0),
                    vec![Action::add(add)],
                );
                world.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
                world.mirror().publish(world.table).await.unwrap();
                world.mirror().checkpoint(world.table).await.unwrap();
                world
            };
            let mut add = with_dv(file("f", 0, 9), "v");
            add.tags = Some([("tag".to_string(), Some("x".to_string()))].into());
            add.base_row_id = Some(7);
            let world = table(add.clone()).await;
            assert_eq!(findings(&world.mirror(), &world.entry().await).await, []);
            // The checkpoint of a table that differs in this detail.
            change(&mut add);
            let other = table(add).await;
            let name = Path::from(format!("_delta_log/{:020}.checkpoint.parquet", 1));
            let theirs = bytes_of(&other.store.inner, &name).await.unwrap();
            world.store.inner.put(&name, theirs.into()).await.unwrap();
            let found = findings(&world.mirror(), &world.entry().await).await;
            assert_eq!(found.len(), 1, "{want}: {found:?}");
            assert!(found[0].what.contains(want), "{}", found[0]);
        });
    }
}

#[test]
fn no_catalog_read_is_open_during_store_requests() {
    run(async {
        let world = world(15, 250).await;
        let reads = Arc::new(OpenReads(world.store.reading.clone()));
        let catalog = Arc::new(InterceptedCatalog::new(world.catalog.clone(), reads));
        let mirror = world.mirror_of(catalog).with_checkpoint_interval(100.try_into().unwrap());
        assert_eq!(mirror.publish(world.table).await.unwrap().count, 251);
        let options = VerifyOptions { every_version: false, data: true };
        mirror.verify(&world.entry().await, &OurReader, options, &|_, _| {}).await.unwrap();
        world.store.inner.delete(&commit(120)).await.unwrap();
        assert_eq!(mirror.repair(world.table).await.unwrap().versions, [120]);
        mirror.compact(world.table, 10, 230).await.unwrap();
        world.clock.advance(365_000 * DAY);
        assert!(mirror.clean_up(world.table).await.unwrap() > 0);
        assert_eq!(world.store.wrong(), Vec::<String>::new());
    });
}

#[test]
fn verify_looks_for_files_of_every_kind() {
    run(async {
        let world = World::new(16).await;
        let head = world.entry().await.current_version;
        let vector = DeletionVector {
            storage_type: "u".into(),
            path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
            offset: Some(4),
            size_in_bytes: 40,
            cardinality: 6,
            extra: Default::default(),
        };
        let actions = vec![
            Action::add(Add { deletion_vector: Some(vector), ..file("day=a/a%20b.parquet", 0, 9) }),
            Action::add(file("memory:///elsewhere/c%20d.parquet", 0, 9)),
            Action::add(file("hdfs://namenode/e.parquet", 0, 9)),
            action(
                r#"{"cdc":{"path":"_change_data/f.parquet","partitionValues":{"day":"a"},"size":1,"dataChange":false}}"#,
            ),
        ];
        let request = CommitRequest::new(world.table, world.clock.new_uuid(), Base::RebaseFrom(head), actions);
        world.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
        let mirror = world.mirror();
        mirror.publish(world.table).await.unwrap();
        let look = async || {
            let options = VerifyOptions { every_version: false, data: true };
            let found = mirror.verify(&world.entry().await, &OurReader, options, &|_, _| {}).await.unwrap();
            let mut found: Vec<_> = found.into_iter().map(|finding| finding.what).collect();
            found.sort();
            found
        };
        let found = look().await;
        let said = [
            "the change data file _change_data/f.parquet is missing",
            "the data file day=a/a%20b.parquet is missing",
            "the data file hdfs://namenode/e.parquet cannot be checked: ",
            "the data file memory:///elsewhere/c%20d.parquet is missing",
            "the deletion vector file ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin is missing",
        ];
        assert_eq!(found.len(), said.len(), "{found:#?}");
        found.iter().zip(said).for_each(|(found, said)| assert!(found.starts_with(said), "{found}"));
        // This store has the same files at every location.
        for there in [
            "_change_data/f.parquet",
            "day=a/a b.parquet",
            "c d.parquet",
            "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin",
        ] {
            world.store.inner.put(&Path::parse(there).unwrap(), "x".into()).await.unwrap();
        }
        assert_eq!(look().await.len(), 1);
    });
}
