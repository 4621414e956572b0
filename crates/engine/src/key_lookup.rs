//! Lookups of rows by key in the data files of cold tables.
//!
//! The rows of a file are in order of their keys. The footers of files are kept in memory with their page indexes, which
//! say for each column of a key which pages may have a value. So a lookup decodes one page of each column of the key,
//! and, if the file has the row, one page of each column that is read. Of floats in a key all pages are decoded, since
//! NaN is not within the bounds of a page.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_rows::row_store::ColdPosition;
use deltalakedb_rows::{KeyEncoder, PrimaryKey};
use deltalakedb_table::{FILE_COLUMN, POSITION_COLUMN};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::definition::DELETED_COLUMN;

/// The bytes of footers above which all are forgotten.
const FOOTERS_LIMIT: usize = 64 << 20;

/// The files that lookups opened, with their footers.
#[derive(Debug, Default)]
pub(crate) struct KeyedFiles(Mutex<Opened>);

#[derive(Debug, Default)]
struct Opened {
    files: HashMap<PathBuf, Arc<KeyedFile>>,
    bytes: usize,
}

impl KeyedFiles {
    /// A data file whose rows are in order of this key.
    pub(crate) fn open(&self, path: &Path, key: &PrimaryKey) -> Result<Arc<KeyedFile>> {
        if let Some(file) = self.0.lock().files.get(path) {
            return Ok(file.clone());
        }
        let file = Arc::new(KeyedFile::open(path, key)?);
        let bytes = file.memory_size();
        let mut opened = self.0.lock();
        if opened.bytes + bytes > FOOTERS_LIMIT {
            *opened = Opened::default();
        }
        if opened.files.insert(path.to_path_buf(), file.clone()).is_none() {
            opened.bytes += bytes;
        }
        Ok(file)
    }
}

/// A data file whose rows are in order of their keys.
#[derive(Debug)]
pub(crate) struct KeyedFile {
    path: PathBuf,
    footer: ArrowReaderMetadata,
    /// The pages of each column of the key, in order.
    pages: Vec<Vec<Page>>,
}

/// A page of a column of the key.
#[derive(Debug)]
struct Page {
    /// Its rows in the file.
    rows: Range<usize>,
    /// The encoded values of the column between which those of the page are; None if they are not known.
    bounds: Option<(Vec<u8>, Vec<u8>)>,
}

impl KeyedFile {
    fn open(path: &Path, key: &PrimaryKey) -> Result<Self> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let footer = File::open(path)
            .map_err(|e| damaged(path, e))
            .and_then(|file| ArrowReaderMetadata::load(&file, options).map_err(|e| damaged(path, e)))?;
        let groups = footer.metadata().row_groups().iter().map(|group| group.num_rows());
        if groups.sum::<i64>() != footer.metadata().file_metadata().num_rows() {
            return Err(damaged(path, "its row groups have not as many rows as the file"));
        }
        let pages = key.single_columns().map(|column| pages(&footer, &column).map_err(|e| damaged(path, e)));
        Ok(Self { path: path.to_path_buf(), pages: pages.collect::<Result<_>>()?, footer })
    }

    /// Its bytes in memory.
    fn memory_size(&self) -> usize {
        let bounds = self.pages.iter().flatten().flat_map(|page| &page.bounds);
        let bounds: usize = bounds.map(|(first, last)| first.len() + last.len()).sum();
        let pages: usize = self.pages.iter().map(Vec::len).sum();
        self.footer.metadata().memory_size() + pages * size_of::<Page>() + bounds
    }

    fn rows(&self) -> Result<usize> {
        let rows = self.footer.metadata().file_metadata().num_rows();
        usize::try_from(rows).map_err(|e| damaged(&self.path, e))
    }

    /// The encoded keys of the first and the last row; None of a file without rows.
    pub(crate) fn first_and_last(&self, key: &PrimaryKey) -> Result<Option<[Vec<u8>; 2]>> {
        let last = self.rows()?.saturating_sub(1);
        Ok(self.key_at(key, 0)?.zip(self.key_at(key, last)?).map(|(first, last)| [first, last]))
    }

    fn key_at(&self, key: &PrimaryKey, row: usize) -> Result<Option<Vec<u8>>> {
        let names: Vec<_> = key.columns().map(|field| field.name().as_str()).collect();
        let Some(selection) = self.only(row)? else { return Ok(None) };
        let Some(batch) = self.reader(&names, selection, 1)?.next() else { return Ok(None) };
        let mut encoded = Vec::new();
        KeyEncoder::new(key, &batch.map_err(|e| damaged(&self.path, e))?)?.encode(0, &mut encoded)?;
        Ok(Some(encoded))
    }

    /// The selection of one row; None if the file has no such row.
    fn only(&self, row: usize) -> Result<Option<RowSelection>> {
        let rows = self.rows()?;
        Ok((row < rows).then(|| RowSelection::from_consecutive_ranges(std::iter::once(row..row + 1), rows)))
    }

    /// The rows in pages that may have an encoded key.
    fn candidates(&self, key: &PrimaryKey, encoded: &[u8]) -> Result<RowSelection> {
        let rows = self.rows()?;
        let mut candidates = RowSelection::from_consecutive_ranges(std::iter::once(0..rows), rows);
        for (pages, value) in self.pages.iter().zip(key.columns_of(encoded)?) {
            let may_have = pages.iter().filter(|page| page.may_have(value)).map(|page| page.rows.clone());
            candidates = candidates.intersection(&RowSelection::from_consecutive_ranges(may_have, rows));
        }
        Ok(candidates)
    }

    /// The position of the row with this encoded key.
    pub(crate) fn position(&self, key: &PrimaryKey, encoded: &[u8]) -> Result<Option<u32>> {
        let candidates = self.candidates(key, encoded)?;
        if !candidates.selects_any() {
            return Ok(None);
        }
        let names: Vec<_> = key.columns().map(|field| field.name().as_str()).collect();
        let mut positions = candidates.iter().scan(0, |next, rows| {
            let first = *next;
            *next += rows.row_count;
            Some((!rows.skip).then_some(first..*next))
        });
        let mut in_range = positions.by_ref().flatten().flatten();
        for batch in self.reader(&names, candidates.clone(), candidates.row_count())? {
            let batch = batch.map_err(|e| damaged(&self.path, e))?;
            let found = place(&KeyEncoder::new(key, &batch)?, batch.num_rows(), encoded)?;
            if let Some(place) = found {
                return in_range
                    .nth(place)
                    .map(|row| u32::try_from(row).map_err(|e| damaged(&self.path, e)))
                    .transpose();
            }
            in_range.by_ref().take(batch.num_rows()).for_each(drop);
        }
        Ok(None)
    }

    /// The row at a position with the columns of a schema, in its types: columns of the file, where the row is, and that
    /// it is not deleted.
    pub(crate) fn row(&self, position: ColdPosition, schema: &SchemaRef) -> Result<RecordBatch> {
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let row = position.row as usize;
        let missing = || damaged(&self.path, format!("it has no row at {row}"));
        let selection = self.only(row)?.ok_or_else(missing)?;
        let read = self.reader(&names, selection, 1)?.next().transpose().map_err(|e| damaged(&self.path, e))?;
        let read = read.filter(|read| read.num_rows() == 1).ok_or_else(missing)?;
        let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
            Ok(match field.name().as_str() {
                DELETED_COLUMN => Arc::new(BooleanArray::from(vec![false])),
                FILE_COLUMN => Arc::new(UInt32Array::from(vec![position.file])),
                POSITION_COLUMN => Arc::new(Int64Array::from(vec![i64::from(position.row)])),
                name => {
                    let values = read.column_by_name(name);
                    let values = values.ok_or_else(|| damaged(&self.path, format!("it has no column {name:?}")))?;
                    cast(values, field.data_type()).map_err(|e| damaged(&self.path, e))?
                }
            })
        });
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<_>>()?, &options)
            .map_err(|e| damaged(&self.path, e))
    }

    /// Reads rows with those of these columns that the file has.
    fn reader(&self, columns: &[&str], rows: RowSelection, batch_size: usize) -> Result<ParquetRecordBatchReader> {
        let file = File::open(&self.path).map_err(|e| damaged(&self.path, e))?;
        let stored = self.footer.schema().fields();
        let places = columns.iter().filter_map(|name| stored.iter().position(|field| field.name() == name));
        let columns = ProjectionMask::roots(self.footer.parquet_schema(), places.collect::<Vec<_>>());
        ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.footer.clone())
            .with_projection(columns)
            .with_row_selection(rows)
            .with_batch_size(batch_size)
            .build()
            .map_err(|e| damaged(&self.path, e))
    }
}

impl Page {
    fn behind(self, first_row: usize) -> Self {
        Self { rows: self.rows.start + first_row..self.rows.end + first_row, ..self }
    }

    fn may_have(&self, value: &[u8]) -> bool {
        self.bounds.as_ref().is_none_or(|(first, last)| (first.as_slice()..=last.as_slice()).contains(&value))
    }
}

/// The place of a key among rows in order of their keys.
fn place(keys: &KeyEncoder<'_>, rows: usize, wanted: &[u8]) -> Result<Option<usize>> {
    let (mut from, mut to, mut key) = (0, rows, Vec::new());
    while from < to {
        let middle = from.midpoint(to);
        key.clear();
        keys.encode(middle, &mut key)?;
        match key.as_slice().cmp(wanted) {
            std::cmp::Ordering::Less => from = middle + 1,
            std::cmp::Ordering::Equal => return Ok(Some(middle)),
            std::cmp::Ordering::Greater => to = middle,
        }
    }
    Ok(None)
}

/// The pages of a column of the key, which is given as a key of this column alone. A row group without a page index is
/// one page.
fn pages(footer: &ArrowReaderMetadata, column: &PrimaryKey) -> Result<Vec<Page>> {
    let metadata = footer.metadata();
    let mut pages = Vec::new();
    let mut first_row = 0;
    for (group, rows) in metadata.row_groups().iter().map(|group| group.num_rows()).enumerate() {
        let rows = usize::try_from(rows)
            .map_err(|e| TxnLogError::corrupt("a row group has a negative number of rows").with_source(e))?;
        match pages_of_group(metadata, footer, column, group, rows)? {
            Some(of_group) => pages.extend(of_group.into_iter().map(|page| page.behind(first_row))),
            None => pages.push(Page { rows: first_row..first_row + rows, bounds: None }),
        }
        first_row += rows;
    }
    Ok(pages)
}

/// The pages of a column in a row group, whose rows are counted from its first one; None without a usable index.
fn pages_of_group(
    metadata: &ParquetMetaData,
    footer: &ArrowReaderMetadata,
    column: &PrimaryKey,
    group: usize,
    rows: usize,
) -> Result<Option<Vec<Page>>> {
    let (Some(values), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else { return Ok(None) };
    let Some(field) = column.columns().next() else { return Ok(None) };
    // NaN is not within the bounds of floats.
    if matches!(field.data_type(), DataType::Float32 | DataType::Float64) {
        return Ok(None);
    }
    let converter = StatisticsConverter::try_new(field.name(), footer.schema(), footer.parquet_schema()).ok();
    let Some((converter, place)) = converter.and_then(|c| c.parquet_column_index().map(|place| (c, place))) else {
        return Ok(None);
    };
    let locations = offsets.get(group).and_then(|columns| columns.get(place));
    let Some(locations) = locations.filter(|_| values.get(group).is_some_and(|columns| columns.len() > place)) else {
        return Ok(None);
    };
    let starts = locations.page_locations().iter().map(|page| usize::try_from(page.first_row_index));
    let Ok(starts) = starts.collect::<Result<Vec<_>, _>>() else { return Ok(None) };
    let ends = starts.iter().skip(1).copied().chain([rows]);
    let ranges: Vec<_> = starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect();
    if starts.first() != Some(&0) || ranges.iter().any(Range::is_empty) {
        return Ok(None);
    }
    let (Ok(mins), Ok(maxes)) = (
        converter.data_page_mins(values, offsets, std::iter::once(&group)),
        converter.data_page_maxes(values, offsets, std::iter::once(&group)),
    ) else {
        return Ok(None);
    };
    if mins.len() != ranges.len() || maxes.len() != ranges.len() {
        return Ok(None);
    }
    let (firsts, lasts) = (encoded_values(column, mins)?, encoded_values(column, maxes)?);
    let pages = ranges.into_iter().zip(firsts.into_iter().zip(lasts));
    Ok(Some(pages.map(|(rows, (first, last))| Page { rows, bounds: first.zip(last) }).collect()))
}

/// The values as keys of one column; None of those that are null.
fn encoded_values(column: &PrimaryKey, values: ArrayRef) -> Result<Vec<Option<Vec<u8>>>> {
    let name = column.columns().next().map(|field| field.name().clone()).unwrap_or_default();
    let unfit = |e| TxnLogError::corrupt("the bounds of pages cannot be read").with_source(e);
    let batch = RecordBatch::try_from_iter_with_nullable([(name, values.clone(), true)]).map_err(unfit)?;
    let encoder = KeyEncoder::new(column, &batch)?;
    let value = |row| {
        if values.is_null(row) {
            return Ok(None);
        }
        let mut key = Vec::new();
        encoder.encode(row, &mut key)?;
        Ok(Some(key))
    };
    (0..values.len()).map(value).collect()
}

fn damaged(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TxnLogError {
    TxnLogError::corrupt(format!("the data file {} cannot be read", path.display())).with_source(why)
}

#[cfg(test)]
mod tests;
