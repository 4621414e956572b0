//! Several processes on one catalog: concurrent, and killed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use deltalakedb_log::{Catalog, Outcome, TableId, Version};
use futures::future::join_all;

use super::*;
use crate::databases::{Database, databases};

const TABLES: usize = 10;

/// Tasks of each process, and commits of each task.
fn size(database: Database) -> (usize, usize) {
    match database {
        Database::Postgres => (4, 125),
        // Its writers are serialized, and every turn syncs the disk.
        _ => (1, 50),
    }
}

fn name(table: usize) -> String {
    format!("t{table}")
}

/// A commit that was acknowledged to some process: its path, and for each table the version and the time.
struct Report {
    path: String,
    members: Vec<(String, Version, i64)>,
}

impl Report {
    fn parse(line: &str) -> Self {
        let mut words = line.split(' ');
        let path = words.next().unwrap().to_string();
        let member = |word: &str| {
            let [table, version, time] = word.split('@').collect::<Vec<_>>()[..] else { panic!("{line}") };
            (table.to_string(), version.parse().unwrap(), time.parse().unwrap())
        };
        Self { path, members: words.map(member).collect() }
    }

    fn print(path: &str, names: &[String], committed: &[Committed]) {
        let members = names.iter().zip(committed).map(|(name, c)| format!(" {name}@{}@{}", c.version, c.timestamp));
        print_line(&format!("{path}{}", members.collect::<String>()));
    }
}

/// Blind appends of several connections; every tenth commit is one to three tables, in any order.
pub(super) async fn append(uri: &str, writer: &str, tasks: usize, commits: usize) {
    let tasks = (0..tasks).map(|task| {
        let (uri, writer) = (uri.to_string(), format!("{writer}.{task}"));
        tokio::spawn(async move {
            let catalog = connect(&uri).await;
            let mut seed = blake3::hash(writer.as_bytes());
            let mut tables: Vec<(String, TableId, Version)> = Vec::new();
            for name in (0..TABLES).map(name) {
                let id = find(&catalog, &name).await;
                tables.push((name, id, 0));
            }
            for n in 0..commits {
                seed = blake3::hash(seed.as_bytes());
                let path = format!("{writer}.{n}");
                let rng = fastrand::Rng::with_seed(u64::from_le_bytes(*seed.as_bytes().first_chunk().unwrap()));
                let chosen = choose(rng, if n % 10 == 9 { 3 } else { 1 });
                let requests = chosen.iter().map(|t| super::append(tables[*t].1, tables[*t].2, &path)).collect();
                let committed = match catalog.commit_all(requests).await {
                    Ok(Outcome::Committed(committed)) => committed,
                    other => panic!("{path}: {other:?}"),
                };
                for (table, c) in chosen.iter().zip(&committed) {
                    assert_eq!(c.table, tables[*table].1);
                    assert!(c.version > tables[*table].2, "a version is new");
                    tables[*table].2 = c.version;
                }
                let names: Vec<_> = chosen.iter().map(|t| name(*t)).collect();
                Report::print(&path, &names, &committed);
            }
            catalog.close().await;
        })
    });
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
}

/// A number of tables, in any order.
fn choose(mut rng: fastrand::Rng, count: usize) -> Vec<usize> {
    let mut all: Vec<_> = (0..TABLES).collect();
    rng.shuffle(&mut all);
    all.truncate(count);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_commit_concurrently() {
    const PROCESSES: usize = 4;
    for database in databases("processes") {
        let dir = tempfile::tempdir().unwrap();
        let uri = own_uri(*database, dir.path()).await;
        let catalog = connect(&uri).await;
        let mut tables = BTreeMap::new();
        for name in (0..TABLES).map(name) {
            tables.insert(name.clone(), create(&catalog, &name).await);
        }
        let (tasks, commits) = size(*database);
        let start = |writer| {
            let job = ["append", &uri, &format!("w{writer}"), &tasks.to_string(), &commits.to_string()];
            Process::start(&job)
        };
        let running: Vec<_> = (0..PROCESSES).map(start).collect();
        // Each has a thread that reads its output, because a process whose output is not read blocks.
        let threads: Vec<_> =
            running.into_iter().map(|process| std::thread::spawn(|| process.wait_for_lines())).collect();
        let reports: Vec<_> =
            threads.into_iter().flat_map(|h| h.join().unwrap()).map(|line| Report::parse(&line)).collect();
        assert_eq!(reports.len(), PROCESSES * tasks * commits, "everybody was told of every commit");

        let mut seen = HashMap::new();
        for (name, id) in &tables {
            seen.insert(name.clone(), whole(&catalog, *id).await);
        }
        let versions: usize = seen.values().map(Vec::len).sum();
        assert_eq!(versions, reports.iter().map(|t| t.members.len()).sum::<usize>(), "no version but those told of");
        for Report { path, members } in &reports {
            let mut groups = BTreeSet::new();
            for (table, version, time) in members {
                let there = &seen[table][usize::try_from(*version).unwrap() - 1];
                assert_eq!((&there.path, there.timestamp), (path, *time), "version {version} of {table}");
                let names: Vec<_> = members.iter().map(|(name, ..)| format!("default.{name}")).collect();
                let together = if names.len() > 1 { names } else { vec![] };
                assert_eq!(there.participants, together, "version {version} of {table}");
                groups.insert((there.timestamp, there.group.clone()));
            }
            assert_eq!(groups.len(), 1, "{path} is one transaction, at one time: {groups:?}");
        }
        catalog.close().await;
        if *database == Database::Postgres {
            check_nobody_is_left(&uri).await;
            // A deadlock would be retried and only take time.
            let database = place(&uri).database;
            let sql = format!("SELECT 1 FROM pg_stat_database WHERE datname = '{database}' AND deadlocks = 0");
            assert_eq!(ask(&in_server("public"), &sql).await.len(), 1, "there were deadlocks");
        }
    }
}

/// A catalog that no other test finds: in the server, in a database of its own.
async fn own_uri(database: Database, dir: &Path) -> String {
    match database {
        Database::Postgres => own_database().await,
        _ => database.uri(dir, "shared"),
    }
}

/// Commits in a loop, to one table or to two at once, from two connections.
pub(super) async fn stream(uri: &str, writer: &str) {
    let tasks = (0..2).map(|task| {
        let (uri, writer) = (uri.to_string(), format!("{writer}.{task}"));
        tokio::spawn(async move {
            let catalog = connect(&uri).await;
            let tables = [("a", find(&catalog, "a").await), ("b", find(&catalog, "b").await)];
            let mut base = HashMap::from([("a", 0), ("b", 0)]);
            for n in 0.. {
                let (path, chosen) = match n % 3 {
                    0 => (format!("{writer}.{n}.both"), &tables[..]),
                    which => (format!("{writer}.{n}"), &tables[which - 1..which]),
                };
                let requests = chosen.iter().map(|(name, id)| super::append(*id, base[name], &path)).collect();
                let committed = catalog.commit_all(requests).await.unwrap().committed().unwrap();
                base.extend(chosen.iter().zip(&committed).map(|((name, _), c)| (*name, c.version)));
                let names: Vec<_> = chosen.iter().map(|(name, _)| name.to_string()).collect();
                Report::print(&path, &names, &committed);
            }
        })
    });
    join_all(tasks).await.into_iter().for_each(Result::unwrap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_client_leaves_complete_commits_and_no_lock() {
    const ROUNDS: u64 = 6;
    for database in databases("processes") {
        let dir = tempfile::tempdir().unwrap();
        let uri = database.uri(dir.path(), "killed");
        let catalog = connect(&uri).await;
        let tables = [("a", create(&catalog, "a").await), ("b", create(&catalog, "b").await)];
        let mut reports = Vec::new();
        for round in 0..ROUNDS {
            let mut rng = fastrand::Rng::with_seed(round);
            let mut process = Process::start(&["stream", &uri, &format!("r{round}")]);
            let mut lines = process.lines();
            let before = rng.usize(1..30);
            reports.extend(lines.by_ref().take(before).map(|line| Report::parse(&line)));
            std::thread::sleep(Duration::from_micros(rng.u64(..5000)));
            drop(process);
            reports.extend(lines.map(|line| Report::parse(&line)));

            // Locks of the killed process do not block the next one.
            let began = Instant::now();
            let path = format!("next{round}.both");
            let mut requests = Vec::new();
            for (_, id) in &tables {
                let head = catalog.reader(*id).head().await.unwrap().version;
                requests.push(super::append(*id, head, &path));
            }
            let committed = catalog.commit_all(requests).await.unwrap().committed().unwrap();
            assert!(began.elapsed() < PATIENCE / 4, "the next writer waited {:?}", began.elapsed());
            let members =
                tables.iter().zip(&committed).map(|((name, _), c)| (name.to_string(), c.version, c.timestamp));
            reports.push(Report { path, members: members.collect() });
        }
        let seen = HashMap::from([
            ("a".to_string(), whole(&catalog, tables[0].1).await),
            ("b".to_string(), whole(&catalog, tables[1].1).await),
        ]);
        for Report { path, members } in &reports {
            for (table, version, time) in members {
                let there = seen[table].get(usize::try_from(*version).unwrap() - 1);
                let there =
                    there.unwrap_or_else(|| panic!("version {version} of {table} was acknowledged and is gone"));
                assert_eq!((&there.path, there.timestamp), (path, *time));
            }
        }
        let both = |table: &str| -> BTreeSet<(String, i64, Option<String>)> {
            let both = seen[table].iter().filter(|s| s.path.ends_with(".both"));
            both.map(|s| (s.path.clone(), s.timestamp, s.group.clone())).collect()
        };
        assert_eq!(both("a"), both("b"), "who commits to two tables commits to both or to none");
        let there: usize = seen.values().map(Vec::len).sum();
        let lost = there - reports.iter().map(|t| t.members.len()).sum::<usize>();
        assert!(lost <= 4 * ROUNDS as usize, "each connection has one commit on its way, not {lost} in all");
        catalog.close().await;
    }
}
