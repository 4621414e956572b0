//! Thousands of schedules with publishers that lose their lease or their connection to the catalog, are stopped and get
//! wrong answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use deltalakedb_log::{Clock, MirrorState};
use deltalakedb_mirror::{ReconcileOptions, Reconciler, RetryBackoff};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use crate::simulation::{World, commit};

/// How many schedules; ten times as many with `DELTALAKEDB_SOAK=1`.
const SCHEDULES: u64 = 2_500;

#[test]
fn under_store_faults_the_log_is_in_order_and_finally_complete() {
    let only = std::env::var("SCHEDULE").ok().map(|seed| seed.parse().expect("SCHEDULE is a seed"));
    let tenfold = if std::env::var("DELTALAKEDB_SOAK").as_deref() == Ok("1") { 10 } else { 1 };
    let seeds = only.map_or(0..SCHEDULES * tenfold, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, schedule(seed));
        }));
        if let Err(panic) = run {
            eprintln!("the schedule {seed} went wrong; SCHEDULE={seed} runs it alone");
            std::panic::resume_unwind(panic);
        }
    }
}

async fn schedule(seed: u64) {
    let world = Arc::new(World::new(seed).await);
    world.store.faults.store(i64::try_from(world.dice.below(0..45)).unwrap(), Ordering::Relaxed);
    if seed % 2 == 1 {
        world.lost_connections.store(i64::try_from(world.dice.below(1..8)).unwrap(), Ordering::Relaxed);
    }
    let with_checkpoints = seed.is_multiple_of(10);
    let publishers: Vec<_> = (0..world.dice.below(1..4)).map(|_| publisher(world.clone(), with_checkpoints)).collect();
    let mut publishers: Vec<_> = publishers.into_iter().map(tokio::task::spawn_local).collect();
    if seed.is_multiple_of(4) {
        publishers.push(tokio::task::spawn_local(reconciler(world.clone())));
    }
    let appends = world.dice.below(1..9);
    for _ in 0..appends {
        world.append_as_client().await;
        if world.dice.percent(60) {
            world.sleep(0..400).await;
        }
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }

    // The faults end: a new process publishes everything.
    world.store.faults.store(0, Ordering::Relaxed);
    world.lost_connections.store(0, Ordering::Relaxed);
    let mirror = world.mirror();
    let results = mirror.run().try_collect::<Vec<_>>().await.unwrap();
    let (entry, result) = &results[0];
    result.as_ref().unwrap_or_else(|e| panic!("{}: {e}", entry.name));
    let now = world.entry().await;
    assert_eq!(now.current_version, appends, "each append is committed once");
    assert_eq!(now.published_version, Some(now.current_version));
    assert_eq!(now.mirror, MirrorState::Following, "no fault is another writer");
    assert_eq!(world.log().await, world.committed().await, "what is published is what was committed");
    assert_eq!(world.store.wrong(), Vec::<String>::new());
    assert_eq!(world.failed().await, Vec::<u64>::new(), "what failed is over");
}

/// A process that publishes from time to time, and is sometimes killed while it does.
async fn publisher(world: Arc<World>, with_checkpoints: bool) {
    let mut mirror = world.mirror();
    for _ in 0..world.dice.below(2..9) {
        world.sleep(0..300).await;
        let publish = async {
            // A failure is retried next time.
            if with_checkpoints {
                mirror.clone().with_checkpoint_interval(2.try_into().unwrap()).publish(world.table).await.ok();
            } else {
                mirror.publish_commits(world.table).await.ok();
            }
        };
        if world.dice.percent(25) {
            let killed = world.clock.sleep(Duration::from_millis(world.dice.below(0..60)));
            tokio::select! {
                biased;
                () = killed => mirror = world.mirror(),
                () = publish => {}
            }
        } else {
            publish.await;
        }
    }
}

/// A process that publishes in the background, and is stopped in the middle of it, sometimes without a warning.
async fn reconciler(world: Arc<World>) {
    for _ in 0..3 {
        let mut options = ReconcileOptions::default();
        options.retry = RetryBackoff { first: Duration::from_millis(100), max: Duration::from_millis(400) };
        options.deadline = Duration::from_secs(1);
        options.check_interval = Some(Duration::from_millis(100));
        let stop = world.clock.sleep(Duration::from_millis(world.dice.below(1..4_000)));
        let running = Reconciler::new(world.mirror(), options).run(stop, |_| Ok(()));
        if world.dice.percent(25) {
            let killed = world.clock.sleep(Duration::from_millis(world.dice.below(1..3_000)));
            tokio::select! {
                biased;
                () = killed => {}
                ended = running => ended.unwrap(),
            }
        } else {
            running.await.unwrap();
        }
    }
}

#[test]
fn a_foreign_commit_marks_the_table_diverged_and_is_kept() {
    for seed in 0..200 {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async {
            let world = World::new(seed).await;
            world.store.faults.store(20, Ordering::Relaxed);
            let last = world.dice.below(1..6);
            for _ in 0..last {
                world.append().await;
            }
            let foreign = world.dice.below(1..last + 1);
            let theirs = "{\"commitInfo\":{\"engineInfo\":\"another/1.0\",\"operation\":\"WRITE\"}}\n";
            let create = PutOptions::from(PutMode::Create);
            world.store.inner.put_opts(&commit(foreign), theirs.into(), create).await.unwrap();
            let mirror = world.mirror();
            let mut tries = 0..1_000;
            while world.entry().await.mirror == MirrorState::Following {
                assert!(tries.next().is_some(), "seed {seed}: the table never stops");
                mirror.publish_commits(world.table).await.unwrap_err();
            }
            let stopped = world.entry().await;
            assert!(
                matches!(stopped.mirror, MirrorState::Diverged { version, .. } if version == foreign),
                "{stopped:?}"
            );
            let log = world.log().await;
            assert_eq!(log[&foreign], theirs, "seed {seed}");
            assert_eq!(log.keys().copied().max(), Some(foreign), "seed {seed}: nothing comes after it");

            // After it is removed the table resumes.
            world.store.inner.delete(&commit(foreign)).await.unwrap();
            world.store.faults.store(0, Ordering::Relaxed);
            mirror.publish_commits(world.table).await.unwrap();
            assert_eq!(world.log().await, world.committed().await, "seed {seed}");
        });
    }
}
