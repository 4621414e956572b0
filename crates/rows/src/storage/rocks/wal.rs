//! The check of RocksDB's write-ahead logs before RocksDB reads them.
//!
//! A crash may tear the end of a log: batches that were not synced are there in part. They have to be cut. Damage before
//! the end must be refused, because acknowledged batches follow it. RocksDB's recovery modes do not make this
//! distinction: depending on the mode and the damaged byte it cuts either, refuses either, skips a part, or does not
//! terminate. So each batch says whether all before it were synced when it was written ([`mark`]). What cannot be
//! read is torn if no batch follows that says so, and damaged otherwise. The last batch cannot be told from a torn one.
//!
//! The format: <https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format>. RocksDB then reads logs without
//! any defect, and is told to accept no other.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc, Table};
use deltalakedb_log::{ErrorKind, Result, TxnLogError};

/// Records do not cross the boundaries of blocks.
const BLOCK: usize = 32 * 1024;
/// Of a record: the checksum, the length of its payload, and its type.
const HEADER: usize = 4 + 2 + 1;
const TYPE: usize = 4 + 2;
/// Of a batch: its sequence number, and the number of its changes.
const BATCH_HEADER: usize = 8 + 4;
/// The tag of data in a batch that is not a change.
const LOG_DATA: u8 = 3;
/// The length of a batch up to its mark, which is its first item: its tag, its length, and one byte.
const MARKED: usize = BATCH_HEADER + 3;

static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// What the log data of a batch says, its first item.
pub(super) fn mark(all_before_synced: bool) -> [u8; 1] {
    [all_before_synced.into()]
}

/// Whether a batch, of which this is the beginning, says that all before it were synced. Unmarked batches are taken for
/// such, so that nothing is cut before them.
fn all_before_synced(batch: &[u8]) -> bool {
    batch.get(BATCH_HEADER..MARKED) != Some(&[LOG_DATA, 1, mark(false)[0]])
}

/// Cuts torn batches at the end of the logs in `folder`; refuses logs that are damaged elsewhere. Returns the number of
/// bytes cut.
pub(super) fn cut_torn_end(folder: &Path) -> Result<u64> {
    let logs = logs(folder).map_err(|e| unreadable(folder, e))?;
    let Some(tear) = find_tear(&logs)? else { return Ok(0) };
    let mut cut = 0;
    // The logs after the torn one have unsynced batches only, which do not exist without those before them.
    for path in logs.iter().skip_while(|path| **path != tear.log) {
        let end = if *path == tear.log { tear.end } else { 0 };
        cut += cut_file(path, end).map_err(|e| unreadable(path, e))?;
    }
    Ok(cut)
}

/// Where these logs are torn, if they are.
fn find_tear(logs: &[PathBuf]) -> Result<Option<Tear>> {
    let mut check = Check::default();
    for path in logs {
        check.read(path)?;
    }
    Ok(check.tear)
}

/// The logs in the order in which they were written.
pub(super) fn logs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "log")) {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

fn cut_file(path: &Path, end: u64) -> io::Result<u64> {
    let file = File::options().write(true).open(path)?;
    let cut = file.metadata()?.len().saturating_sub(end);
    file.set_len(end)?;
    file.sync_all()?;
    Ok(cut)
}

fn unreadable(path: &Path, e: io::Error) -> TxnLogError {
    TxnLogError::new(ErrorKind::Unavailable, format!("{} cannot be read", path.display())).with_source(e)
}

/// Where the whole batches end.
struct Tear {
    log: PathBuf,
    end: u64,
}

/// The check of one log after the other.
#[derive(Default)]
struct Check {
    log: PathBuf,
    /// The end of the last whole batch in this log.
    whole: u64,
    /// Whether a batch has begun that has not ended.
    within_batch: bool,
    tear: Option<Tear>,
    /// After the tear: the beginning of a batch, to its mark.
    beginning: Option<Vec<u8>>,
}

impl Check {
    fn read(&mut self, path: &Path) -> Result<()> {
        (self.log, self.whole) = (path.to_path_buf(), 0);
        let mut file = File::open(path).map_err(|e| unreadable(path, e))?;
        let mut block = Vec::with_capacity(BLOCK);
        let mut start = 0;
        loop {
            block.clear();
            let read = (&mut file).take(BLOCK as u64).read_to_end(&mut block).map_err(|e| unreadable(path, e))?;
            self.block(start, &block)?;
            start += read as u64;
            if read < BLOCK {
                break;
            }
        }
        if self.within_batch && self.tear.is_none() {
            self.tear();
        }
        self.beginning = None;
        Ok(())
    }

    fn tear(&mut self) {
        self.tear = Some(Tear { log: self.log.clone(), end: self.whole });
    }

    /// Reads the records of a block, which begins at `start` of its file.
    fn block(&mut self, start: u64, block: &[u8]) -> Result<()> {
        let mut at = 0;
        // Records begin where the one before ends. In the block of the defect this is not known.
        let mut everywhere = false;
        while at < block.len() {
            if BLOCK - at < HEADER {
                // Filled with zeros, unless the file ends here.
                if block.len() < BLOCK && self.tear.is_none() {
                    self.tear();
                }
                break;
            }
            let rest = &block[at..];
            // Of most places no checksum has to be computed.
            let possible = !everywhere || rest.get(TYPE).is_some_and(|kind| (1..=4).contains(kind));
            match possible.then(|| Record::parse(rest)).flatten() {
                Some(record) => {
                    at += HEADER + record.payload.len();
                    self.record(record, start + at as u64)?;
                }
                None if self.tear.is_none() => {
                    self.tear();
                    everywhere = true;
                    at += 1;
                }
                None if everywhere => at += 1,
                // The next block begins with a record.
                None => break,
            }
        }
        Ok(())
    }

    /// Takes the next readable record, which ends at `end` of its file.
    fn record(&mut self, record: Record<'_>, end: u64) -> Result<()> {
        let part = match record.kind {
            1 => Part::Whole,
            2 => Part::First,
            3 => Part::Middle,
            4 => Part::Last,
            // Readers may ignore these.
            128.. => return Ok(()),
            kind => {
                return Err(TxnLogError::corrupt(format!(
                    "{} has a record of type {kind}, which this version does not know: open the store with the version \
                     that wrote it",
                    self.log.display()
                )));
            }
        };
        if self.tear.is_none() {
            if part.begins() != self.within_batch {
                self.within_batch = !part.ends();
                if part.ends() {
                    self.whole = end;
                }
                return Ok(());
            }
            self.tear();
        }
        if part.begins() {
            self.beginning = Some(Vec::new());
        }
        let (Some(tear), Some(beginning)) = (&self.tear, &mut self.beginning) else { return Ok(()) };
        beginning.extend_from_slice(record.payload.get(..MARKED).unwrap_or(record.payload));
        if beginning.len() >= MARKED || part.ends() {
            if all_before_synced(beginning) {
                return Err(TxnLogError::corrupt(format!(
                    "the write-ahead log in {} is damaged after byte {}, before batches that were acknowledged: restore \
                     the store from a checkpoint",
                    tear.log.display(),
                    tear.end
                )));
            }
            self.beginning = None;
        }
        Ok(())
    }
}

/// A record with a valid checksum.
struct Record<'a> {
    kind: u8,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the beginning of `bytes`.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (checksum, rest) = bytes.split_first_chunk::<4>()?;
        let (length, typed) = rest.split_first_chunk::<2>()?;
        let typed = typed.get(..1 + usize::from(u16::from_le_bytes(*length)))?;
        let (kind, payload) = typed.split_first()?;
        // Masked, so that the checksum of data with checksums in it is not trivial.
        let checksum = u32::from_le_bytes(*checksum).wrapping_sub(0xa282_ead8).rotate_left(15);
        // No record is of type 0: zeros are space that was not written.
        (*kind != 0 && CRC.checksum(typed) == checksum).then_some(Self { kind: *kind, payload })
    }
}

/// The part of a batch that a record has.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    First,
    Middle,
    Last,
}

impl Part {
    fn begins(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    fn ends(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
}
