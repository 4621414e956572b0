//! The columns of a Delta table in DuckDB's SQL: types, and the expressions that give a column of a view from a column
//! of a data file.

use deltalakedb_log::{Result, TxnLogError};
use serde_json::Value;

/// How the data files of a view store instants, the values of the type `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InstantEncoding {
    /// As instants.
    Instant,
    /// As a date and a time without a zone, which is UTC, such as the type INT96 of older writers.
    Utc,
}

/// A column of a table, or a field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The name in data files.
    pub(super) physical_name: String,
    pub(super) is_partition: bool,
    data_type: DataType,
}

#[derive(Clone, Debug, PartialEq)]
enum DataType {
    /// The type in SQL.
    Primitive(String),
    /// The type `timestamp`.
    Instant,
    Struct(Vec<Column>),
    List(Box<DataType>),
    Map(Box<DataType>, Box<DataType>),
}

/// Which names the fields of a struct type have.
#[derive(Clone, Copy)]
enum Names {
    Physical,
    Logical,
}

impl Column {
    /// The columns of a table.
    ///
    /// # Errors
    /// [`Invalid`](deltalakedb_log::ErrorKind::Invalid) for a column of a type that DuckDB does not have.
    pub(super) fn all(schema_string: &str, partition_columns: &[String]) -> Result<Vec<Self>> {
        let schema = serde_json::from_str(schema_string).map_err(|e| unreadable().with_source(e))?;
        let mut columns = Self::fields(&schema)?;
        for column in &mut columns {
            column.is_partition = partition_columns.contains(&column.name);
        }
        Ok(columns)
    }

    fn fields(of: &Value) -> Result<Vec<Self>> {
        let fields = of.get("fields").and_then(Value::as_array).ok_or_else(unreadable)?;
        let column = |field: &Value| {
            let name = field.get("name").and_then(Value::as_str).ok_or_else(unreadable)?;
            let mapped = field.get("metadata").and_then(|metadata| metadata.get("delta.columnMapping.physicalName"));
            let data_type = DataType::parse(field.get("type").ok_or_else(unreadable)?, name)?;
            Ok(Self {
                name: name.to_string(),
                physical_name: mapped.and_then(Value::as_str).unwrap_or(name).to_string(),
                is_partition: false,
                data_type,
            })
        };
        fields.iter().map(column).collect()
    }

    /// The names in data files of the fields with instants, such as `element` in a list, each with the physical names
    /// of the fields around it.
    pub(super) fn instants(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        self.data_type.instants(&mut vec![self.physical_name.clone()], &mut found);
        found
    }

    /// The type of the column of the view.
    pub(super) fn sql_type(&self) -> String {
        self.data_type.sql(Names::Logical, InstantEncoding::Instant)
    }

    /// The type as which a data file is read.
    pub(super) fn file_type(&self, encoding: InstantEncoding) -> String {
        self.data_type.sql(Names::Physical, encoding)
    }

    /// The column of the view, from that of the file, which has the type [`Self::file_type`].
    pub(super) fn of_file(&self, expression: &str, encoding: InstantEncoding) -> String {
        self.data_type.convert(expression, encoding, 0).unwrap_or_else(|| expression.to_string())
    }

    /// The column of the view, from the text of a partition value in the log. Empty text is null.
    pub(super) fn of_partition_value(&self, text: &str) -> String {
        let text = format!("nullif({text}, '')");
        match &self.data_type {
            // Text without a zone is UTC.
            DataType::Instant => format!("timezone('UTC', CAST({text} AS TIMESTAMP))"),
            DataType::Primitive(sql) if sql == "VARCHAR" => text,
            DataType::Primitive(sql) if sql == "BLOB" => format!("encode({text})"),
            _ => format!("CAST({text} AS {})", self.sql_type()),
        }
    }
}

impl DataType {
    fn parse(json: &Value, column: &str) -> Result<Self> {
        let unsupported = |what: &str| {
            TxnLogError::invalid(format!(
                "column {column:?} has the type {what}, which a view of DuckDB cannot have: read the table with DuckDB's \
                 extension for Delta Lake"
            ))
        };
        if let Some(name) = json.as_str() {
            let sql = match name {
                "byte" => "TINYINT",
                "short" => "SMALLINT",
                "integer" => "INTEGER",
                "long" => "BIGINT",
                "float" => "FLOAT",
                "double" => "DOUBLE",
                "boolean" => "BOOLEAN",
                "string" => "VARCHAR",
                "binary" => "BLOB",
                "date" => "DATE",
                "timestamp" => return Ok(Self::Instant),
                "timestamp_ntz" => "TIMESTAMP",
                _ => {
                    let digits = name.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
                    let digits = digits.and_then(|digits| digits.split_once(','));
                    let parsed = digits.and_then(|(precision, scale)| {
                        Some((precision.trim().parse::<u8>().ok()?, scale.trim().parse::<u8>().ok()?))
                    });
                    let (precision, scale) = parsed.ok_or_else(|| unsupported(name))?;
                    return Ok(Self::Primitive(format!("DECIMAL({precision}, {scale})")));
                }
            };
            return Ok(Self::Primitive(sql.to_string()));
        }
        let inner = |key: &str| Self::parse(json.get(key).ok_or_else(unreadable)?, column).map(Box::new);
        match json.get("type").and_then(Value::as_str) {
            Some("struct") => match Column::fields(json)? {
                fields if fields.is_empty() => Err(unsupported("of a struct without fields")),
                fields => Ok(Self::Struct(fields)),
            },
            Some("array") => Ok(Self::List(inner("elementType")?)),
            Some("map") => Ok(Self::Map(inner("keyType")?, inner("valueType")?)),
            other => Err(unsupported(other.unwrap_or("unknown"))),
        }
    }

    fn instants(&self, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
        let mut inner = |name: &str, data_type: &Self| {
            path.push(name.to_string());
            data_type.instants(path, found);
            path.pop();
        };
        match self {
            Self::Primitive(_) => {}
            Self::Instant => found.push(path.clone()),
            Self::Struct(fields) => fields.iter().for_each(|field| inner(&field.physical_name, &field.data_type)),
            Self::List(element) => inner("element", element),
            Self::Map(key, value) => {
                inner("key", key);
                inner("value", value);
            }
        }
    }

    fn sql(&self, names: Names, encoding: InstantEncoding) -> String {
        match (self, encoding) {
            (Self::Primitive(sql), _) => sql.clone(),
            (Self::Instant, InstantEncoding::Instant) => "TIMESTAMP WITH TIME ZONE".into(),
            (Self::Instant, InstantEncoding::Utc) => "TIMESTAMP".into(),
            (Self::Struct(fields), _) => {
                let field = |field: &Column| {
                    let name = match names {
                        Names::Physical => &field.physical_name,
                        Names::Logical => &field.name,
                    };
                    format!("{} {}", identifier(name), field.data_type.sql(names, encoding))
                };
                format!("STRUCT({})", fields.iter().map(field).collect::<Vec<_>>().join(", "))
            }
            (Self::List(element), _) => format!("{}[]", element.sql(names, encoding)),
            (Self::Map(key, value), _) => format!("MAP({}, {})", key.sql(names, encoding), value.sql(names, encoding)),
        }
    }

    /// The expression with logical names and instants; `None` if it has them already. `depth` is the number of lambdas
    /// around it.
    fn convert(&self, expression: &str, encoding: InstantEncoding, depth: usize) -> Option<String> {
        let element = format!("x{depth}");
        match self {
            Self::Primitive(_) => None,
            Self::Instant => (encoding == InstantEncoding::Utc).then(|| format!("timezone('UTC', {expression})")),
            Self::Struct(fields) => {
                let of = |field: &Column| format!("{expression}.{}", identifier(&field.physical_name));
                let converted: Vec<_> =
                    fields.iter().map(|field| field.data_type.convert(&of(field), encoding, depth)).collect();
                let is_renamed = fields.iter().any(|field| field.name != field.physical_name);
                if !is_renamed && converted.iter().all(Option::is_none) {
                    return None;
                }
                let members = fields.iter().zip(converted).map(|(field, converted)| {
                    format!("{} := {}", identifier(&field.name), converted.unwrap_or_else(|| of(field)))
                });
                let members: Vec<_> = members.collect();
                Some(format!("CASE WHEN {expression} IS NULL THEN NULL ELSE struct_pack({}) END", members.join(", ")))
            }
            Self::List(inner) => {
                let converted = inner.convert(&element, encoding, depth + 1)?;
                Some(format!("list_transform({expression}, lambda {element}: {converted})"))
            }
            Self::Map(key, value) => {
                let (old_key, old_value) = (format!("{element}.\"key\""), format!("{element}.\"value\""));
                let new_key = key.convert(&old_key, encoding, depth + 1);
                let new_value = value.convert(&old_value, encoding, depth + 1);
                if new_key.is_none() && new_value.is_none() {
                    return None;
                }
                let (new_key, new_value) = (new_key.unwrap_or(old_key), new_value.unwrap_or(old_value));
                let entry = format!("struct_pack(\"key\" := {new_key}, \"value\" := {new_value})");
                Some(format!("map_from_entries(list_transform(map_entries({expression}), lambda {element}: {entry}))"))
            }
        }
    }
}

fn unreadable() -> TxnLogError {
    TxnLogError::corrupt("the table's schema cannot be read: it is not one of Delta Lake")
}

/// A name in SQL.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, file_type: &str, expression: &str) {
        let columns = Column::all(schema, &[]).unwrap();
        assert_eq!(columns[0].file_type(InstantEncoding::Utc), file_type);
        assert_eq!(columns[0].of_file("c0", InstantEncoding::Utc), expression);
    }

    fn field(name: &str, data_type: &str) -> String {
        format!(
            r#"{{"name":"{name}","type":{data_type},"nullable":true,"metadata":{{"delta.columnMapping.physicalName":"p_{name}"}}}}"#
        )
    }

    fn of(field: &str) -> String {
        format!(r#"{{"type":"struct","fields":[{field}]}}"#)
    }

    #[test]
    fn nested_columns_get_their_logical_names_and_their_instants() {
        check(&of(&field("a", r#""decimal(10,2)""#)), "DECIMAL(10, 2)", "c0");
        check(&of(&field("a", r#""timestamp""#)), "TIMESTAMP", "timezone('UTC', c0)");
        let inner = of(&field("b", r#""long""#));
        check(
            &of(&field("a", &inner)),
            r#"STRUCT("p_b" BIGINT)"#,
            r#"CASE WHEN c0 IS NULL THEN NULL ELSE struct_pack("b" := c0."p_b") END"#,
        );
        let list = format!(r#"{{"type":"array","elementType":{inner},"containsNull":true}}"#);
        check(
            &of(&field("a", &list)),
            r#"STRUCT("p_b" BIGINT)[]"#,
            r#"list_transform(c0, lambda x0: CASE WHEN x0 IS NULL THEN NULL ELSE struct_pack("b" := x0."p_b") END)"#,
        );
        let map = r#"{"type":"map","keyType":"string","valueType":"timestamp","valueContainsNull":true}"#;
        check(
            &of(&field("a", map)),
            "MAP(VARCHAR, TIMESTAMP)",
            "map_from_entries(list_transform(map_entries(c0), lambda x0: struct_pack(\"key\" := x0.\"key\", \"value\" := \
             timezone('UTC', x0.\"value\"))))",
        );
    }

    #[test]
    fn a_type_that_duckdb_does_not_have_is_refused_by_name() {
        let refused = Column::all(&of(&field("a", r#""variant""#)), &[]).unwrap_err();
        assert!(refused.to_string().contains(r#"column "a" has the type variant"#), "{refused}");
    }
}
