use arrow::array::StringArray;
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, Schema};
use deltalakedb_table::datafusion::common::ScalarValue;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::random::{column_type, for_seeds, value};

/// A file with these rows, of few rows a page and a row group.
fn write(folder: &Path, rows: &RecordBatch, page: usize, group: usize) -> PathBuf {
    let path = folder.join("rows.parquet");
    let properties = WriterProperties::builder()
        .set_data_page_row_count_limit(page)
        .set_write_batch_size(1)
        .set_max_row_group_row_count(Some(group))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
    path
}

fn encoded(key: &PrimaryKey, rows: &RecordBatch, row: usize) -> Vec<u8> {
    let mut out = Vec::new();
    KeyEncoder::new(key, rows).unwrap().encode(row, &mut out).unwrap();
    out
}

/// The rows without those whose keys are null or repeated, in order of their keys.
fn in_order(key: &PrimaryKey, rows: &RecordBatch) -> RecordBatch {
    let mut places: Vec<_> = (0..rows.num_rows()).map(|row| (encoded(key, rows, row), row as u32)).collect();
    places.sort();
    places.dedup_by(|a, b| a.0 == b.0);
    let indices = UInt32Array::from(places.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
    take_record_batch(rows, &indices).unwrap()
}

#[test]
fn every_key_of_a_file_is_found_and_no_other() {
    for_seeds(300, |rng| {
        let folder = tempfile::tempdir().unwrap();
        let fields: Vec<_> =
            (0..rng.usize(1..4)).map(|n| Arc::new(Field::new(format!("k.{n}"), column_type(rng), false))).collect();
        let key = PrimaryKey::new(fields.clone()).unwrap();
        let rows = rng.usize(2..60);
        let mut columns: Vec<_> = fields
            .iter()
            .map(|field| {
                // Bounds of pages are shortened to 64 bytes.
                let prefix = "x".repeat(rng.usize(0..2) * rng.usize(60..70));
                let values = (0..rows).map(|_| match value(rng, field.data_type()) {
                    ScalarValue::Utf8(Some(text)) => ScalarValue::from(format!("{prefix}{text}")),
                    ScalarValue::Binary(Some(bytes)) => {
                        ScalarValue::Binary(Some([vec![0xff; prefix.len()], bytes].concat()))
                    }
                    value => value,
                });
                ScalarValue::iter_to_array(values).unwrap()
            })
            .collect();
        let mut fields = fields;
        fields.push(Arc::new(Field::new("n.o", DataType::Utf8, true)));
        columns.push(Arc::new(StringArray::from_iter((0..rows).map(|n| (n % 3 != 0).then(|| n.to_string())))));
        let all = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let all = in_order(&key, &all);
        // Half of them are in the file.
        let written = UInt32Array::from_iter((0..all.num_rows() as u32).step_by(2));
        let written = take_record_batch(&all, &written).unwrap();
        let path = write(folder.path(), &written, rng.usize(1..6), rng.usize(1..40));
        let file = KeyedFiles::default().open(&path, &key).unwrap();
        for row in 0..all.num_rows() {
            let wanted = encoded(&key, &all, row);
            let expected = (row % 2 == 0).then_some(row as u32 / 2);
            assert_eq!(file.position(&key, &wanted).unwrap(), expected, "row {row} of {all:?}");
            if let Some(position) = expected {
                let found = file.row(ColdPosition { file: 7, row: position }, &all.schema()).unwrap();
                assert_eq!(found, written.slice(position as usize, 1));
            }
        }
    });
}

#[test]
fn one_page_of_each_column_of_a_key_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let fields = [("tenant", DataType::Utf8), ("id", DataType::Int64)];
    let fields = fields.map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
    let key = PrimaryKey::new(fields.clone()).unwrap();
    let tenants: ArrayRef = Arc::new(StringArray::from_iter_values((0..1_000).map(|_| "the only one")));
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1_000).map(|n| n * 10)));
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), vec![tenants, ids]).unwrap();
    let files = KeyedFiles::default();
    let path = write(folder.path(), &rows, 50, 400);
    let file = files.open(&path, &key).unwrap();
    for row in 0..1_000 {
        let key_of_row = encoded(&key, &rows, row);
        assert_eq!(file.candidates(&key, &key_of_row).unwrap().row_count(), 50, "row {row}");
        assert_eq!(file.position(&key, &key_of_row).unwrap(), Some(row as u32));
    }
    assert_eq!(files.0.lock().files.len(), 1);
    // All other pages are damaged.
    let content = std::fs::read(&path).unwrap();
    for row in (0..1_000).step_by(25) {
        std::fs::write(&path, with_pages_of(row, &file, &content)).unwrap();
        assert_eq!(file.position(&key, &encoded(&key, &rows, row)).unwrap(), Some(row as u32));
        let found = file.row(ColdPosition { file: 7, row: row as u32 }, &rows.schema()).unwrap();
        assert_eq!(found, rows.slice(row, 1));
        let elsewhere = encoded(&key, &rows, (row + 50) % 1_000);
        let e = file.position(&key, &elsewhere).unwrap_err();
        assert!(e.to_string().contains("rows.parquet cannot be read"), "{e}");
    }
}

/// The content of a file in which only the pages that have a row can be decoded: the others are zeros.
fn with_pages_of(row: usize, file: &KeyedFile, content: &[u8]) -> Vec<u8> {
    let place = |n: i64| usize::try_from(n).unwrap();
    let (metadata, mut content) = (file.footer.metadata(), content.to_vec());
    let mut first_row = 0;
    for (group, columns) in metadata.row_groups().iter().zip(metadata.offset_index().unwrap()) {
        let rows = place(group.num_rows());
        for column in columns {
            let pages = column.page_locations();
            let ends = pages.iter().skip(1).map(|page| place(page.first_row_index)).chain([rows]);
            for (page, end) in pages.iter().zip(ends) {
                if !(first_row + place(page.first_row_index)..first_row + end).contains(&row) {
                    let (start, size) = (place(page.offset), place(page.compressed_page_size.into()));
                    content[start..start + size].fill(0);
                }
            }
        }
        first_row += rows;
    }
    content
}

#[test]
fn a_file_without_rows_has_no_first_key() {
    let folder = tempfile::tempdir().unwrap();
    let field = Arc::new(Field::new("id", DataType::Int64, false));
    let key = PrimaryKey::new([field.clone()]).unwrap();
    let rows = RecordBatch::new_empty(Arc::new(Schema::new(vec![field])));
    let file = KeyedFiles::default().open(&write(folder.path(), &rows, 1, 1), &key).unwrap();
    assert_eq!(file.first_and_last(&key).unwrap(), None);
    assert_eq!(file.position(&key, &[0; 8]).unwrap(), None);
    let e = file.row(ColdPosition { file: 0, row: 0 }, &rows.schema()).unwrap_err();
    assert!(e.to_string().contains("rows.parquet cannot be read"), "{e}");
}

#[test]
fn a_file_that_is_no_parquet_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let key = PrimaryKey::new([Arc::new(Field::new("id", DataType::Int64, false))]).unwrap();
    let path = folder.path().join("x.parquet");
    for bytes in [None, Some("PAR1 or not")] {
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let e = KeyedFiles::default().open(&path, &key).unwrap_err();
        assert!(e.to_string().contains("x.parquet cannot be read"), "{e}");
    }
}
