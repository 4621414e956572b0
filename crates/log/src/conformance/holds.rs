//! A hold of a version ends at a time of the catalog's clock.

use super::loads::{base_without_commit, load};
use super::*;
use crate::holds::Hold;
use crate::lifecycle::{DropMode, DropTable};

const HOUR: i64 = 3_600_000;

/// Renews a hold for a very short time and waits until it has ended.
async fn end_soon(c: &Arc<dyn Catalog>, hold: &Hold) -> Hold {
    for more in 0.. {
        // Doubles the time until a renewal arrives before the new end, on a slow machine too.
        let until = c.now_ms().await.unwrap() + (1 << more);
        if let Ok(short) = c.renew_hold(hold, until).await {
            while c.now_ms().await.unwrap() <= until {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            return short;
        }
    }
    unreachable!()
}

pub(super) async fn a_held_version_is_listed_until_its_hold_ends(c: Arc<dyn Catalog>) {
    let (t, other) = (TestTable::create(&c, "t").await, TestTable::create(&c, "u").await);
    for path in ["a", "b"] {
        t.append(path).await;
    }
    assert_eq!((c.holds(t.id).await.unwrap(), c.oldest_held(t.id).await.unwrap()), (vec![], None));
    let now = c.now_ms().await.unwrap();
    let newer = c.hold(t.id, 2, now + HOUR, "nightly report").await.unwrap();
    let older = c.hold(t.id, 1, now + 2 * HOUR, "ann").await.unwrap();
    assert_eq!((older.table, older.version, older.holder.as_str()), (t.id, 1, "ann"));
    assert_eq!(c.holds(t.id).await.unwrap(), [older.clone(), newer.clone()]);
    assert_eq!(c.oldest_held(t.id).await.unwrap(), Some(1));
    assert_eq!(c.holds(other.id).await.unwrap(), [], "a hold is of one table");

    let longer = c.renew_hold(&newer, now + 3 * HOUR).await.unwrap();
    assert_eq!(longer.until_ms, now + 3 * HOUR);
    assert_eq!(c.holds(t.id).await.unwrap(), [older.clone(), longer.clone()]);
    c.release_hold(&older).await.unwrap();
    c.release_hold(&older).await.unwrap();
    assert_eq!(c.holds(t.id).await.unwrap(), std::slice::from_ref(&longer));
    assert_eq!(c.oldest_held(t.id).await.unwrap(), Some(2));
    refused(c.renew_hold(&older, now + HOUR).await, ErrorKind::NotFound, &["version 1 by ann has ended"]);

    // A hold ends by itself, cannot be renewed then, and its row is removed later.
    let short = c.hold(t.id, 0, now + HOUR, "bob").await.unwrap();
    assert_eq!(c.oldest_held(t.id).await.unwrap(), Some(0));
    let short = end_soon(&c, &short).await;
    assert_eq!(c.oldest_held(t.id).await.unwrap(), Some(2));
    refused(c.renew_hold(&short, now + HOUR).await, ErrorKind::NotFound, &["version 0 by bob has ended"]);
    c.remove_ended_holds(t.id).await.unwrap();
    assert_eq!(c.holds(t.id).await.unwrap(), [longer]);
}

pub(super) async fn a_missing_version_cannot_be_held(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    let until = c.now_ms().await.unwrap() + HOUR;
    let hold = async |version, until, holder| c.hold(t.id, version, until, holder).await;
    refused(hold(1, until, "ann").await, ErrorKind::NotFound, &["default.t has no version 1: its newest is 0"]);
    refused(hold(0, 1_000, "ann").await, ErrorKind::Invalid, &["a hold until 1970-01-01T00:00:01", "a later time"]);
    for holder in ["", " ", "two\nlines"] {
        refused(hold(0, until, holder).await, ErrorKind::Invalid, &["does not name a holder"]);
    }
    let held = hold(0, until, "ann").await.unwrap();
    refused(c.renew_hold(&held, 1_000).await, ErrorKind::Invalid, &["a later time"]);
    assert_eq!(c.holds(t.id).await.unwrap(), [held]);
    refused(c.hold(table_id("nosuch"), 0, until, "ann").await, ErrorKind::NotFound, &["there is no table with the id"]);

    // Versions before the base are not in the catalog.
    let begins = load(&c, "later", vec![Ok(base_without_commit(10))]).await.unwrap();
    let before = c.hold(begins.id, 9, until, "ann").await;
    refused(before, ErrorKind::NotFound, &["has no version 9: the oldest version that is retained is 10"]);
    c.hold(begins.id, 10, until, "ann").await.unwrap();
}

pub(super) async fn files_of_a_held_version_are_not_deleted_with_the_table(c: Arc<dyn Catalog>) {
    let t = TestTable::create(&c, "t").await;
    t.append("a").await;
    let now = c.now_ms().await.unwrap();
    let report = c.hold(t.id, 1, now + HOUR, "nightly report").await.unwrap();
    let ann = c.hold(t.id, 0, now + 2 * HOUR, "ann").await.unwrap();
    let drop = async |mode| {
        let lease = c.acquire_lease(t.id, Uuid::from_u128(7), 0, 1_000).await?.unwrap();
        let committer = Committer::default();
        c.drop_table(&lease, &DropTable { mode, allow_unpublished: true, at_version: None, committer }).await
    };
    let until = crate::time::format_ms(now + 2 * HOUR);
    let says =
        [&format!("version 0 of default.t is held by ann until {until}")[..], "1 more hold", "without its files"];
    refused(drop(DropMode::DeleteFiles).await, ErrorKind::Invalid, &says);
    c.release_hold(&ann).await.unwrap();
    refused(drop(DropMode::DeleteFiles).await, ErrorKind::Invalid, &["held by nightly report until"]);
    // With this mode the files stay.
    drop(DropMode::Retain { ms: 1_000_000_000 }).await.unwrap();
    c.undrop_table(t.id, None, &Committer::default()).await.unwrap();
    end_soon(&c, &report).await;
    drop(DropMode::DeleteFiles).await.unwrap();
}
