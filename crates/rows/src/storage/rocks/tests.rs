//! RocksDB's store: the contract, and what crashes, failing disks and damage do to it.

use std::process::{Command, Output};
use std::time::Instant;

use deltalakedb_log::ErrorKind;
use tempfile::TempDir;

use super::*;
use crate::storage::suite::{Disk, Model, check_failed, check_read_only, entries, put, storage_tests};

impl Disk for TempDir {
    fn open(&self, folder: &Path) -> Result<Box<dyn Storage>> {
        Ok(Box::new(RocksStorage::open(folder, &RocksOptions::default())?))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

storage_tests!(tempfile::tempdir().unwrap());

fn open(folder: &Path) -> Result<RocksStorage> {
    RocksStorage::open(folder, &RocksOptions::default())
}

/// The only log of a store.
fn log(folder: &Path) -> PathBuf {
    let logs = wal::logs(folder).unwrap();
    assert_eq!(logs.len(), 1);
    logs[0].clone()
}

/// The error of opening a store, of this kind, as it begins.
fn check_refused(folder: &Path, kind: ErrorKind, sentence: &str) {
    let e = open(folder).err().unwrap();
    assert_eq!(e.kind(), kind, "{e}");
    assert!(e.to_string().starts_with(sentence), "{e}");
}

/// Writes `count` batches over two families and syncs each; returns the entries, and the lengths of the log before each.
fn write_batches(storage: &RocksStorage, folder: &Path, count: u8) -> Vec<(Model, u64)> {
    let mut states = Vec::new();
    for n in 0..count {
        states.push((entries(storage), fs::metadata(log(folder)).unwrap().len()));
        let mut batch = put(Family::Hot, &[n], &vec![n; if n == 5 { 50_000 } else { 300 }]);
        batch.put(Family::Meta, [n], b"and another family");
        storage.write(batch, WalSync::Now).unwrap();
    }
    states
}

#[test]
fn a_torn_end_of_the_log_is_cut_and_all_before_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    for torn in [1, 20, 150, 330] {
        let storage = open(&folder).unwrap();
        let states = write_batches(&storage, &folder, 8);
        drop(storage);
        let file = File::options().write(true).open(log(&folder)).unwrap();
        let length = file.metadata().unwrap().len();
        let (expected, before_last) = states.last().unwrap();
        assert!(length - torn > *before_last, "more than the last batch is cut");
        match torn {
            // Written in part, as the file system may leave it after a power failure.
            20 => {
                file.set_len(length - torn).unwrap();
                file.set_len(length).unwrap();
            }
            _ => file.set_len(length - torn).unwrap(),
        }
        let storage = open(&folder).unwrap();
        assert_eq!(entries(&storage), *expected);
        drop(storage);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn damage_before_the_end_of_the_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let storage = open(&folder).unwrap();
    let states = write_batches(&storage, &folder, 8);
    drop(storage);
    let log = log(&folder);
    let whole = fs::read(&log).unwrap();
    let start = |n: usize| states[n].1 as usize;
    let second_block = 32 * 1024;
    assert!(start(5) < second_block && second_block < start(6));
    let damages: [(usize, &[u8]); 9] = [
        // Of batches: their checksums, lengths, types and contents, and zeros in their place.
        (start(2), &[0xaa]),
        (start(2) + 4, &[0xff, 0xff]),
        (start(6) + 4, &[0xff, 0xff]),
        (start(6) + 6, &[5]),
        (start(6), &[0; 30]),
        (start(0) + 100, &[0xaa]),
        (start(2), &[0; 500]),
        // The record at the beginning of a block becomes one of a kind that RocksDB does not read to its end.
        (second_block + 6, &[5]),
        (second_block + 10_000, &[0; 4096]),
    ];
    for (at, damage) in damages {
        let mut bytes = whole.clone();
        bytes[at..at + damage.len()].copy_from_slice(damage);
        fs::write(&log, &bytes).unwrap();
        let sentence = format!("the write-ahead log in {} is damaged after byte ", log.display());
        check_refused(&folder, ErrorKind::Corrupt, &sentence);
        assert_eq!(fs::read(&log).unwrap(), bytes, "a refused log was changed");
    }
    fs::write(&log, &whole).unwrap();
    open(&folder).unwrap();
}

#[test]
fn a_power_failure_loses_of_unsynced_batches_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let storage = open(&folder).unwrap();
    storage.write(put(Family::Hot, &[0], &[0; 100]), WalSync::Now).unwrap();
    let (log, mut states) = (log(&folder), Vec::new());
    for n in 1..10 {
        states.push((entries(&storage), fs::metadata(&log).unwrap().len()));
        storage.write(put(Family::Hot, &[n], &[n; 100]), WalSync::Later).unwrap();
    }
    drop(storage);
    // The disk has what was written later, and not yet this.
    let (expected, at) = &states[4];
    let mut bytes = fs::read(&log).unwrap();
    bytes[*at as usize..*at as usize + 50].fill(0);
    fs::write(&log, bytes).unwrap();
    assert_eq!(entries(&open(&folder).unwrap()), *expected);
}

#[test]
fn a_store_that_another_process_has_open_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let storage = open(&folder).unwrap();
    let output = worker(Command::new(std::env::current_exe().unwrap()), &format!("open {}", folder.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("refused: the store in {} is in use: close it there", folder.display())), "{said}");
    drop(storage);
    let output = worker(Command::new(std::env::current_exe().unwrap()), &format!("open {}", folder.display()));
    assert!(String::from_utf8_lossy(&output.stdout).contains("opened"));
}

#[test]
fn a_failed_sync_makes_the_store_read_only_until_it_is_opened_again() {
    // The system call of the 30th sync of each thread fails, and all later ones; opening needs fewer.
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    strace.args(["-e", "inject=fdatasync:error=EIO:when=30+"]).arg(std::env::current_exe().unwrap());
    check_fail_stop(strace, WalSync::Now);
}

#[test]
fn a_failed_write_makes_the_store_read_only_until_it_is_opened_again() {
    // No file gets longer than so many blocks of 512 bytes: the last write to the log is there in part.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    check_fail_stop(shell, WalSync::Later);
}

/// A process that `command` starts writes until the disk fails. Afterwards all is there that it was told is stored.
fn check_fail_stop(command: Command, sync: WalSync) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let output = worker(command, &format!("{sync:?} {}", folder.display()));
    let said = String::from_utf8_lossy(&output.stdout);
    let count = said.lines().find_map(|line| line.split("written: ").nth(1)).unwrap_or_else(|| panic!("{said}"));
    let count: u32 = count.trim().parse().unwrap();
    assert!(count > 5, "only {count} writes succeeded");

    let storage = open(&folder).unwrap();
    let stored = entries(&storage);
    // That of the failed write may be there, too.
    let with_failed = u32::from(stored[&Family::Hot].contains_key(&count.to_be_bytes()[..]));
    for family in [Family::Hot, Family::Meta] {
        let keys: Vec<_> = stored[&family].keys().cloned().collect();
        let expected: Vec<_> = (0..count + with_failed).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(keys, expected);
    }
    storage.write(put(Family::Hot, b"after", b""), WalSync::Now).unwrap();
}

const WORKER: &str = "DELTALAKEDB_TEST_WORKER";

/// Runs the function below in a process of its own, with a job: `open FOLDER`, or the kind of sync and a folder.
fn worker(mut command: Command, job: &str) -> Output {
    let command = command.args(["--exact", "storage::rocks::tests::process", "--ignored", "--nocapture"]);
    let output = command.env(WORKER, job).output().unwrap_or_else(|e| panic!("{command:?} cannot be run: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    output
}

#[test]
#[ignore = "no test by itself: tests above start it"]
fn process() {
    let job = std::env::var(WORKER).unwrap();
    let (job, folder) = job.split_once(' ').unwrap();
    let folder = Path::new(folder);
    let sync = match job {
        "open" => {
            match open(folder) {
                Ok(_) => println!("opened"),
                Err(e) => println!("refused: {e}"),
            }
            return;
        }
        "Now" => WalSync::Now,
        _ => WalSync::Later,
    };
    let storage = open(folder).unwrap();
    let mut count = 0_u32;
    let (e, seen) = loop {
        let seen = entries(&storage);
        let mut batch = put(Family::Hot, &count.to_be_bytes(), &[7; 500]);
        batch.put(Family::Meta, count.to_be_bytes(), []);
        match storage.write(batch, sync) {
            Ok(()) => count += 1,
            Err(e) => break (e, seen),
        }
        assert!(count < 10_000, "the disk does not fail");
    };
    check_failed(&e, folder);
    check_read_only(&storage, folder, &seen);
    println!("written: {count}");
}

#[test]
fn the_write_ahead_log_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let options = RocksOptions { wal: 4 << 20, ..RocksOptions::default() };
    let storage = RocksStorage::open(&folder, &options).unwrap();
    // A family that is never written again would keep its log.
    storage.write(put(Family::Meta, b"once", b""), WalSync::Later).unwrap();
    let write = |n: u32| storage.write(put(Family::Hot, &n.to_be_bytes(), &[n as u8; 10_000]), WalSync::Later).unwrap();
    (0..4_000).for_each(write);
    // Logs are deleted by another thread, when their changes are in files.
    let length =
        || wal::logs(&folder).unwrap().iter().filter_map(|log| Some(fs::metadata(log).ok()?.len())).sum::<u64>();
    let begin = Instant::now();
    while length() > 5 << 20 {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} bytes of log", length());
        std::thread::sleep(Duration::from_millis(10));
        write(0);
    }
}

#[test]
fn a_store_without_its_file_current_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    open(&folder).unwrap().write(put(Family::Hot, b"key", b"value"), WalSync::Now).unwrap();
    fs::remove_file(folder.join("CURRENT")).unwrap();
    check_refused(&folder, ErrorKind::Corrupt, &format!("the store in {} has no file CURRENT", folder.display()));
}

#[test]
fn damage_in_a_file_is_an_error_of_the_read_that_meets_it() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let storage = open(&folder).unwrap();
    for n in 0..1000_u32 {
        storage
            .write(
                put(Family::Hot, &n.to_be_bytes(), &fastrand::Rng::with_seed(n.into()).u128(..).to_be_bytes()),
                WalSync::Later,
            )
            .unwrap();
    }
    // Gets into a file.
    storage.checkpoint(&dir.path().join("checkpoint")).unwrap();
    drop(storage);
    let mut files = folder.read_dir().unwrap().map(|file| file.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "sst")).unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // The checkpoint has the same file by a link.
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();

    let storage = open(&folder).unwrap();
    let snapshot = storage.snapshot().unwrap();
    let mut cursor = snapshot.scan(Family::Hot, &KeyRange::all(), Direction::Forward).unwrap();
    let mut read = 0;
    let e = loop {
        match cursor.next() {
            Ok(entry) => read += u32::from(entry.is_some()),
            Err(e) => break e,
        }
        assert!(read < 1000, "the damage was not met");
    };
    assert_eq!(e.kind(), ErrorKind::Corrupt);
    assert!(e.to_string().starts_with("the store cannot be read: Corruption: block checksum mismatch"), "{e}");
    assert!(read > 0);
    assert_eq!(entries(&open(&dir.path().join("checkpoint")).unwrap())[&Family::Hot].len(), 1000);
}

#[test]
fn a_store_with_families_that_are_not_known_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    drop(DB::open_cf(&options, &folder, ["hot", "of a later version"]).unwrap());
    check_refused(&folder, ErrorKind::Invalid, &format!("the store in {} cannot be opened", folder.display()));
}
