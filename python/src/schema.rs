//! Converts schemas between Arrow and the JSON of Delta.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use deltalakedb_log::Result;
use deltalakedb_table::{TableSchema, parse_schema};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3_arrow::{PyDataType, PyField, PySchema};
use serde_json::{Value, json};

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(schema_to_arrow, m)?)?;
    m.add_function(wrap_pyfunction!(schema_from_arrow, m)?)?;
    m.add_function(wrap_pyfunction!(type_to_arrow, m)?)?;
    m.add_function(wrap_pyfunction!(type_from_arrow, m)?)?;
    m.add_function(wrap_pyfunction!(field_to_arrow, m)?)?;
    m.add_function(wrap_pyfunction!(field_from_arrow, m)?)
}

#[pyfunction]
fn schema_to_arrow<'py>(py: Python<'py>, json: &str, as_large_types: bool) -> PyResult<Bound<'py, PyAny>> {
    let mut schema = arrow_of(json)?;
    if as_large_types {
        let fields: Vec<FieldRef> = schema.fields().iter().map(large).collect();
        schema = Arc::new(Schema::new(fields));
    }
    PySchema::new(schema).into_arro3(py)
}

#[pyfunction]
fn schema_from_arrow(schema: PySchema) -> PyResult<String> {
    delta_of(&schema.into_inner())
}

#[pyfunction]
fn type_to_arrow<'py>(py: Python<'py>, json: &str) -> PyResult<Bound<'py, PyAny>> {
    PyDataType::new(field_of(&wrapped(json)?)?.data_type().clone()).into_arro3(py)
}

#[pyfunction]
fn type_from_arrow(r#type: PyDataType) -> PyResult<String> {
    let field = first(&delta_of(&Schema::new(vec![Field::new("x", r#type.into_inner(), true)]))?)?;
    Ok(field["type"].to_string())
}

#[pyfunction]
fn field_to_arrow<'py>(py: Python<'py>, json: &str) -> PyResult<Bound<'py, PyAny>> {
    PyField::new(field_of(json)?).into_arro3(py)
}

#[pyfunction]
fn field_from_arrow(field: PyField) -> PyResult<String> {
    Ok(first(&delta_of(&Schema::new(vec![field.into_inner()]))?)?.to_string())
}

/// Parses the JSON of a schema.
pub(crate) fn parse(json: &str) -> PyResult<TableSchema> {
    wrong(parse_schema(json))
}

fn wrong<T>(result: Result<T>) -> PyResult<T> {
    result.map_err(|e| PyValueError::new_err(e.to_string()))
}

/// Whether the schema has no columns.
pub(crate) fn is_empty(json: &str) -> bool {
    serde_json::from_str::<Value>(json).is_ok_and(|schema| schema["fields"].as_array().is_some_and(Vec::is_empty))
}

fn arrow_of(json: &str) -> PyResult<SchemaRef> {
    if is_empty(json) {
        return Ok(Arc::new(Schema::empty()));
    }
    wrong(parse(json)?.to_arrow())
}

fn delta_of(schema: &Schema) -> PyResult<String> {
    if schema.fields().is_empty() {
        return Ok(json!({"type": "struct", "fields": []}).to_string());
    }
    TableSchema::from_arrow(schema).and_then(|schema| schema.to_json()).map_err(|e| PyTypeError::new_err(e.to_string()))
}

fn wrapped(json: &str) -> PyResult<String> {
    let parsed: Value = serde_json::from_str(json).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(json!({"name": "x", "type": parsed, "nullable": true, "metadata": {}}).to_string())
}

fn field_of(json: &str) -> PyResult<FieldRef> {
    let field: Value = serde_json::from_str(json).map_err(|e| PyValueError::new_err(e.to_string()))?;
    let schema = arrow_of(&json!({"type": "struct", "fields": [field]}).to_string())?;
    Ok(schema.fields()[0].clone())
}

fn first(schema: &str) -> PyResult<Value> {
    let schema: Value = serde_json::from_str(schema).map_err(|e| PyValueError::new_err(e.to_string()))?;
    Ok(schema["fields"][0].clone())
}

/// The same with large types for text, binary and lists.
fn large(field: &FieldRef) -> FieldRef {
    use DataType as T;
    let data_type = match field.data_type() {
        T::Utf8 => T::LargeUtf8,
        T::Binary => T::LargeBinary,
        T::List(item) => T::LargeList(large(item)),
        T::Struct(fields) => T::Struct(fields.iter().map(large).collect()),
        T::Map(entries, sorted) => T::Map(large(entries), *sorted),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}
