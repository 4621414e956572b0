//! The position scan over files that the tests write themselves: with small row groups and pages, of older schemas, of
//! other writers, and with rows that deletion vectors hide.

mod answers;
mod files;
mod plans;
mod upstream;

use bytes::Bytes;
use datafusion::prelude::SessionContext;
use deltalakedb_log::action::{Add, StringMap};
use deltalakedb_log::canonical_path;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use roaring::RoaringTreemap;
use serde_json::{Value, json};

use super::*;
use crate::delta_rs::{LogView, MaskedFile, write_vectors};

/// The columns of a table, as its schema in the log says.
struct Columns {
    fields: Vec<Value>,
    partition_by: Vec<&'static str>,
    /// Whether files have columns by other names.
    mapped: bool,
}

impl Columns {
    /// Columns with these names and types, the latter as in the log.
    fn new(columns: &[(&str, Value)], partition_by: &[&'static str]) -> Self {
        let fields =
            columns.iter().map(|(name, of)| json!({"name": name, "type": of, "nullable": true, "metadata": {}}));
        Self { fields: fields.collect(), partition_by: partition_by.to_vec(), mapped: false }
    }

    /// The name of a column in files.
    fn physical(&self, name: &str) -> String {
        if self.mapped { format!("physical-{name}") } else { name.into() }
    }

    fn schema_string(&self) -> String {
        let mut schema = json!({"type": "struct", "fields": self.fields});
        if self.mapped {
            map(&mut schema, &mut 0);
        }
        schema.to_string()
    }
}

/// Gives every field of a struct an id and a physical name.
fn map(schema: &mut Value, last_id: &mut u32) {
    for field in schema["fields"].as_array_mut().unwrap() {
        *last_id += 1;
        let physical = format!("physical-{}", field["name"].as_str().unwrap());
        field["metadata"] = json!({"delta.columnMapping.id": *last_id, "delta.columnMapping.physicalName": physical});
        if field["type"]["type"] == "struct" {
            map(&mut field["type"], last_id);
        }
    }
}

/// A data file of a table to be built.
struct DataFile {
    path: String,
    bytes: Bytes,
    rows: usize,
    /// By the names of the columns in the table.
    partition_values: Vec<(&'static str, Option<String>)>,
    hidden: RoaringTreemap,
    /// The statistics in the log, except for the number of rows.
    stats: Value,
}

impl DataFile {
    /// A file with these columns, as the file has them.
    fn new(path: &str, rows: &RecordBatch, properties: WriterProperties) -> Self {
        let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
        writer.write(rows).unwrap();
        Self::of_bytes(path, writer.into_inner().unwrap(), rows.num_rows())
    }

    fn of_bytes(path: &str, bytes: Vec<u8>, rows: usize) -> Self {
        let (bytes, hidden) = (bytes.into(), RoaringTreemap::new());
        Self { path: path.into(), bytes, rows, partition_values: Vec::new(), hidden, stats: json!({}) }
    }

    fn hiding(self, hidden: impl IntoIterator<Item = u64>) -> Self {
        Self { hidden: hidden.into_iter().collect(), ..self }
    }

    fn of_partition(self, partition_values: &[(&'static str, Option<&str>)]) -> Self {
        let values = partition_values.iter().map(|(name, value)| (*name, value.map(String::from)));
        Self { partition_values: values.collect(), ..self }
    }
}

/// Creates a table of these files, with deletion vectors where rows are hidden.
async fn build(fixture: &Fixture, name: &str, columns: &Columns, files: Vec<DataFile>) -> DeltaTable {
    let table = fixture.create(name, "none long", &[]).await;
    let mut head = table.head().await.unwrap();
    let features: Vec<String> = ["deletionVectors", "columnMapping", "timestampNtz"].map(String::from).to_vec();
    (head.protocol.min_reader_version, head.protocol.min_writer_version) = (3, 7);
    (head.protocol.reader_features, head.protocol.writer_features) = (Some(features.clone()), Some(features));
    head.metadata.schema_string = columns.schema_string();
    head.metadata.partition_columns = columns.partition_by.iter().map(|name| name.to_string()).collect();
    let properties = [("delta.columnMapping.mode", "name"), ("delta.columnMapping.maxColumnId", "99")];
    let properties = properties.iter().filter(|_| columns.mapped).chain(&[("delta.enableDeletionVectors", "true")]);
    head.metadata.configuration.extend(properties.map(|(key, value)| (key.to_string(), Some(value.to_string()))));
    let mut actions = vec![Action::Protocol(head.protocol), Action::Metadata(head.metadata)];
    let mut all = Vec::new();
    for file in files {
        let path = String::from_utf8(canonical_path(&file.path)).unwrap();
        let path = table.location().local_path().unwrap().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &file.bytes).unwrap();
        let values = file.partition_values.into_iter().map(|(name, value)| (columns.physical(name), value));
        let mut stats = file.stats;
        if stats.is_object() {
            stats["numRecords"] = file.rows.into();
            stats["tightBounds"] = true.into();
        }
        let add = Add {
            path: file.path,
            partition_values: StringMap::from_iter(values),
            size: file.bytes.len().try_into().unwrap(),
            modification_time: 0,
            data_change: true,
            stats: stats.is_object().then(|| stats.to_string()),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
            extra: Default::default(),
        };
        all.push(MaskedFile { add, hidden: file.hidden });
    }
    let masked = all.iter().filter(|file| !file.hidden.is_empty()).cloned().collect();
    let state = LogView::nothing_yet(table.location(), &WriteOptions::default().stores);
    let masked = write_vectors(&state, masked).await.unwrap();
    let mut masked = masked.adds.into_iter();
    let adds = all.into_iter().map(|file| if file.hidden.is_empty() { file.add } else { masked.next().unwrap() });
    actions.extend(adds.map(Action::add));
    let request = CommitRequest::new(fixture.id(name).await, Uuid::nil(), Base::Exactly(0), actions);
    fixture.catalog.commit_all(vec![request]).await.unwrap().committed().unwrap();
    table
}

/// Row groups of that many rows and pages of a tenth of them, with statistics of pages.
fn row_groups_of(rows: usize) -> WriterProperties {
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows))
        .set_data_page_row_count_limit(rows.div_ceil(10))
        .set_write_batch_size(rows.div_ceil(10))
        .build()
}

/// The rows of a query, in their order, without spaces.
async fn ask(session: &SessionContext, sql: &str) -> Vec<String> {
    let rows = query(session, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let rows = rows.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let text = pretty_format_batches(&rows).unwrap().to_string();
    text.lines().filter(|l| !l.starts_with('+')).skip(1).map(|l| l.replace(' ', "")).collect()
}

/// A session in which the table is called `t`.
async fn session_with(table: &DeltaTable) -> SessionContext {
    let session = query_session([]).unwrap();
    let provider = DeltaTableProvider::open(table, At::Latest).await.unwrap();
    session.register_table("t", Arc::new(provider)).unwrap();
    session
}

fn set(session: &SessionContext, key: &str, value: impl std::fmt::Display) {
    let state = session.state_ref();
    state.write().config_mut().options_mut().set(key, &value.to_string()).unwrap();
}
