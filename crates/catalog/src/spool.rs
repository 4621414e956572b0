//! Buffers rows between the query that returns them and the consumer that takes them.
//!
//! A query keeps a transaction open, and its consumer may wait for an object store. So that a slow consumer does not
//! keep the transaction open, rows are read as fast as the database returns them. Rows that the consumer has not taken
//! yet are kept in memory up to a limit, and beyond it in a temporary file. Most results never need the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deltalakedb_log::{ErrorKind, Result, TxnLogError};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::database::{Row, Value};

/// How many bytes of rows are kept in memory.
const MEMORY: usize = 8 << 20;
/// Rows are handed over in blocks of this many bytes, or at once when no other rows are waiting.
const BLOCK: usize = 64 << 10;

/// A stream of the rows that another task reads. It ends with an error if the task does.
pub(crate) fn spooled<F: Future<Output = Result<()>> + Send + 'static>(
    read: impl FnOnce(Sender) -> F,
) -> BoxStream<'static, Result<Row>> {
    let (sender, rows) = channel();
    let task = tokio::spawn(read(sender));
    // The rows are complete only if the task says so: the stream of a task that was cancelled ends as well.
    let end = futures::stream::once(async {
        match task.await {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(Err(e)),
            Err(e) => {
                let error = TxnLogError::new(ErrorKind::Unavailable, "reading the catalog was stopped");
                Some(Err(error.with_source(e)))
            }
        }
    });
    rows.chain(end.filter_map(async |end| end)).boxed()
}

/// A sender of rows, and the stream of the rows sent. The stream ends when the sender is dropped.
pub(crate) fn channel() -> (Sender, BoxStream<'static, Result<Row>>) {
    let (blocks, taken) = mpsc::unbounded_channel();
    let shared = Arc::<Shared>::default();
    let sender = Sender { blocks, shared: shared.clone(), rows: Vec::new(), bytes: 0, end: 0 };
    let blocks = futures::stream::unfold((taken, shared), |(mut taken, shared)| async {
        let block = taken.recv().await?;
        Some((shared.rows(block), (taken, shared)))
    });
    (sender, blocks.flat_map(futures::stream::iter).boxed())
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct Sender {
    blocks: mpsc::UnboundedSender<Block>,
    shared: Arc<Shared>,
    rows: Vec<Row>,
    bytes: usize,
    /// Where the file ends.
    end: u64,
}

#[derive(Debug)]
enum Block {
    Memory(Vec<Row>, usize),
    File { at: u64, length: usize },
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes of the blocks in memory that are not consumed yet.
    in_memory: AtomicUsize,
    /// Number of blocks in the file that are not consumed yet.
    in_file: AtomicUsize,
    file: Mutex<Option<File>>,
}

impl Sender {
    /// Sends a row. Returns false once the receiver was dropped.
    pub(crate) fn send(&mut self, row: Row) -> Result<bool> {
        self.bytes += row.size();
        self.rows.push(row);
        if self.bytes >= BLOCK || self.shared.in_memory.load(Ordering::Acquire) == 0 {
            self.flush()?;
        }
        Ok(!self.blocks.is_closed())
    }

    /// Sends the last rows.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        let block = if self.shared.in_memory.load(Ordering::Acquire) + bytes <= MEMORY {
            self.shared.in_memory.fetch_add(bytes, Ordering::AcqRel);
            Block::Memory(rows, bytes)
        } else {
            self.write(rows).map_err(|e| failed("written", e))?
        };
        // The send fails when the receiver was dropped: further rows are discarded.
        let _ = self.blocks.send(block);
        Ok(())
    }

    fn write(&mut self, rows: Vec<Row>) -> io::Result<Block> {
        let mut bytes = Vec::new();
        rows.iter().for_each(|row| encode(row, &mut bytes));
        let mut file = self.shared.file.lock();
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        if self.shared.in_file.load(Ordering::Acquire) == 0 {
            self.end = 0;
        }
        let block = Block::File { at: self.end, length: bytes.len() };
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(&bytes)?;
        self.end += bytes.len() as u64;
        self.shared.in_file.fetch_add(1, Ordering::AcqRel);
        Ok(block)
    }
}

impl Shared {
    fn rows(&self, block: Block) -> Vec<Result<Row>> {
        match block {
            Block::Memory(rows, bytes) => {
                self.in_memory.fetch_sub(bytes, Ordering::AcqRel);
                rows.into_iter().map(Ok).collect()
            }
            Block::File { at, length } => match self.read(at, length) {
                Ok(rows) => rows.into_iter().map(Ok).collect(),
                Err(e) => vec![Err(failed("read", e))],
            },
        }
    }

    fn read(&self, at: u64, length: usize) -> io::Result<Vec<Row>> {
        let mut bytes = vec![0; length];
        let mut file = self.file.lock();
        let file = file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut bytes)?;
        self.in_file.fetch_sub(1, Ordering::AcqRel);
        let (mut rows, mut rest) = (Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            rows.push(decode(&mut rest).ok_or(io::ErrorKind::InvalidData)?);
        }
        Ok(rows)
    }
}

fn failed(done: &str, e: io::Error) -> TxnLogError {
    let folder = std::env::temp_dir();
    let message = format!(
        "buffered rows could not be {done} in {}: free some space there, or set TMPDIR to another folder",
        folder.display()
    );
    TxnLogError::new(ErrorKind::Unavailable, message).with_source(e)
}

/// Encodes a row: the number of values, and for each its kind as a byte, its length and its bytes.
pub(crate) fn encode(row: &Row, out: &mut Vec<u8>) {
    let values = row.0.as_slice();
    out.extend((values.len() as u64).to_le_bytes());
    for value in values {
        let (kind, bytes): (u8, &[u8]) = match value {
            Value::Null => (0, &[]),
            Value::Int(n) => (1, &n.to_le_bytes()),
            Value::Text(text) => (2, text.as_bytes()),
            Value::Blob(blob) => (3, blob),
        };
        out.push(kind);
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(bytes);
    }
}

fn decode(rest: &mut &[u8]) -> Option<Row> {
    let count = number(rest)?;
    let mut values = Vec::new();
    for _ in 0..count {
        let (kind, after) = rest.split_first()?;
        *rest = after;
        let length = usize::try_from(number(rest)?).ok()?;
        let (bytes, after) = rest.split_at_checked(length)?;
        *rest = after;
        values.push(match kind {
            0 => Value::Null,
            1 => Value::Int(i64::from_le_bytes(bytes.try_into().ok()?)),
            2 => Value::Text(std::str::from_utf8(bytes).ok()?.to_string()),
            _ => Value::Blob(bytes.to_vec()),
        });
    }
    Some(Row(values.into_iter()))
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;

    fn row(n: i64) -> Row {
        let text = format!("row {n} ÿ\u{0}");
        let values = vec![Value::Int(n), Value::Null, Value::Text(text), Value::Blob(vec![n as u8; 1000])];
        Row(values.into_iter())
    }

    /// More rows than fit into memory; the consumer waits until all are read, or takes each as it arrives.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_consumer_gets_every_row_in_order() {
        const ROWS: i64 = 30_000;
        for waits in [true, false] {
            let (done, read) = tokio::sync::oneshot::channel();
            let mut rows = spooled(move |mut sender| async move {
                for n in 0..ROWS {
                    assert!(sender.send(row(n)).unwrap());
                }
                assert!(sender.shared.in_memory.load(Ordering::Acquire) <= MEMORY);
                assert!(!waits || sender.shared.in_file.load(Ordering::Acquire) > 0, "a file was needed");
                sender.finish()?;
                done.send(()).unwrap();
                Ok(())
            });
            if waits {
                // All rows are read before the first is consumed.
                read.await.unwrap();
            }
            let mut n = 0;
            while let Some(got) = rows.try_next().await.unwrap() {
                assert_eq!(got.0.as_slice(), row(n).0.as_slice());
                n += 1;
            }
            assert_eq!(n, ROWS);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dropped_consumer_ends_the_query() {
        let (stopped, was_stopped) = tokio::sync::oneshot::channel();
        let mut rows = spooled(|mut sender| async move {
            let mut n = 0;
            while sender.send(row(n))? {
                n += 1;
                tokio::task::yield_now().await;
            }
            stopped.send(()).unwrap();
            Ok(())
        });
        rows.try_next().await.unwrap().unwrap();
        drop(rows);
        was_stopped.await.unwrap();
    }

    #[tokio::test]
    async fn an_error_comes_after_the_rows_before_it() {
        let failed = TxnLogError::new(ErrorKind::Unavailable, "gone");
        let mut rows = spooled(|mut sender| async move {
            sender.send(row(1))?;
            sender.finish()?;
            Err(failed)
        });
        assert!(rows.try_next().await.unwrap().is_some());
        assert_eq!(rows.try_next().await.unwrap_err().to_string(), "gone");
        assert!(rows.try_next().await.unwrap().is_none());
    }
}
