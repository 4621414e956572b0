//! The bounds of decimals in statistics, taken from the data files.
//!
//! delta-rs converts them through doubles (delta-rs#4757), which keep 15 digits. The footer of a Parquet file has them
//! exactly, so the footers of new files are read in tables that have longer decimals.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use deltalakedb_log::action::{Action, Add};
use deltalakedb_log::decimal::{InexactBounds, set_bounds, to_json};
use deltalakedb_log::snapshot::Snapshot;
use deltalakedb_log::{ErrorKind, Object, Result, TxnLogError, canonical_path};
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::basic::{ConvertedType, LogicalType};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

use crate::error::Explain;

/// How many bytes at the end of a file are read first: more than most footers.
const TAIL: u64 = 64 * 1024;
/// How many footers are read concurrently.
const AT_ONCE: usize = 8;

/// Makes the bounds of decimals in the files added by a commit on top of `base` safe for data skipping: exact in files
/// whose decoded paths are in `new`, and widened in the others, which existed before. Returns whether any bound
/// changed.
pub(super) async fn recompute_decimal_bounds(
    actions: &mut [Action],
    base: Option<&Snapshot>,
    new: &HashSet<Vec<u8>>,
    store: &Arc<dyn ObjectStore>,
) -> Result<bool> {
    let made = actions.iter().find_map(|action| match action {
        Action::Metadata(metadata) => Some(metadata),
        _ => None,
    });
    let Some(metadata) = made.or(base.map(|base| &base.head.metadata)) else { return Ok(false) };
    let columns = InexactBounds::of(&metadata.schema_string)?;
    if columns.is_empty() {
        return Ok(false);
    }
    let (mut safe, mut measured) = (Vec::new(), Vec::new());
    for (at, action) in actions.iter().enumerate() {
        let Action::Add(add) = action else { continue };
        let Some(stats) = &add.stats else { continue };
        if new.contains(&canonical_path(&add.path)) {
            measured.push(measure(at, add.clone(), stats.clone(), store.clone()).boxed());
        } else if base.is_some()
            && let Some(stats) = columns.made_safe(stats)
        {
            // When a table is created from existing files, the caller describes them.
            safe.push((at, stats));
        }
    }
    let measured = stream::iter(measured).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    let mut changed = false;
    for (at, stats) in safe.into_iter().chain(measured) {
        if let Action::Add(add) = &mut actions[at]
            && add.stats.as_ref() != Some(&stats)
        {
            Arc::make_mut(add).stats = Some(stats);
            changed = true;
        }
    }
    Ok(changed)
}

/// The statistics of a file with the bounds of decimals from its footer.
async fn measure(at: usize, add: Arc<Add>, stats: String, store: Arc<dyn ObjectStore>) -> Result<(usize, String)> {
    let unreadable = || format!("the statistics of the new file {} cannot be computed", add.path);
    let mut stats: Object = serde_json::from_str(&stats).explain(unreadable)?;
    let path = Path::from_url_path(&add.path).explain(unreadable)?;
    let size = u64::try_from(add.size).explain(unreadable)?;
    let footer = footer(store.as_ref(), &path, size).await.explain(unreadable)?;
    for (column, (scale, range)) in decimals(&footer) {
        let (least, greatest) = range.map_or((None, None), |(least, greatest)| (Some(least), Some(greatest)));
        let json = |units: Option<i128>| units.map(|units| to_json(units, scale));
        set_bounds(&mut stats, &column, json(least), json(greatest));
    }
    Ok((at, stats.to_json()))
}

async fn footer(store: &dyn ObjectStore, path: &Path, size: u64) -> Result<ParquetMetaData> {
    let mut wanted = TAIL.min(size);
    loop {
        let range: Range<u64> = size - wanted..size;
        let tail = store.get_range(path, range).await.map_err(TxnLogError::from)?;
        let mut reader = ParquetMetaDataReader::new();
        match reader.try_parse_sized(&tail, size) {
            Ok(()) => return reader.finish().explain(|| "its footer cannot be read".into()),
            Err(ParquetError::NeedMoreData(more)) if (wanted..=size).contains(&(more as u64)) && wanted < size => {
                wanted = more as u64;
            }
            Err(e) => return Err(TxnLogError::new(ErrorKind::Corrupt, "its footer cannot be read").with_source(e)),
        }
    }
}

/// The minimum and maximum of a column, in units of its scale; `None` if a row group does not record them.
type DecimalRange = (i8, Option<(i128, i128)>);

/// The decimal columns that are not in lists, by their path. Columns of nulls have no range.
fn decimals(footer: &ParquetMetaData) -> BTreeMap<Vec<String>, DecimalRange> {
    let mut found = BTreeMap::new();
    for (n, column) in footer.file_metadata().schema_descr().columns().iter().enumerate() {
        let Some(scale) = scale(column).filter(|_| column.max_rep_level() == 0) else { continue };
        let mut range: Option<Option<(i128, i128)>> = None;
        for group in footer.row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            let statistics = group.column(n).statistics();
            if statistics.and_then(Statistics::null_count_opt) == Some(rows) {
                continue;
            }
            let here = statistics.and_then(|of| Some((units(of, true)?, units(of, false)?)));
            range = Some(match (range, here) {
                (None, here) => here,
                (Some(Some(a)), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                _ => None,
            });
        }
        found.insert(column.path().parts().to_vec(), (scale, range.flatten()));
    }
    found
}

fn scale(column: &ColumnDescriptor) -> Option<i8> {
    match column.logical_type_ref() {
        Some(LogicalType::Decimal(decimal)) => i8::try_from(decimal.scale).ok(),
        None if column.converted_type() == ConvertedType::DECIMAL => i8::try_from(column.type_scale()).ok(),
        _ => None,
    }
}

fn units(of: &Statistics, least: bool) -> Option<i128> {
    match of {
        Statistics::Int32(of) => Some((*if least { of.min_opt() } else { of.max_opt() }?).into()),
        Statistics::Int64(of) => Some((*if least { of.min_opt() } else { of.max_opt() }?).into()),
        Statistics::FixedLenByteArray(of) => {
            let bytes = if least { of.min_bytes_opt() } else { of.max_bytes_opt() }?;
            let sign = bytes.first().map_or(0, |first| if first & 0x80 == 0 { 0 } else { -1 });
            (bytes.len() <= 16).then(|| bytes.iter().fold(sign, |units: i128, byte| units << 8 | i128::from(*byte)))
        }
        _ => None,
    }
}
