//! Actions as the rows of a checkpoint (PROTOCOL.md, "Checkpoint Schema").
//!
//! Files and tombstones are many, and are converted to columns directly. The other actions are few: their JSON is
//! decoded into the same columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StructArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use deltalakedb_log::action::{Action, Add, Metadata, Remove};
use deltalakedb_log::{ErrorKind, FileAction, Head, Object, Result, TxnLogError, Version};

use super::parsed::{Parsed, failed};

/// The rows of one checkpoint.
pub(super) struct Rows {
    schema: SchemaRef,
    parsed: Parsed,
    /// Whether statistics are included as JSON text.
    stats: bool,
    /// The version, for a V2 checkpoint.
    v2: Option<Version>,
}

impl Rows {
    /// The rows of a checkpoint of this version, in the format required by its protocol and properties.
    pub(super) fn new(head: &Head) -> Result<Self> {
        let on = |key: &str, default: bool| {
            head.metadata.property(key).map_or(default, |value| value.eq_ignore_ascii_case("true"))
        };
        let has = |feature: &str| head.protocol.writer_features.iter().flatten().any(|f| f == feature);
        let stats = on("delta.checkpoint.writeStatsAsJson", true);
        let parsed = if on("delta.checkpoint.writeStatsAsStruct", false) {
            Parsed::new(&head.metadata, has("deletionVectors"))?
        } else {
            Parsed::default()
        };
        let v2 = has("v2Checkpoint").then_some(head.version);
        let mut columns = vec![
            structure("txn", vec![string("appId"), long("version"), long("lastUpdated")]),
            structure("add", [add_fields(stats), parsed.fields()].concat()),
            structure("remove", remove_fields()),
            structure(
                "metaData",
                vec![
                    string("id"),
                    string("name"),
                    string("description"),
                    structure("format", vec![string("provider"), string_map("options")]),
                    string("schemaString"),
                    strings("partitionColumns"),
                    string_map("configuration"),
                    long("createdTime"),
                ],
            ),
            structure(
                "protocol",
                vec![
                    int("minReaderVersion"),
                    int("minWriterVersion"),
                    strings("readerFeatures"),
                    strings("writerFeatures"),
                ],
            ),
            structure(
                "domainMetadata",
                vec![string("domain"), string("configuration"), Field::new("removed", DataType::Boolean, true)],
            ),
        ];
        if v2.is_some() {
            columns.push(structure("checkpointMetadata", vec![long("version"), string_map("tags")]));
            let sidecar = vec![string("path"), long("sizeInBytes"), long("modificationTime"), string_map("tags")];
            columns.push(structure("sidecar", sidecar));
        }
        Ok(Self { schema: Arc::new(Schema::new(columns)), parsed, stats, v2 })
    }

    /// Whether it includes statistics as JSON text.
    pub(super) fn has_stats(&self) -> bool {
        self.stats
    }

    pub(super) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Actions other than file actions. The first of a V2 checkpoint names its version.
    pub(super) fn of_others(&self, actions: &[Action]) -> Result<RecordBatch> {
        let mut json = String::new();
        if let Some(version) = self.v2.filter(|_| matches!(actions.first(), Some(Action::Protocol(_)))) {
            json.push_str(&format!("{{\"checkpointMetadata\":{{\"version\":{version}}}}}\n"));
        }
        for action in actions {
            match action {
                Action::Metadata(metadata) => json.push_str(&Action::Metadata(with_format(metadata)).to_json()),
                action => json.push_str(&action.to_json()),
            }
            json.push('\n');
        }
        let rows = json.lines().count();
        let decoded = || {
            let mut decoder = ReaderBuilder::new(self.schema()).with_batch_size(rows.max(1)).build_decoder()?;
            let mut rest = json.as_bytes();
            while !rest.is_empty() {
                rest = &rest[decoder.decode(rest)?..];
            }
            decoder.flush()
        };
        let batch = decoded().map_err(failed)?;
        batch.ok_or_else(|| TxnLogError::new(ErrorKind::Internal, "a checkpoint has no protocol"))
    }

    /// Live files.
    pub(super) fn of_adds(&self, adds: &[Add]) -> Result<RecordBatch> {
        let mut columns = columns_of(adds, add_fields(self.stats))?;
        columns.extend(self.parsed.columns(adds)?);
        self.batch("add", columns, adds.len()).map_err(failed)
    }

    /// Tombstones.
    pub(super) fn of_removes(&self, removes: &[Remove]) -> Result<RecordBatch> {
        let columns = columns_of(removes, remove_fields())?;
        self.batch("remove", columns, removes.len()).map_err(failed)
    }

    fn batch(&self, action: &str, mut columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
        let all = self.schema.fields().iter().map(|field| match field.data_type() {
            DataType::Struct(fields) if field.name() == action => {
                let columns = std::mem::take(&mut columns);
                Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, rows)?) as ArrayRef)
            }
            other => Ok(new_null_array(other, rows)),
        });
        RecordBatch::try_new(self.schema(), all.collect::<Result<_, ArrowError>>()?)
    }
}

/// Metadata with the members of its format that readers of a checkpoint require.
pub(super) fn with_format(metadata: &Metadata) -> Metadata {
    let mut whole = metadata.clone();
    if whole.format.raw("provider").is_none() {
        whole.format.set("provider", "parquet");
    }
    if whole.format.raw("options").is_none() {
        whole.format.set("options", Object::default());
    }
    whole.extra = Object::default();
    whole
}

/// The columns of these fields. A checkpoint changes no data, so `dataChange` is false in all rows.
fn columns_of<'a, A>(actions: &'a [A], fields: Vec<Field>) -> Result<Vec<ArrayRef>>
where
    FileAction<'a>: From<&'a A>,
{
    let files = actions.iter().map(|action| FileAction { data_change: false, ..FileAction::from(action) });
    FileAction::columns(&files.collect::<Vec<_>>(), &fields.into()).map_err(failed)
}

fn add_fields(stats: bool) -> Vec<Field> {
    let mut fields = vec![
        string("path"),
        string_map("partitionValues"),
        long("size"),
        long("modificationTime"),
        Field::new("dataChange", DataType::Boolean, true),
        string_map("tags"),
        deletion_vector(),
        long("baseRowId"),
        long("defaultRowCommitVersion"),
        string("clusteringProvider"),
    ];
    fields.extend(stats.then(|| string("stats")));
    fields
}

fn remove_fields() -> Vec<Field> {
    vec![
        string("path"),
        long("deletionTimestamp"),
        Field::new("dataChange", DataType::Boolean, true),
        Field::new("extendedFileMetadata", DataType::Boolean, true),
        string_map("partitionValues"),
        long("size"),
        string_map("tags"),
        deletion_vector(),
        long("baseRowId"),
        long("defaultRowCommitVersion"),
    ]
}

fn string(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn long(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int32, true)
}

fn structure(name: &str, fields: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(fields.into()), true)
}

fn strings(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))), true)
}

fn string_map(name: &str) -> Field {
    let key_value = vec![Field::new("key", DataType::Utf8, false), string("value")];
    let entries = Field::new("key_value", DataType::Struct(key_value.into()), false);
    Field::new(name, DataType::Map(Arc::new(entries), false), true)
}

fn deletion_vector() -> Field {
    structure(
        "deletionVector",
        vec![string("storageType"), string("pathOrInlineDv"), int("offset"), int("sizeInBytes"), long("cardinality")],
    )
}
