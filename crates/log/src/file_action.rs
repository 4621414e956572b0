//! The actions on files, adds and removes, as the columns of Arrow arrays.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, MapArray, StringArray, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;

use crate::action::{Add, DeletionVector, Remove, StringMap};

/// What an add or a remove says of its file: a row of these columns. A member that the action does not have is `None`.
#[derive(Clone, Debug)]
pub struct FileAction<'a> {
    /// `path`.
    pub path: Cow<'a, str>,
    /// `partitionValues`.
    pub partition_values: Option<&'a StringMap>,
    /// `size`.
    pub size: Option<i64>,
    /// `modificationTime`.
    pub modification_time: Option<i64>,
    /// `deletionTimestamp`.
    pub deletion_timestamp: Option<i64>,
    /// `dataChange`.
    pub data_change: bool,
    /// `extendedFileMetadata`.
    pub extended_file_metadata: Option<bool>,
    /// `stats`.
    pub stats: Option<Cow<'a, str>>,
    /// `tags`.
    pub tags: Option<&'a StringMap>,
    /// `deletionVector`.
    pub deletion_vector: Option<&'a DeletionVector>,
    /// `baseRowId`.
    pub base_row_id: Option<i64>,
    /// `defaultRowCommitVersion`.
    pub default_row_commit_version: Option<i64>,
    /// `clusteringProvider`.
    pub clustering_provider: Option<&'a str>,
}

impl<'a> From<&'a Add> for FileAction<'a> {
    fn from(add: &'a Add) -> Self {
        Self {
            path: add.path.as_str().into(),
            partition_values: Some(&add.partition_values),
            size: Some(add.size),
            modification_time: Some(add.modification_time),
            deletion_timestamp: None,
            data_change: add.data_change,
            extended_file_metadata: None,
            stats: add.stats.as_deref().map(Cow::from),
            tags: add.tags.as_ref(),
            deletion_vector: add.deletion_vector.as_ref(),
            base_row_id: add.base_row_id,
            default_row_commit_version: add.default_row_commit_version,
            clustering_provider: add.clustering_provider.as_deref(),
        }
    }
}

impl<'a> From<&'a Remove> for FileAction<'a> {
    fn from(remove: &'a Remove) -> Self {
        Self {
            path: remove.path.as_str().into(),
            partition_values: remove.partition_values.as_ref(),
            size: remove.size,
            modification_time: None,
            deletion_timestamp: remove.deletion_timestamp,
            data_change: remove.data_change,
            extended_file_metadata: remove.extended_file_metadata,
            stats: None,
            tags: remove.tags.as_ref(),
            deletion_vector: remove.deletion_vector.as_ref(),
            base_row_id: remove.base_row_id,
            default_row_commit_version: remove.default_row_commit_version,
            clustering_provider: None,
        }
    }
}

impl FileAction<'_> {
    /// One column for each field, which has the name of a member in the protocol. A field of another name is null in
    /// every row. Maps and structs get the inner fields that their type has.
    ///
    /// # Errors
    /// When a field has another type than its member, or a number does not fit into the type.
    pub fn columns(files: &[Self], fields: &Fields) -> Result<Vec<ArrayRef>, ArrowError> {
        let longs = |get: fn(&Self) -> Option<i64>| Arc::new(files.iter().map(get).collect::<Int64Array>()) as ArrayRef;
        let bools =
            |get: fn(&Self) -> Option<bool>| Arc::new(files.iter().map(get).collect::<BooleanArray>()) as ArrayRef;
        let column = |field: &Arc<Field>| {
            Ok(match field.name().as_str() {
                "path" => strings(files.iter().map(|f| Some(f.path.as_ref()))),
                "partitionValues" => string_maps(files.iter().map(|f| f.partition_values), field)?,
                "size" => longs(|f| f.size),
                "modificationTime" => longs(|f| f.modification_time),
                "deletionTimestamp" => longs(|f| f.deletion_timestamp),
                "dataChange" => bools(|f| Some(f.data_change)),
                "extendedFileMetadata" => bools(|f| f.extended_file_metadata),
                "stats" => strings(files.iter().map(|f| f.stats.as_deref())),
                "tags" => string_maps(files.iter().map(|f| f.tags), field)?,
                "deletionVector" => deletion_vectors(files.iter().map(|f| f.deletion_vector), field)?,
                "baseRowId" => longs(|f| f.base_row_id),
                "defaultRowCommitVersion" => longs(|f| f.default_row_commit_version),
                "clusteringProvider" => strings(files.iter().map(|f| f.clustering_provider)),
                _ => new_null_array(field.data_type(), files.len()),
            })
        };
        fields.iter().map(column).collect()
    }
}

fn deletion_vectors<'a>(
    vectors: impl ExactSizeIterator<Item = Option<&'a DeletionVector>> + Clone,
    field: &Field,
) -> Result<ArrayRef, ArrowError> {
    let rows = vectors.len();
    let DataType::Struct(fields) = field.data_type() else { return Err(other_type(field)) };
    let ints = |get: fn(&DeletionVector) -> Option<i64>| {
        let narrow = |v: i64| i32::try_from(v).map_err(|e| ArrowError::CastError(format!("a deletion vector: {e}")));
        let column = vectors.clone().map(|dv| dv.and_then(get).map(narrow).transpose());
        Ok::<_, ArrowError>(Arc::new(column.collect::<Result<Int32Array, _>>()?) as ArrayRef)
    };
    let column = |field: &Arc<Field>| {
        Ok(match field.name().as_str() {
            "storageType" => strings(vectors.clone().map(|dv| dv.map(|dv| dv.storage_type.as_str()))),
            "pathOrInlineDv" => strings(vectors.clone().map(|dv| dv.map(|dv| dv.path_or_inline_dv.as_str()))),
            "offset" => ints(|dv| dv.offset)?,
            "sizeInBytes" => ints(|dv| Some(dv.size_in_bytes))?,
            "cardinality" => Arc::new(vectors.clone().map(|dv| dv.map(|dv| dv.cardinality)).collect::<Int64Array>()),
            _ => new_null_array(field.data_type(), rows),
        })
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>, ArrowError>>()?;
    let present: NullBuffer = vectors.clone().map(|dv| dv.is_some()).collect();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(present), rows)?))
}

fn string_maps<'a>(maps: impl Iterator<Item = Option<&'a StringMap>>, field: &Field) -> Result<ArrayRef, ArrowError> {
    let DataType::Map(entries, sorted) = field.data_type() else { return Err(other_type(field)) };
    let DataType::Struct(key_value) = entries.data_type() else { return Err(other_type(field)) };
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
    let columns = vec![strings(keys.into_iter()), strings(values.into_iter())];
    let pairs = StructArray::try_new(key_value.clone(), columns, None)?;
    let present = present.contains(&false).then(|| NullBuffer::from(present));
    Ok(Arc::new(MapArray::try_new(entries.clone(), OffsetBuffer::from_lengths(lengths), pairs, present, *sorted)?))
}

fn strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn other_type(field: &Field) -> ArrowError {
    ArrowError::SchemaError(format!("the column {} cannot be a {}", field.name(), field.data_type()))
}
