//! Actions as the rows of a checkpoint (PROTOCOL.md, "Checkpoint Schema").
//!
//! Files and tombstones are many, and are converted to columns directly. The other actions are few: their JSON is
//! decoded into the same columns.

use std::sync::Arc;

use arrow::array::new_null_array;
use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, MapArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use deltalakedb_log::action::{Action, Add, DeletionVector, Metadata, Remove, StringMap};
use deltalakedb_log::{ErrorKind, Head, Object, Result, TxnLogError, Version};

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
        let parsed = match on("delta.checkpoint.writeStatsAsStruct", false) {
            true => Parsed::new(&head.metadata, has("deletionVectors"))?,
            false => Parsed::default(),
        };
        let v2 = has("v2Checkpoint").then_some(head.version);
        let mut columns = vec![
            structure("txn", vec![string("appId"), long("version"), long("lastUpdated")]),
            structure("add", add_fields(stats, &parsed)),
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
                Action::Metadata(metadata) => json.push_str(&Action::Metadata(whole(metadata)).to_json()),
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
        let files: Vec<File<'_>> = adds.iter().map(File::added).collect();
        let mut columns = columns_of(&files, &add_fields(false, &Parsed::default())).map_err(failed)?;
        if self.stats {
            columns.push(Arc::new(adds.iter().map(|add| add.stats.as_deref()).collect::<StringArray>()));
        }
        columns.extend(self.parsed.columns(adds)?);
        self.batch("add", columns, adds.len()).map_err(failed)
    }

    /// Tombstones.
    pub(super) fn of_removes(&self, removes: &[Remove]) -> Result<RecordBatch> {
        let files: Vec<File<'_>> = removes.iter().map(File::removed).collect();
        let columns = columns_of(&files, &remove_fields()).map_err(failed)?;
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
pub(super) fn whole(metadata: &Metadata) -> Metadata {
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

fn add_fields(stats: bool, parsed: &Parsed) -> Vec<Field> {
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
    fields.extend(parsed.fields());
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

/// The members of adds and removes, some of which only one of them has.
struct File<'a> {
    path: &'a str,
    partition_values: Option<&'a StringMap>,
    size: Option<i64>,
    modification_time: Option<i64>,
    deletion_timestamp: Option<i64>,
    extended: Option<bool>,
    tags: Option<&'a StringMap>,
    deletion_vector: Option<&'a DeletionVector>,
    base_row_id: Option<i64>,
    default_row_commit_version: Option<i64>,
    clustering_provider: Option<&'a str>,
}

impl<'a> File<'a> {
    fn added(add: &'a Add) -> Self {
        Self {
            path: &add.path,
            partition_values: Some(&add.partition_values),
            size: Some(add.size),
            modification_time: Some(add.modification_time),
            deletion_timestamp: None,
            extended: None,
            tags: add.tags.as_ref(),
            deletion_vector: add.deletion_vector.as_ref(),
            base_row_id: add.base_row_id,
            default_row_commit_version: add.default_row_commit_version,
            clustering_provider: add.clustering_provider.as_deref(),
        }
    }

    fn removed(remove: &'a Remove) -> Self {
        Self {
            path: &remove.path,
            partition_values: remove.partition_values.as_ref(),
            size: remove.size,
            modification_time: None,
            deletion_timestamp: remove.deletion_timestamp,
            extended: remove.extended_file_metadata,
            tags: remove.tags.as_ref(),
            deletion_vector: remove.deletion_vector.as_ref(),
            base_row_id: remove.base_row_id,
            default_row_commit_version: remove.default_row_commit_version,
            clustering_provider: None,
        }
    }
}

/// The columns of these fields. A checkpoint changes no data, so `dataChange` is false in all rows.
fn columns_of(files: &[File<'_>], fields: &[Field]) -> Result<Vec<ArrayRef>, ArrowError> {
    let longs = |get: fn(&File<'_>) -> Option<i64>| Arc::new(files.iter().map(get).collect::<Int64Array>()) as ArrayRef;
    let column = |field: &Field| {
        Ok(match field.name().as_str() {
            "path" => Arc::new(files.iter().map(|f| Some(f.path)).collect::<StringArray>()) as ArrayRef,
            "partitionValues" => string_maps(files.iter().map(|f| f.partition_values))?,
            "size" => longs(|f| f.size),
            "modificationTime" => longs(|f| f.modification_time),
            "deletionTimestamp" => longs(|f| f.deletion_timestamp),
            "dataChange" => Arc::new(files.iter().map(|_| Some(false)).collect::<BooleanArray>()),
            "extendedFileMetadata" => Arc::new(files.iter().map(|f| f.extended).collect::<BooleanArray>()),
            "tags" => string_maps(files.iter().map(|f| f.tags))?,
            "deletionVector" => deletion_vectors(files)?,
            "baseRowId" => longs(|f| f.base_row_id),
            "defaultRowCommitVersion" => longs(|f| f.default_row_commit_version),
            "clusteringProvider" => Arc::new(files.iter().map(|f| f.clustering_provider).collect::<StringArray>()),
            _ => new_null_array(field.data_type(), files.len()),
        })
    };
    fields.iter().map(column).collect()
}

fn deletion_vectors(files: &[File<'_>]) -> Result<ArrayRef, ArrowError> {
    let each = || files.iter().map(|f| f.deletion_vector);
    let text =
        |get: fn(&DeletionVector) -> &str| Arc::new(each().map(|dv| dv.map(get)).collect::<StringArray>()) as ArrayRef;
    let ints = |get: fn(&DeletionVector) -> Option<i64>| {
        let narrow = |v: i64| i32::try_from(v).map_err(|e| ArrowError::CastError(format!("a deletion vector: {e}")));
        let column = each().map(|dv| dv.and_then(get).map(narrow).transpose());
        Ok::<_, ArrowError>(Arc::new(column.collect::<Result<Int32Array, _>>()?) as ArrayRef)
    };
    let columns = vec![
        text(|dv| &dv.storage_type),
        text(|dv| &dv.path_or_inline_dv),
        ints(|dv| dv.offset)?,
        ints(|dv| Some(dv.size_in_bytes))?,
        Arc::new(each().map(|dv| dv.map(|dv| dv.cardinality)).collect::<Int64Array>()),
    ];
    let present: NullBuffer = each().map(|dv| dv.is_some()).collect();
    Ok(Arc::new(StructArray::try_new_with_length(deletion_vector_fields(), columns, Some(present), files.len())?))
}

fn string_maps<'a>(maps: impl Iterator<Item = Option<&'a StringMap>>) -> Result<ArrayRef, ArrowError> {
    let (mut keys, mut values, mut lengths, mut present) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for map in maps {
        let before = keys.len();
        for (key, value) in map.into_iter().flatten() {
            keys.push(Some(key.as_str()));
            values.push(value.as_deref());
        }
        lengths.push(keys.len() - before);
        present.push(map.is_some());
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(keys)), Arc::new(StringArray::from(values))];
    let pairs = StructArray::try_new(key_value(), columns, None)?;
    let present = present.contains(&false).then(|| NullBuffer::from(present));
    Ok(Arc::new(MapArray::try_new(entries(), OffsetBuffer::from_lengths(lengths), pairs, present, false)?))
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
    Field::new(name, DataType::Map(entries(), false), true)
}

fn entries() -> Arc<Field> {
    Arc::new(Field::new("key_value", DataType::Struct(key_value()), false))
}

fn key_value() -> Fields {
    vec![Field::new("key", DataType::Utf8, false), string("value")].into()
}

fn deletion_vector() -> Field {
    Field::new("deletionVector", DataType::Struct(deletion_vector_fields()), true)
}

fn deletion_vector_fields() -> Fields {
    vec![string("storageType"), string("pathOrInlineDv"), int("offset"), int("sizeInBytes"), long("cardinality")].into()
}
