//! Log actions as the Arrow batches the kernel asks for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, MapArray, RecordBatch, StringArray, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine::arrow_utils::{build_json_reorder_indices, fixup_json_read};
use delta_kernel::engine::parse_json;
use delta_kernel::schema::SchemaRef;
use delta_kernel::{DeltaResult, EngineData, Error};
use deltalakedb_log::action::{Add, DeletionVector, StringMap};
use deltalakedb_log::decimal::InexactBounds;

use super::alias;

/// Lines of a commit, or of a checkpoint, as rows of `schema`; `file` is the value of the column that names their file.
pub(super) fn of_lines(lines: Vec<String>, schema: &SchemaRef, file: &str) -> DeltaResult<Box<dyn EngineData>> {
    let in_json = Arc::new(schema.with_fields_filtered(|f| f.get_metadata_column_spec().is_none())?);
    let column: ArrayRef = Arc::new(StringArray::from(lines));
    let lines = RecordBatch::try_from_iter([("line", column)])?;
    let rows = ArrowEngineData::try_from_engine_data(parse_json(Box::new(ArrowEngineData::new(lines)), in_json)?)?;
    Ok(Box::new(fixup_json_read((*rows).into(), &build_json_reorder_indices(schema)?, file)?))
}

/// Live files as rows of `schema`: the column `add` is filled, every other is null. `inexact` bounds are made safe.
pub(super) fn of_adds(adds: &[Add], schema: &SchemaRef, inexact: &InexactBounds) -> DeltaResult<Box<dyn EngineData>> {
    let schema: Schema = schema.as_ref().try_into_arrow()?;
    let columns = schema.fields().iter().map(|field| match (field.name().as_str(), field.data_type()) {
        ("add", DataType::Struct(fields)) => add_struct(adds, fields, inexact),
        _ => Ok(new_null_array(field.data_type(), adds.len())),
    });
    let columns = columns.collect::<DeltaResult<Vec<_>>>()?;
    Ok(Box::new(ArrowEngineData::new(RecordBatch::try_new(Arc::new(schema), columns)?)))
}

fn add_struct(adds: &[Add], fields: &Fields, inexact: &InexactBounds) -> DeltaResult<ArrayRef> {
    let columns = fields.iter().map(|field| -> DeltaResult<ArrayRef> {
        Ok(match field.name().as_str() {
            "path" => Arc::new(adds.iter().map(|a| Some(alias::shown(&a.path))).collect::<StringArray>()),
            "partitionValues" => string_maps(adds.iter().map(|a| Some(&a.partition_values)), field)?,
            "size" => longs(adds.iter().map(|a| Some(a.size))),
            "modificationTime" => longs(adds.iter().map(|a| Some(a.modification_time))),
            "dataChange" => Arc::new(adds.iter().map(|a| Some(a.data_change)).collect::<BooleanArray>()),
            "stats" => {
                let stats = |add: &Add| {
                    let given = add.stats.as_deref()?;
                    Some(inexact.made_safe(given).unwrap_or_else(|| given.to_string()))
                };
                Arc::new(adds.iter().map(stats).collect::<StringArray>())
            }
            "tags" => string_maps(adds.iter().map(|a| a.tags.as_ref()), field)?,
            "deletionVector" => deletion_vectors(adds, field)?,
            "baseRowId" => longs(adds.iter().map(|a| a.base_row_id)),
            "defaultRowCommitVersion" => longs(adds.iter().map(|a| a.default_row_commit_version)),
            "clusteringProvider" => strings(adds.iter().map(|a| a.clustering_provider.as_deref())),
            _ => new_null_array(field.data_type(), adds.len()),
        })
    });
    let columns = columns.collect::<DeltaResult<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, adds.len())?))
}

fn deletion_vectors(adds: &[Add], field: &Field) -> DeltaResult<ArrayRef> {
    let DataType::Struct(fields) = field.data_type() else {
        return Ok(new_null_array(field.data_type(), adds.len()));
    };
    let each = || adds.iter().map(|a| a.deletion_vector.as_ref());
    let ints = |get: fn(&DeletionVector) -> Option<i64>| -> DeltaResult<ArrayRef> {
        let narrow = |v: i64| i32::try_from(v).map_err(Error::generic_err);
        let column = each().map(|dv| dv.and_then(get).map(narrow).transpose());
        Ok(Arc::new(column.collect::<DeltaResult<Int32Array>>()?))
    };
    let columns = fields.iter().map(|field| -> DeltaResult<ArrayRef> {
        Ok(match field.name().as_str() {
            "storageType" => strings(each().map(|dv| dv.map(|dv| dv.storage_type.as_str()))),
            "pathOrInlineDv" => strings(each().map(|dv| dv.map(|dv| dv.path_or_inline_dv.as_str()))),
            "offset" => ints(|dv| dv.offset)?,
            "sizeInBytes" => ints(|dv| Some(dv.size_in_bytes))?,
            "cardinality" => longs(each().map(|dv| dv.map(|dv| dv.cardinality))),
            _ => new_null_array(field.data_type(), adds.len()),
        })
    });
    let columns = columns.collect::<DeltaResult<Vec<_>>>()?;
    let present: NullBuffer = each().map(|dv| dv.is_some()).collect();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, Some(present), adds.len())?))
}

fn strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn longs(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.collect::<Int64Array>())
}

/// Maps with exactly the field names of the requested type.
fn string_maps<'a>(maps: impl Iterator<Item = Option<&'a StringMap>>, field: &Field) -> DeltaResult<ArrayRef> {
    let DataType::Map(entries, sorted) = field.data_type() else {
        return Err(Error::generic(format!("the column {} is asked for as {}", field.name(), field.data_type())));
    };
    let DataType::Struct(key_value) = entries.data_type() else {
        return Err(Error::generic(format!("the map {} has no entries", field.name())));
    };
    let (mut keys, mut values, mut lengths, mut present) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for map in maps {
        let pairs = map.into_iter().flatten();
        let before = keys.len();
        for (key, value) in pairs {
            keys.push(Some(key.as_str()));
            values.push(value.as_deref());
        }
        lengths.push(keys.len() - before);
        present.push(map.is_some());
    }
    let columns = vec![strings(keys.into_iter()), strings(values.into_iter())];
    let nulls = present.contains(&false).then(|| NullBuffer::from(present));
    let entries: FieldRef = entries.clone();
    let pairs = StructArray::try_new(key_value.clone(), columns, None)?;
    Ok(Arc::new(MapArray::try_new(entries, OffsetBuffer::from_lengths(lengths), pairs, nulls, *sorted)?))
}
