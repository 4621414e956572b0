//! The content of a version never changes, whatever maintenance runs: neither its files nor, within retention, its
//! rows.

use std::collections::BTreeMap;
use std::time::Duration;

use deltalakedb_log::action::{Add, Version};
use deltalakedb_mirror::{ExpireOptions, Mirror};

use super::*;

/// Random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

async fn files(table: &DeltaTable, version: Version) -> Vec<Add> {
    let reader = table.reader().await.unwrap();
    let mut files: Vec<Add> = reader.files(version, None).await.unwrap().try_collect().await.unwrap();
    files.sort_by_key(Add::key);
    files
}

/// Changes rows, or maintains the table.
async fn step(fixture: &Fixture, table: &DeltaTable, dice: &mut Dice, at: i64) -> String {
    let (options, head) = (fixture.later(at), table.head().await.unwrap().version);
    let id = i64::try_from(dice.below(20)).unwrap();
    let what = dice.below(10);
    let done = match what {
        0 | 1 => {
            let days = [["a", "b"], ["a b", "%"]][usize::try_from(dice.below(2)).unwrap()];
            table.write(rows(&[id, id + 1], &days), SaveMode::Append, &options).await.map(drop)
        }
        2 => table.delete(Some(&format!("id = {id}")), &options).await.map(drop),
        3 => table.update(&[("id", "id + 1")], Some(&format!("id < {id}")), &options).await.map(drop),
        4 => table.optimize(Optimize::default(), &options).await.map(drop),
        5 => {
            let base = fixture.base("t").await;
            let back = base + dice.below((head - base).max(1));
            table.restore(At::Version(back), &options).await.map(drop)
        }
        6 => {
            let (retain, lite) = (Some(Duration::from_secs(dice.below(200))), dice.below(2) == 0);
            let vacuum = Vacuum { retain, lite, enforce_retention: false, ..Vacuum::default() };
            table.vacuum(&vacuum, &options).await.map(drop)
        }
        7 => clean_up(fixture).await.map(drop),
        8 => expire(fixture).await,
        _ => table.write(rows(&[id], &["a"]), SaveMode::Overwrite, &options).await.map(drop),
    };
    match done {
        Ok(()) => format!("{what} at version {head}"),
        // A version whose files were vacuumed cannot be restored, nor can the current one.
        Err(e) if what == 5 && e.to_string().contains("cannot be restored") => format!("{e}"),
        Err(e) => panic!("{what} at version {head}: {e}"),
    }
}

/// Publishes the table and expires its history.
async fn expire(fixture: &Fixture) -> deltalakedb_log::Result<()> {
    let (mirror, id) = (Mirror::new(fixture.catalog.clone(), fixture.clock.clone()), fixture.id("t").await);
    mirror.publish(id).await?;
    mirror.expire(id, &ExpireOptions::default()).await.map(drop)
}

/// Publishes the table with a checkpoint, and cleans up its `_delta_log`.
async fn clean_up(fixture: &Fixture) -> deltalakedb_log::Result<u64> {
    let (mirror, id) = (Mirror::new(fixture.catalog.clone(), fixture.clock.clone()), fixture.id("t").await);
    mirror.publish(id).await?;
    mirror.checkpoint(id).await?;
    mirror.clean_up(id).await
}

/// Compares the versions whose commits are left in `_delta_log` with an outside reader; returns the oldest of them.
async fn check_outside(
    table: &DeltaTable,
    then: &BTreeMap<Version, (Vec<Add>, Vec<String>)>,
    story: &[String],
) -> Version {
    let log = std::fs::read_dir(table.location().local_path().unwrap().join("_delta_log")).unwrap();
    let commit = |name: String| name.strip_suffix(".json")?.parse::<Version>().ok();
    let commits = log.filter_map(|entry| commit(entry.unwrap().file_name().into_string().unwrap()));
    let oldest = commits.min().unwrap();
    for (version, (files, rows)) in then.range(oldest..) {
        let replayed = plain::replay(table.location(), Some(*version)).await;
        let replayed =
            replayed.unwrap_or_else(|e| panic!("version {version}, {oldest} is the oldest: {e}: {story:#?}"));
        let essence = |adds: &[Add]| {
            let mut all: Vec<_> =
                adds.iter().map(|a| (a.key(), a.size, a.partition_values.clone(), a.stats.clone())).collect();
            all.sort();
            all
        };
        assert_eq!(essence(&replayed.files), essence(files), "version {version}: {story:#?}");
        // Files removed by a vacuum are missing for both.
        let ours = table.read(&Scan { at: At::Version(*version), ..Scan::default() }).await;
        let read = plain::read(table.location(), Some(*version)).await;
        assert_eq!(ours.is_ok(), read.is_ok(), "version {version}: {story:#?}");
        if let Ok(read) = read {
            assert_eq!(text(&read), *rows, "version {version}: {story:#?}");
        }
    }
    oldest
}

#[tokio::test(flavor = "multi_thread")]
async fn maintenance_never_changes_a_retained_version() {
    let (mut begins_later, mut ended) = (0, 0);
    for seed in 0..6 {
        let fixture = Fixture::new();
        let table = fixture.create("t", "id long, day string", &["day"]).await;
        let retention = [
            ("delta.logRetentionDuration", "interval 30 seconds"),
            ("delta.deletedFileRetentionDuration", "interval 60 seconds"),
        ];
        table.set_properties(&retention, &fixture.later(0)).await.unwrap();
        let (mut dice, mut story) = (Dice(seed), Vec::new());
        let mut then: BTreeMap<Version, (Vec<Add>, Vec<String>)> = BTreeMap::new();
        for n in 0..30 {
            story.push(step(&fixture, &table, &mut dice, n * 10).await);
            let head = table.head().await.unwrap().version;
            let rows = text(&table.read(&Scan::default()).await.unwrap());
            then.insert(head, (files(&table, head).await, rows));
            let base = fixture.base("t").await;
            ended += then.keys().filter(|version| **version < base).count();
            then.retain(|version, _| *version >= base);
            for (version, (were, _)) in &then {
                assert_eq!(files(&table, *version).await, *were, "seed {seed}, version {version}: {story:#?}");
            }
        }
        clean_up(&fixture).await.unwrap();
        begins_later += u64::from(check_outside(&table, &then, &story).await > 0);
        // A vacuum that spares the last versions keeps their rows.
        let mut readable = Vec::new();
        for (version, (_, rows)) in then.into_iter().rev().take(8) {
            // An earlier vacuum may have removed its files.
            if let Ok(read) = table.read(&Scan { at: At::Version(version), ..Scan::default() }).await {
                assert_eq!(text(&read), rows, "seed {seed}, version {version}: {story:#?}");
                readable.push((version, rows));
            }
        }
        assert!(!readable.is_empty(), "seed {seed}: the newest version at least");
        let keep_versions = readable.iter().map(|(version, _)| *version).collect();
        let vacuum =
            Vacuum { retain: Some(Duration::ZERO), enforce_retention: false, keep_versions, ..Vacuum::default() };
        table.vacuum(&vacuum, &fixture.later(10_000)).await.unwrap();
        for (version, rows) in readable {
            let read = table.read(&Scan { at: At::Version(version), ..Scan::default() }).await.unwrap();
            assert_eq!(text(&read), rows, "seed {seed}, version {version}: {story:#?}");
        }
    }
    assert!(begins_later > 0, "no log was cleaned up");
    assert!(ended > 0, "no history expired");
}
