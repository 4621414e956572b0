//! Logs written by the tests, torn and damaged at every place.

use super::*;

/// A log in the making, with the ends of its batches.
#[derive(Default)]
struct TestLog {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TestLog {
    /// Batches of these lengths; each says whether all before it were synced.
    fn new(batches: &[(usize, bool)]) -> Self {
        let mut log = Self::default();
        for (length, synced) in batches {
            let mut batch = vec![0x5a; BATCH_HEADER];
            batch.extend([LOG_DATA, 1, mark(*synced)[0]]);
            // With bytes that look like headers of records.
            batch.extend((MARKED..*length).map(|n| if n % 1000 < 20 { (n % 7) as u8 } else { 0x5a }));
            log.write(&batch);
        }
        log
    }

    fn write(&mut self, mut batch: &[u8]) {
        let mut first = true;
        loop {
            let left = BLOCK - self.bytes.len() % BLOCK;
            if left < HEADER {
                self.bytes.extend(vec![0; left]);
                continue;
            }
            let (part, rest) = batch.split_at(batch.len().min(left - HEADER));
            let kind = match (first, rest.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            self.record(kind, part);
            if rest.is_empty() {
                break;
            }
            (first, batch) = (false, rest);
        }
        self.ends.push(self.bytes.len());
    }

    fn record(&mut self, kind: u8, payload: &[u8]) {
        let checksum = CRC.checksum(&[&[kind], payload].concat());
        self.bytes.extend(checksum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        self.bytes.extend((payload.len() as u16).to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend(payload);
    }

    /// The end of the last batch that is whole in the first `length` bytes.
    fn whole(&self, length: usize) -> usize {
        self.ends.iter().copied().filter(|end| *end <= length).max().unwrap_or(0)
    }
}

/// The lengths of these logs after the check, or its error.
fn checked(logs: &[&[u8]]) -> Result<Vec<usize>, String> {
    let dir = tempfile::tempdir().unwrap();
    // Numbers whose order as text is another.
    let paths: Vec<_> = (0..logs.len()).map(|n| dir.path().join(format!("{:06}.log", 999_999 + n))).collect();
    for (path, bytes) in paths.iter().zip(logs) {
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(dir.path().join("LOG"), "no log of batches").unwrap();
    std::fs::write(dir.path().join("MANIFEST-000001.log"), "nor this").unwrap();
    assert_eq!(super::logs(dir.path()).unwrap(), paths);
    let tear = find_tear(&paths).map_err(|e| {
        assert_eq!(e.kind(), ErrorKind::Corrupt);
        e.to_string().replace(&format!("{}/", dir.path().display()), "")
    })?;
    let mut left: Vec<_> = logs.iter().map(|bytes| bytes.len()).collect();
    if let Some(tear) = tear {
        let torn = paths.iter().position(|path| *path == tear.log).unwrap();
        left[torn..].fill(0);
        left[torn] = tear.end as usize;
        // Most tests do not wait for the disk.
        if paths.len() > 1 {
            let cut: usize = logs.iter().map(|bytes| bytes.len()).sum::<usize>() - left.iter().sum::<usize>();
            assert_eq!(cut_torn_end(dir.path()).unwrap(), cut as u64);
            for (path, left) in paths.iter().zip(&left) {
                assert_eq!(std::fs::metadata(path).unwrap().len(), *left as u64);
            }
        }
    }
    Ok(left)
}

/// Over the boundaries of three blocks, one of them with too little space for a header, one with space for a header and
/// a part of the mark.
fn synced() -> TestLog {
    let log = TestLog::new(&[
        (100, true),
        (BLOCK - HEADER * 2 - 100 - 3, true),
        (3000, true),
        (BLOCK - HEADER * 2 - 3000 - HEADER - 5, true),
        (40_000, true),
        (15, true),
        (200, true),
    ]);
    assert_eq!(log.ends[1], BLOCK - 3);
    assert_eq!(log.ends[3], 2 * BLOCK - HEADER - 5);
    log
}

#[test]
fn logs_without_defects_are_not_changed() {
    let log = synced();
    assert_eq!(checked(&[]), Ok(vec![]));
    assert_eq!(checked(&[&log.bytes]), Ok(vec![log.bytes.len()]));
    assert_eq!(checked(&[&log.bytes, &[], &log.bytes]), Ok(vec![log.bytes.len(), 0, log.bytes.len()]));
    let mut ignorable = TestLog::default();
    ignorable.record(130, b"about the log before it");
    ignorable.write(&log.bytes[HEADER..HEADER + 100]);
    assert_eq!(checked(&[&ignorable.bytes]), Ok(vec![ignorable.bytes.len()]));
}

#[test]
fn a_log_that_ends_anywhere_is_cut_to_its_whole_batches() {
    let log = synced();
    let near = |place: usize, length: usize| length.abs_diff(place) < 20;
    for length in 0..log.bytes.len() {
        let edge = log.ends.iter().any(|end| near(*end, length)) || near(length / BLOCK * BLOCK, length);
        if edge || length % 211 == 0 {
            let whole = log.whole(length);
            // The padding of a block is complete.
            let left = if length == BLOCK { length } else { whole };
            assert_eq!(checked(&[&log.bytes[..length]]), Ok(vec![left]), "{length}");
            // Space that the file system gave and nothing was written to.
            let mut zeros = log.bytes[..length].to_vec();
            zeros.extend([0; 5000]);
            assert_eq!(checked(&[&zeros]), Ok(vec![whole]), "{length} and zeros");
        }
    }
}

#[test]
fn damage_anywhere_before_the_last_batch_is_refused() {
    let log = synced();
    let last = log.ends[log.ends.len() - 2];
    let headers: Vec<_> = [&[0], &log.ends[..], &[BLOCK, 2 * BLOCK, 3 * BLOCK]].concat();
    for at in 0..log.bytes.len() {
        let header = headers.iter().any(|start| (*start..start + HEADER + MARKED).contains(&at));
        let padding = (log.ends[1]..BLOCK).contains(&at);
        if !header && at % 211 != 0 || padding {
            continue;
        }
        for flip in [0x01, 0x04, 0xff] {
            let mut bytes = log.bytes.clone();
            bytes[at] ^= flip;
            if at < last {
                let whole = log.whole(at);
                let refused = format!(
                    "the write-ahead log in 999999.log is damaged after byte {whole}, before batches that were \
                     acknowledged: restore the store from a checkpoint"
                );
                assert_eq!(checked(&[&bytes]), Err(refused), "byte {at} ^ {flip}");
            } else {
                // Not to be told from a torn one.
                assert_eq!(checked(&[&bytes]), Ok(vec![last]), "byte {at} ^ {flip}");
            }
        }
    }
}

#[test]
fn batches_that_are_not_synced_are_cut_from_the_first_torn_one() {
    // The third is the first after a sync of all before it.
    let log = TestLog::new(&[(500, true), (500, true), (500, true), (500, false), (40_000, false), (500, false)]);
    let damaged = |batch: usize| {
        let mut bytes = log.bytes.clone();
        bytes[log.ends[batch] - 100..log.ends[batch] - 50].fill(0);
        checked(&[&bytes])
    };
    for batch in [0, 1] {
        assert!(damaged(batch).unwrap_err().contains(&format!("after byte {},", log.whole(log.ends[batch] - 1))));
    }
    for batch in 2..6 {
        assert_eq!(damaged(batch), Ok(vec![log.ends[batch - 1]]));
    }
}

#[test]
fn a_log_after_a_torn_one_is_emptied_or_proves_damage() {
    let first = synced();
    let torn = &first.bytes[..first.bytes.len() - 10];
    let last = first.ends[first.ends.len() - 2];
    let unsynced = TestLog::new(&[(100, false), (50_000, false)]).bytes;
    assert_eq!(checked(&[torn, &unsynced, &[], &unsynced]), Ok(vec![last, 0, 0, 0]));
    let refused = format!(
        "the write-ahead log in 999999.log is damaged after byte {last}, before batches that were acknowledged: restore \
         the store from a checkpoint"
    );
    let after_sync = TestLog::new(&[(100, false), (50_000, true)]).bytes;
    assert_eq!(checked(&[torn, &unsynced, &after_sync]), Err(refused));
    // A batch does not continue in the next log.
    let mut rest = TestLog::default();
    rest.record(4, &[1; 100]);
    let begun = &first.bytes[..2 * BLOCK];
    assert_eq!(checked(&[begun, &rest.bytes]), Ok(vec![first.ends[3], 0]));
}

#[test]
fn a_batch_without_its_mark_counts_as_one_after_a_sync() {
    let mut log = TestLog::new(&[(100, false)]);
    log.bytes[50] ^= 1;
    assert_eq!(checked(&[&log.bytes]), Ok(vec![0]));
    log.write(b"by another program, without a mark");
    assert!(checked(&[&log.bytes]).is_err());
}

#[test]
fn records_of_unknown_types_are_refused() {
    let mut log = TestLog::new(&[(100, true)]);
    log.record(9, b"compression");
    let refused = "999999.log has a record of type 9, which this version does not know: open the store with the version \
                   that wrote it";
    assert_eq!(checked(&[&log.bytes]), Err(refused.to_string()));
}
