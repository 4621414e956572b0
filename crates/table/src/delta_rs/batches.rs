//! Log actions as the Arrow batches the kernel asks for.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, StructArray, new_null_array};
use arrow::datatypes::{DataType, Fields, Schema};
use delta_kernel::engine::arrow_conversion::TryIntoArrow as _;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::engine::arrow_utils::{build_json_reorder_indices, fixup_json_read};
use delta_kernel::engine::parse_json;
use delta_kernel::schema::SchemaRef;
use delta_kernel::{DeltaResult, EngineData};
use deltalakedb_log::FileAction;
use deltalakedb_log::action::Add;
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
    let files = adds.iter().map(|add| {
        let of_log = FileAction::from(add);
        let stats = of_log.stats.map(|stats| inexact.made_safe(&stats).map_or(stats, Cow::from));
        FileAction { path: alias::of_path(&add.path), stats, ..of_log }
    });
    let files: Vec<_> = files.collect();
    let columns = FileAction::columns(&files, fields)?;
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, adds.len())?))
}
