//! Writers of a table whose mirror lags too much wait, and then fail.

use std::sync::atomic::AtomicU64;

use deltalakedb_log::{Durability, MirrorProgress};
use deltalakedb_mirror::Mirror;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::*;

type OnSleep = Box<dyn Fn(u64) + Send>;

/// A writer's clock whose sleeps end at once, after a function that gets their number.
struct SleepClock {
    sleeps: Arc<AtomicU64>,
    on_sleep: Mutex<OnSleep>,
}

impl std::fmt::Debug for SleepClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SleepClock")
    }
}

impl Clock for SleepClock {
    fn now_ms(&self) -> i64 {
        0
    }

    fn new_uuid(&self) -> Uuid {
        Uuid::new_v4()
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        (self.on_sleep.lock())(self.sleeps.fetch_add(1, Ordering::Relaxed) + 1);
        Box::pin(std::future::ready(()))
    }
}

/// Options of a writer that waits for mirrors that lag by more than 30 s, and how often it waited.
fn waiting(on_sleep: impl Fn(u64) + Send + 'static) -> (WriteOptions, Arc<AtomicU64>) {
    let sleeps = Arc::<AtomicU64>::default();
    let clock = Arc::new(SleepClock { sleeps: sleeps.clone(), on_sleep: Mutex::new(Box::new(on_sleep)) });
    (WriteOptions { clock, max_lag: Some(Duration::from_secs(30)), ..WriteOptions::default() }, sleeps)
}

#[tokio::test]
async fn writers_wait_for_a_mirror_that_lags_and_fail_in_the_end() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    let other = fixture.create("other", "id long, day string", &[]).await;
    let id = fixture.id("t").await;
    let (options, sleeps) = waiting(|_| ());
    let append = async |table: &DeltaTable, options: &WriteOptions| {
        table.write(rows(&[1], &["a"]), SaveMode::Append, options).await
    };
    append(&table, &options).await.unwrap();
    assert_eq!(sleeps.load(Ordering::Relaxed), 0, "the lag is below the limit");

    fixture.clock.set(1_700_000_000_000 + 95_000);
    let mirror = Mirror::new(fixture.catalog.clone(), fixture.clock.clone());
    mirror.publish(fixture.id("other").await).await.unwrap();
    let files = data_files(&table);
    let e = append(&table, &options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    let said = e.to_string();
    for part in ["default.t takes no commits now", "lags by 9", "mirror.max_lag (30 s)", "`dl mirror status`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(sleeps.load(Ordering::Relaxed) >= 10, "it waited first");
    assert_eq!((table.reader().await.unwrap().head().await.unwrap().version, data_files(&table)), (1, files));
    append(&other, &options).await.unwrap();
    append(&table, &WriteOptions::default()).await.unwrap();

    // All tables of a transaction are judged.
    let transaction = TransactionOptions { write: options.clone(), ..TransactionOptions::default() };
    let transaction = Transaction::begin(fixture.catalog.clone(), transaction).await.unwrap();
    for name in ["other", "t"] {
        transaction.write(name, rows(&[1], &["a"]), SaveMode::Append).await.unwrap();
    }
    let e = transaction.commit().await.unwrap_err();
    assert!(e.to_string().contains("default.t takes no commits now"), "{e}");

    // The mirror catches up while a writer waits.
    let (options, sleeps) = waiting({
        let catalog = fixture.catalog.clone();
        move |sleep| {
            if sleep == 3 {
                let published = catalog.mark_next_published(id, 0, 2);
                assert!(futures::executor::block_on(published).unwrap());
            }
        }
    });
    assert_eq!(append(&table, &options).await.unwrap().unwrap().version, 3);
    assert_eq!(sleeps.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_a_killed_process_has_published_does_not_lag() {
    let fixture = Fixture::new();
    let table = fixture.create("t", "id long, day string", &[]).await;
    // It is published, and recorded only after a sync, which does not happen.
    let killed = Mirror::new(fixture.catalog.clone(), fixture.clock.clone()).with_durability(Durability::Catalog);
    assert_eq!(killed.publish(fixture.id("t").await).await.unwrap().count, 1);
    fixture.clock.set(1_700_000_000_000 + 95_000);
    let (options, sleeps) = waiting(|_| ());
    table.write(rows(&[1], &["a"]), SaveMode::Append, &options).await.unwrap();
    assert_eq!(sleeps.load(Ordering::Relaxed), 0);
}
