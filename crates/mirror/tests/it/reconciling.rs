//! The reconciler in simulated time: stores that fail or do not answer delay no other table, idle tables cost few
//! requests, and a stop leaves nothing behind.

mod buckets;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use deltalakedb_log::action::Action;
use deltalakedb_log::commit::{Base, NewTable};
use deltalakedb_log::conformance::actions::{file, metadata, protocol};
use deltalakedb_log::{
    Catalog, Clock, CommitRequest, Location, MemoryCatalog, MirrorProgress, MirrorState, TableEntry, TableId, TableRef,
};
use deltalakedb_mirror::{Mirror, ReconcileEvent, ReconcileOptions, Reconciler, RetryBackoff};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use self::buckets::{Behaviour, Buckets};
use crate::simulation::{Dice, VirtualClock, commit};

/// A catalog with tables in several buckets.
struct Fleet {
    catalog: Arc<MemoryCatalog>,
    clock: Arc<VirtualClock>,
    buckets: Arc<Buckets>,
    tables: Vec<TableId>,
    options: ReconcileOptions,
    /// What the reconciler reported, with the time of each report.
    events: Rc<RefCell<Vec<(i64, ReconcileEvent)>>>,
}

fn run(story: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(story);
}

impl Fleet {
    /// So many tables in each of these buckets, with one unpublished version each.
    async fn new(buckets: &[(&str, usize)]) -> Self {
        let clock = Arc::new(VirtualClock::new(Dice::new(1)));
        let catalog = Arc::new(MemoryCatalog::new(clock.clone()));
        let mut tables = Vec::new();
        for (bucket, count) in buckets {
            for n in 0..*count {
                let id = TableId(clock.new_uuid());
                let location = Location::parse(&format!("s3://{bucket}/t{n}")).unwrap();
                let new = NewTable::new(format!("{bucket}.t{n}").parse().unwrap(), location);
                let actions = vec![Action::Protocol(protocol()), Action::Metadata(metadata("{}"))];
                let request = CommitRequest::new(id, clock.new_uuid(), Base::Create(new), actions);
                catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
                tables.push(id);
            }
        }
        let mut options = ReconcileOptions::default();
        options.check_interval = None;
        let buckets = Arc::new(Buckets::new(clock.clone()));
        Self { catalog, clock, buckets, tables, options, events: Rc::default() }
    }

    fn mirror(&self) -> Mirror {
        Mirror::new(self.catalog.clone(), self.clock.clone()).with_stores(self.buckets.clone())
    }

    async fn entry(&self, n: usize) -> TableEntry {
        self.catalog.find(&TableRef::Id(self.tables[n])).await.unwrap().unwrap()
    }

    async fn append(&self, n: usize) {
        let head = self.entry(n).await.current_version;
        let add = Action::add(file(&format!("f{}", self.clock.new_uuid()), 0, 9));
        let request = CommitRequest::new(self.tables[n], self.clock.new_uuid(), Base::RebaseFrom(head), vec![add]);
        self.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    }

    async fn lag_ms(&self, n: usize) -> i64 {
        let behind = self.catalog.tables_behind(Some(&[self.tables[n]])).await.unwrap();
        behind.first().map_or(0, |behind| behind.lag_ms(self.clock.now_ms()))
    }

    async fn sleep(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    /// Runs a reconciler during a story, and stops it after that. Returns how long the stop took, in milliseconds.
    async fn reconcile(&self, story: impl Future<Output = ()>) -> i64 {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let stop = async { ended.await.unwrap() };
        let stopped_at = RefCell::new(0);
        let report = |event| {
            self.events.borrow_mut().push((self.clock.now_ms(), event));
            Ok(())
        };
        let reconciler = Reconciler::new(self.mirror(), self.options.clone());
        let told = async {
            story.await;
            *stopped_at.borrow_mut() = self.clock.now_ms();
            end.send(()).unwrap();
        };
        let (result, ()) = futures::join!(reconciler.run(stop, report), told);
        result.unwrap();
        self.clock.now_ms() - *stopped_at.borrow()
    }

    /// The errors that were reported about a table: when, the text, and the pause.
    fn failures(&self, name: &str) -> Vec<(i64, String, Option<Duration>)> {
        let events = self.events.borrow();
        let failed = events.iter().filter_map(|(at, event)| match event {
            ReconcileEvent::Failed { table, error, retry_in } if table.name.to_string() == name => {
                Some((*at, error.to_string(), *retry_in))
            }
            _ => None,
        });
        failed.collect()
    }
}

#[test]
fn a_dead_bucket_delays_no_table_of_another() {
    for behaviour in [Behaviour::Hangs, Behaviour::Fails] {
        run(async move {
            let mut fleet = Fleet::new(&[("dead", 10), ("good", 10)]).await;
            fleet.options.parallel = NonZeroUsize::new(2).unwrap();
            fleet.options.deadline = Duration::from_secs(20);
            fleet.buckets.set("dead", behaviour);
            let good = 10..20;
            fleet
                .reconcile(async {
                    for second in 0..80 {
                        fleet.sleep(1).await;
                        for n in good.clone() {
                            let lag = fleet.lag_ms(n).await;
                            assert!(lag < 5_000, "{behaviour:?}: table {n} lags by {lag} ms after {second} s");
                            fleet.append(n).await;
                        }
                        if second % 10 == 0 {
                            for n in 0..10 {
                                fleet.append(n).await;
                            }
                        }
                    }
                    for n in 0..10 {
                        assert_eq!(fleet.entry(n).await.published_version, None);
                        let failures = fleet.catalog.mirror_failures(fleet.tables[n]).await.unwrap();
                        assert_eq!(failures.len(), 1, "{behaviour:?}: the failure of table {n} is recorded");
                    }
                    // It answers again: after the longest pause and one deadline, everything is published.
                    fleet.buckets.set("dead", Behaviour::Works);
                    fleet.sleep(90).await;
                    for n in 0..20 {
                        assert_eq!(fleet.lag_ms(n).await, 0, "{behaviour:?}: table {n}");
                        let entry = fleet.entry(n).await;
                        assert_eq!(entry.published_version, Some(entry.current_version), "{behaviour:?}: table {n}");
                        assert!(fleet.catalog.mirror_failures(entry.id).await.unwrap().is_empty());
                    }
                })
                .await;
            assert!(fleet.failures("good.t3").is_empty());
        });
    }
}

#[test]
fn pauses_grow_with_failures_and_are_short_after_a_success() {
    run(async {
        let mut fleet = Fleet::new(&[("b", 1)]).await;
        fleet.options.retry = RetryBackoff { first: Duration::from_secs(4), max: Duration::from_secs(32) };
        fleet.buckets.set("b", Behaviour::Fails);
        fleet.reconcile(async { fleet.sleep(300).await }).await;
        let failures = fleet.failures("b.t0");
        assert!((8..=20).contains(&failures.len()), "{failures:?}");
        for (n, two) in failures.windows(2).enumerate() {
            let longest = 4_000 << n.min(3);
            let pause = i64::try_from(two[0].2.unwrap().as_millis()).unwrap();
            assert!((longest / 2..=longest).contains(&pause), "pause {n} is {pause} ms");
            let waited = two[1].0 - two[0].0;
            assert!((pause..pause + 1_500).contains(&waited), "pause {n}: {waited} ms instead of {pause}");
        }
        assert!(failures[0].1.contains("version 0 of b.t0 is committed but could not be published"), "{failures:?}");

        fleet.events.borrow_mut().clear();
        fleet
            .reconcile(async {
                fleet.sleep(60).await;
                fleet.buckets.set("b", Behaviour::Works);
                fleet.sleep(60).await;
                assert_eq!(fleet.entry(0).await.published_version, Some(0));
                fleet.buckets.set("b", Behaviour::Fails);
                fleet.append(0).await;
                fleet.sleep(3).await;
            })
            .await;
        let last = fleet.failures("b.t0").pop().unwrap();
        assert!(last.1.contains("version 1") && last.2.unwrap() <= Duration::from_secs(4), "{last:?}");
    });
}

#[test]
fn idle_tables_cost_no_request_in_the_fast_loop_and_few_in_the_slow_cycle() {
    run(async {
        let mut fleet = Fleet::new(&[("b", 1_000)]).await;
        fleet.reconcile(async { fleet.sleep(5).await }).await;
        for n in 0..1_000 {
            assert_eq!(fleet.entry(n).await.published_version, Some(0));
        }
        let before = fleet.buckets.requests();
        fleet.reconcile(async { fleet.sleep(60).await }).await;
        assert_eq!(fleet.buckets.requests(), before, "nothing is asked about idle tables");

        fleet.options.check_interval = ReconcileOptions::default().check_interval;
        fleet.reconcile(async { fleet.sleep(300).await }).await;
        let requests = fleet.buckets.requests() - before;
        assert!((30..=50).contains(&requests), "{requests} requests in 5 minutes");
    });
}

#[test]
fn the_slow_cycle_finds_foreign_commits_of_every_idle_table() {
    run(async {
        let mut fleet = Fleet::new(&[("b", 5), ("dead", 1)]).await;
        fleet.reconcile(async { fleet.sleep(10).await }).await;
        let theirs = "{\"commitInfo\":{\"engineInfo\":\"another/1.0\",\"operation\":\"WRITE\"}}\n";
        let store = |n: usize| fleet.buckets.below(&format!("s3://b/t{n}/"));
        for n in [0, 3] {
            store(n).put(&commit(1), theirs.into()).await.unwrap();
        }
        fleet.buckets.set("dead", Behaviour::Hangs);
        fleet.options.check_interval = Some(Duration::from_secs(60));
        let diverged = async |n| matches!(fleet.entry(n).await.mirror, MirrorState::Diverged { version: 1, .. });
        fleet
            .reconcile(async {
                fleet.sleep(400).await;
                for n in 0..6 {
                    assert_eq!(diverged(n).await, [0, 3].contains(&n), "table {n}");
                }
                fleet.sleep(800).await;
                // They are moved away.
                for n in [0, 3] {
                    store(n).delete(&commit(1)).await.unwrap();
                }
                fleet.sleep(400).await;
                for n in 0..6 {
                    assert!(!diverged(n).await, "table {n}");
                }
            })
            .await;
        for n in [0, 3] {
            let failures = fleet.failures(&format!("b.t{n}"));
            assert_eq!(failures.len(), 1, "it is reported once: {failures:?}");
            assert!(failures[0].1.contains("version 1 in s3://b/t") && failures[0].2.is_none(), "{failures:?}");
        }
        let dead = fleet.failures("dead.t0");
        assert!(dead.len() > 1 && dead[0].1.contains("was not checked"), "{dead:?}");
    });
}

#[test]
fn the_slow_cycle_finds_lost_logs_and_restores_missing_commits() {
    run(async {
        let mut fleet = Fleet::new(&[("b", 4)]).await;
        fleet.append(1).await;
        fleet.reconcile(async { fleet.sleep(10).await }).await;
        let store = |n: usize| fleet.buckets.below(&format!("s3://b/t{n}/"));
        // Of table 1 the newest commit, and of table 2 everything.
        store(1).delete(&commit(1)).await.unwrap();
        for file in store(2).list(None).try_collect::<Vec<_>>().await.unwrap() {
            store(2).delete(&file.location).await.unwrap();
        }
        fleet.options.check_interval = Some(Duration::from_secs(10));
        let mirror = fleet.mirror();
        let watch = async || {
            let mut told = Vec::new();
            let reconciler = Reconciler::new(mirror.clone(), fleet.options.clone());
            let report = |event| {
                told.push(event);
                Ok(())
            };
            reconciler.run(fleet.clock.sleep(Duration::from_secs(90)), report).await.unwrap();
            told
        };
        let lost = async || mirror.status_of(fleet.entry(2).await).await.unwrap().lost;

        let told = watch().await;
        let warnings = told.iter().filter_map(|event| match event {
            ReconcileEvent::Published(table, checked) => Some((table.name.to_string(), checked.warnings.join(","))),
            _ => None,
        });
        let warnings: Vec<_> = warnings.collect();
        assert!(
            matches!(&warnings[..], [(table, what)] if table == "b.t1" && what.contains("version 1")),
            "{warnings:?}"
        );
        assert!(store(1).head(&commit(1)).await.is_ok());
        let failed = told.iter().filter_map(|event| match event {
            ReconcileEvent::Failed { table, error, .. } => Some((table.name.to_string(), error.to_string())),
            _ => None,
        });
        let failed: Vec<_> = failed.collect();
        assert!(matches!(&failed[..], [(table, _)] if table == "b.t2"), "it is reported once: {failed:?}");
        assert!(failed[0].1.contains("`dl mirror repair b.t2`"), "{failed:?}");
        assert_eq!(lost().await.as_ref(), Some(&failed[0].1));
        assert!(store(2).head(&commit(0)).await.is_err(), "nothing is written to a folder that may be another");

        fleet.mirror().repair(fleet.tables[2]).await.unwrap();
        assert!(watch().await.is_empty());
        assert_eq!(lost().await, None);
    });
}

/// Whether another process would get the lease now.
async fn is_lease_free(fleet: &Fleet, n: usize) -> bool {
    let now_ms = fleet.clock.now_ms();
    let lease = fleet.catalog.acquire_lease(fleet.tables[n], Uuid::from_u128(7), now_ms, now_ms + 1).await;
    lease.unwrap().is_some()
}

#[test]
fn a_single_run_publishes_tables_side_by_side_and_reports_them_in_order() {
    let time = |parallel: usize| {
        let took = Rc::new(RefCell::new(0));
        let into = took.clone();
        run(async move {
            let fleet = Fleet::new(&[("b", 8)]).await;
            fleet.buckets.set("b", Behaviour::Takes(Duration::from_secs(1)));
            let began_ms = fleet.clock.now_ms();
            let published = fleet.mirror().run_side_by_side(NonZeroUsize::new(parallel).unwrap());
            let published: Vec<_> = published.try_collect().await.unwrap();
            let names: Vec<_> = published.iter().map(|(table, _)| table.name.to_string()).collect();
            assert_eq!(names, (0..8).map(|n| format!("b.t{n}")).collect::<Vec<_>>());
            assert!(published.iter().all(|(_, result)| result.as_ref().is_ok_and(|published| published.count == 1)));
            *into.borrow_mut() = fleet.clock.now_ms() - began_ms;
        });
        took.take()
    };
    let (alone, together) = (time(1), time(4));
    assert!(together < alone / 2, "{together} ms instead of {alone} ms");
}

#[test]
fn a_stop_is_quick_and_releases_leases() {
    run(async {
        let fleet = Fleet::new(&[("b", 3)]).await;
        for _ in 0..5 {
            fleet.append(0).await;
        }
        fleet.buckets.set("b", Behaviour::Hangs);
        // Table 0 has several versions, for which a publisher takes a lease.
        let took = fleet.reconcile(async { fleet.sleep(1).await }).await;
        assert!(took < 5_000, "the stop took {took} ms");
        assert!(is_lease_free(&fleet, 0).await, "it would expire only in some seconds");
        fleet.buckets.set("b", Behaviour::Works);
        let took = fleet.reconcile(async { fleet.sleep(3).await }).await;
        assert!(took < 100, "nothing was running: {took} ms");
        assert_eq!(fleet.entry(0).await.published_version, Some(5));
    });
}

#[test]
fn a_stop_waits_for_the_put_that_is_being_made() {
    run(async {
        let fleet = Fleet::new(&[("b", 1)]).await;
        fleet.buckets.set("b", Behaviour::Takes(Duration::from_millis(300)));
        let took = fleet.reconcile(async { fleet.clock.sleep(Duration::from_millis(1_000)).await }).await;
        assert!((1..2_000).contains(&took), "{took} ms");
        assert_eq!(fleet.entry(0).await.published_version, Some(0));
        assert_eq!(fleet.events.borrow().len(), 1, "what was published is reported");
    });
}

#[test]
fn a_try_is_given_up_when_nothing_was_written_for_long() {
    run(async {
        let mut fleet = Fleet::new(&[("slow", 1), ("dead", 1)]).await;
        for n in 0..2 {
            for _ in 0..20 {
                fleet.append(n).await;
            }
        }
        // Slow is not dead: 21 versions take more than a deadline.
        fleet.buckets.set("slow", Behaviour::Takes(Duration::from_secs(2)));
        fleet.buckets.set("dead", Behaviour::Hangs);
        fleet.options.deadline = Duration::from_secs(30);
        fleet.options.retry = RetryBackoff { first: Duration::from_secs(20), max: Duration::from_secs(20) };
        fleet
            .reconcile(async {
                fleet.sleep(32).await;
                assert!(is_lease_free(&fleet, 1).await, "the lease of the try that was given up is released");
                let failures = fleet.catalog.mirror_failures(fleet.tables[1]).await.unwrap();
                assert!(failures[0].version == 0 && failures[0].error.contains("given up"), "{failures:?}");
                fleet.sleep(400).await;
                assert_eq!(fleet.entry(0).await.published_version, Some(20));
            })
            .await;
        assert_eq!(fleet.failures("slow.t0"), []);
        assert!(fleet.failures("dead.t0").len() > 2);
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let story = || {
        let record = Rc::new(RefCell::new(BTreeMap::new()));
        let into = record.clone();
        run(async move {
            let fleet = Fleet::new(&[("dead", 3), ("good", 3)]).await;
            fleet.buckets.set("dead", Behaviour::Fails);
            fleet.reconcile(async { fleet.sleep(100).await }).await;
            for n in 0..3 {
                into.borrow_mut().insert(n, fleet.failures(&format!("dead.t{n}")));
            }
        });
        record.take()
    };
    assert_eq!(story(), story());
}
