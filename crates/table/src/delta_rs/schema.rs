//! Schemas in text form.

use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field, FieldRef, Fields, Schema, SchemaRef};
use deltalake_core::kernel::engine::arrow_conversion::{TryIntoArrow as _, TryIntoKernel as _};
use deltalake_core::kernel::{DataType, PrimitiveType, StructField, StructType, normalize_for_delta};
use deltalakedb_log::action::Metadata;
use deltalakedb_log::{Result, TxnLogError};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::error::Explain;

/// The columns of a table: names, types, nullability.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSchema(StructType);

const TYPES: &str = "long, integer, short, byte, double, float, decimal(p,s), string, binary, boolean, date, timestamp \
                     or timestamp_ntz";

/// Parses a schema: `id long not null, day string`, or the JSON of a Delta schema.
///
/// ```
/// let schema = deltalakedb_table::parse_schema("id long not null, price decimal(10,2)").unwrap();
/// assert_eq!(schema.names(), ["id", "price"]);
/// ```
pub fn parse_schema(text: &str) -> Result<TableSchema> {
    if text.trim_start().starts_with('{') {
        let parsed: StructType = serde_json::from_str(text).explain(|| {
            "the schema is not the JSON of a Delta schema (`{\"type\":\"struct\",\"fields\":[…]}`)".into()
        })?;
        return TableSchema::of(parsed.fields().cloned().collect());
    }
    let columns = split(text).into_iter().map(|column| parse_column(column.trim()));
    TableSchema::of(columns.collect::<Result<Vec<_>>>()?)
}

impl TableSchema {
    fn of(columns: Vec<StructField>) -> Result<Self> {
        if columns.is_empty() {
            return Err(TxnLogError::invalid("the schema has no columns: expected for example `id long, day string`"));
        }
        for (n, column) in columns.iter().enumerate() {
            if columns[..n].iter().any(|c| c.name().eq_ignore_ascii_case(column.name())) {
                return Err(TxnLogError::invalid(format!("the schema has the column {:?} twice", column.name())));
            }
        }
        Ok(Self(StructType::try_new(columns).explain(|| "the schema is not valid for a Delta table".into())?))
    }

    /// The schema of rows in Arrow types, without the field ids of the Parquet files from which they may come: a reader
    /// that found these in the log would look for them in the files of the table.
    pub fn from_arrow(schema: &Schema) -> Result<Self> {
        let normal = normalize_for_delta(&Arc::new(Schema::new(without_field_ids(schema.fields()))));
        let schema: StructType =
            normal.as_ref().try_into_kernel().explain(|| "a Delta table cannot have these columns".into())?;
        Self::of(schema.fields().cloned().collect())
    }

    /// The schema in Arrow types.
    pub fn to_arrow(&self) -> Result<SchemaRef> {
        let schema: Schema = (&self.0).try_into_arrow().explain(|| "the schema cannot be converted to Arrow".into())?;
        Ok(Arc::new(schema))
    }

    /// The JSON of the schema, as in the log.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string(&self.0).explain(|| "the schema cannot be written as JSON".into())
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.fields().map(|f| f.name().as_str()).collect()
    }

    pub(crate) fn fields(&self) -> Vec<StructField> {
        self.0.fields().cloned().collect()
    }
}

/// The Arrow types of text and binary columns in a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StringEncoding {
    /// Standard arrays.
    Utf8,
    /// View arrays, which are faster in DataFusion.
    Utf8View,
}

/// The columns of a table in Arrow types.
pub(crate) fn arrow_schema(metadata: &Metadata, texts: StringEncoding) -> Result<SchemaRef> {
    let columns: StructType = serde_json::from_str(&metadata.schema_string)
        .explain(|| "the schema in the log is not the JSON of a Delta schema".into())?;
    let mut schema = TableSchema(columns).to_arrow()?;
    if texts == StringEncoding::Utf8View {
        let fields: Vec<_> = schema.fields().iter().map(with_views).collect();
        schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    }
    Ok(schema)
}

pub(super) fn without_field_ids(fields: &Fields) -> Fields {
    let of_field = |field: &FieldRef| {
        let mut metadata = field.metadata().clone();
        metadata.remove(PARQUET_FIELD_ID_META_KEY);
        let within = |field: &FieldRef| without_field_ids(&Fields::from(vec![field.clone()]))[0].clone();
        let data_type = match field.data_type() {
            ArrowType::Struct(fields) => ArrowType::Struct(without_field_ids(fields)),
            ArrowType::List(item) => ArrowType::List(within(item)),
            ArrowType::LargeList(item) => ArrowType::LargeList(within(item)),
            ArrowType::ListView(item) => ArrowType::ListView(within(item)),
            ArrowType::LargeListView(item) => ArrowType::LargeListView(within(item)),
            ArrowType::FixedSizeList(item, length) => ArrowType::FixedSizeList(within(item), *length),
            ArrowType::Map(entries, is_sorted) => ArrowType::Map(within(entries), *is_sorted),
            other => other.clone(),
        };
        Arc::new(Field::clone(field).with_metadata(metadata).with_data_type(data_type))
    };
    fields.iter().map(of_field).collect()
}

fn with_views(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        ArrowType::Utf8 => ArrowType::Utf8View,
        ArrowType::Binary => ArrowType::BinaryView,
        ArrowType::Struct(fields) => ArrowType::Struct(fields.iter().map(with_views).collect()),
        ArrowType::List(item) => ArrowType::List(with_views(item)),
        _ => return field.clone(),
    };
    Arc::new(Field::clone(field).with_data_type(data_type))
}

/// The columns of a list: commas within parentheses do not separate them.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_column(column: &str) -> Result<StructField> {
    let bad = |why: String| TxnLogError::invalid(format!("invalid column {column:?} in the schema: {why}"));
    let quoted = column.strip_prefix('`').and_then(|rest| rest.split_once('`'));
    let (name, rest) = quoted.or_else(|| column.split_once(char::is_whitespace)).unwrap_or((column, ""));
    let mut definition = rest.trim();
    if name.is_empty() || definition.is_empty() {
        return Err(bad("expected a name and a type, such as `id long` or `day string not null`".into()));
    }
    let lower = definition.to_ascii_lowercase();
    let nullable = match lower.strip_suffix("null").map(str::trim_end).and_then(|s| s.strip_suffix("not")) {
        Some(before) if before.ends_with(char::is_whitespace) => {
            definition = definition[..before.len()].trim_end();
            false
        }
        _ => true,
    };
    let data_type = parse_type(definition).ok_or_else(|| {
        bad(format!("unknown type {definition:?}, expected {TYPES}, optionally followed by `not null`"))
    })?;
    Ok(StructField::new(name, data_type, nullable))
}

fn parse_type(text: &str) -> Option<DataType> {
    let text = text.to_ascii_lowercase();
    let primitive = match text.as_str() {
        "long" | "bigint" => PrimitiveType::Long,
        "integer" | "int" => PrimitiveType::Integer,
        "short" | "smallint" => PrimitiveType::Short,
        "byte" | "tinyint" => PrimitiveType::Byte,
        "double" => PrimitiveType::Double,
        "float" => PrimitiveType::Float,
        "string" => PrimitiveType::String,
        "binary" => PrimitiveType::Binary,
        "boolean" => PrimitiveType::Boolean,
        "date" => PrimitiveType::Date,
        "timestamp" => PrimitiveType::Timestamp,
        "timestamp_ntz" => PrimitiveType::TimestampNtz,
        _ => {
            let digits = text.strip_prefix("decimal")?.trim_start().strip_prefix('(')?.strip_suffix(')')?;
            let (precision, scale) = digits.split_once(',').unwrap_or((digits, "0"));
            return DataType::decimal(precision.trim().parse().ok()?, scale.trim().parse().ok()?).ok();
        }
    };
    Some(DataType::Primitive(primitive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_definitions_are_parsed() {
        let schema =
            parse_schema("id long not null, `odd name` decimal(10, 2),t TIMESTAMP_NTZ NOT  NULL, b byte").unwrap();
        assert_eq!(schema.names(), ["id", "odd name", "t", "b"]);
        let json = serde_json::to_value(&schema.0).unwrap();
        let of = |n: usize, key: &str| json["fields"][n][key].clone();
        assert_eq!((of(0, "type"), of(0, "nullable")), ("long".into(), false.into()));
        assert_eq!((of(1, "type"), of(1, "nullable")), ("decimal(10,2)".into(), true.into()));
        assert_eq!((of(2, "type"), of(2, "nullable")), ("timestamp_ntz".into(), false.into()));
        assert_eq!(parse_schema(&json.to_string()).unwrap(), schema);
    }

    #[test]
    fn errors_say_what_was_expected() {
        let check = |text: &str, want: &str| {
            let message = parse_schema(text).unwrap_err().to_string();
            assert!(message.contains(want), "{message}");
        };
        check("id", "invalid column \"id\" in the schema: expected a name and a type");
        check("id lnog", "unknown type \"lnog\", expected long, integer, short");
        check("id decimal(50,2)", "unknown type \"decimal(50,2)\"");
        check("id long, ID string", "the column \"ID\" twice");
        check("", "expected a name and a type");
        check("{\"type\":\"struct\"}", "not the JSON of a Delta schema");
    }
}
