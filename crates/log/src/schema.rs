//! The part of a schema that planning and checks need: top-level columns, their types and physical names.

use serde_json::Value;

use crate::decimal::{self, Bound};
use crate::error::{Result, TxnLogError};
use crate::literal::Literal;

/// A primitive type of Delta whose values have an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimitiveType {
    /// byte, short, integer, long.
    Long,
    /// float: its values and bounds are spelled as floats, and mean the double they widen to.
    Float,
    /// double.
    Double,
    /// decimal with its precision and scale.
    Decimal(u8, i8),
    /// string.
    String,
    /// boolean.
    Boolean,
    /// date.
    Date,
    /// timestamp and timestamp_ntz.
    Timestamp,
}

/// A top-level column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The logical name.
    pub name: String,
    /// The name in files, statistics and partition values (column mapping).
    pub physical_name: String,
    /// Its type, if its values have a known order.
    pub data_type: Option<PrimitiveType>,
    /// The type as JSON text, as in the schema.
    pub type_json: String,
    /// Whether values may be null.
    pub nullable: bool,
    /// Whether it is a partition column.
    pub is_partition: bool,
}

/// The top-level columns of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema {
    columns: Vec<Column>,
}

impl Schema {
    /// Parses a `schemaString`, given the logical names of the partition columns.
    pub fn parse(schema_string: &str, partition_columns: &[String]) -> Result<Self> {
        let bad = |what: &str| TxnLogError::corrupt(format!("the table's schema cannot be read: {what}"));
        let json: Value = serde_json::from_str(schema_string).map_err(|e| bad(&e.to_string()))?;
        let fields = json.get("fields").and_then(Value::as_array).ok_or_else(|| bad("it has no fields"))?;
        let columns = fields
            .iter()
            .map(|field| {
                let name = field.get("name").and_then(Value::as_str).ok_or_else(|| bad("a field has no name"))?;
                let physical = field
                    .get("metadata")
                    .and_then(|m| m.get("delta.columnMapping.physicalName"))
                    .and_then(Value::as_str)
                    .unwrap_or(name);
                let data_type = field.get("type").ok_or_else(|| bad(&format!("field {name:?} has no type")))?;
                Ok(Column {
                    name: name.to_string(),
                    physical_name: physical.to_string(),
                    data_type: data_type.as_str().and_then(PrimitiveType::parse),
                    type_json: data_type.to_string(),
                    nullable: field.get("nullable").and_then(Value::as_bool).unwrap_or(true),
                    is_partition: partition_columns.iter().any(|p| p == name),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { columns })
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of that name, compared without case.
    pub fn column(&self, name: &str) -> Option<&Column> {
        let exact = self.columns.iter().find(|c| c.name == name);
        exact.or_else(|| self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(name)))
    }
}

impl PrimitiveType {
    /// The type of that name in a schema; `None` if its values have no known order.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "byte" | "short" | "integer" | "long" => Self::Long,
            "float" => Self::Float,
            "double" => Self::Double,
            "string" => Self::String,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp" | "timestamp_ntz" => Self::Timestamp,
            _ => {
                let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
                Self::Decimal(precision.trim().parse().ok()?, scale.trim().parse().ok()?)
            }
        })
    }

    /// Whether statistics of the type are values of rows: texts and times may be truncated, NaN is not included.
    pub fn has_exact_statistics(self) -> bool {
        match self {
            Self::Long | Self::Boolean | Self::Date => true,
            // Longer decimals may have been rounded.
            Self::Decimal(precision, _) => precision <= 15,
            Self::Float | Self::Double | Self::String | Self::Timestamp => false,
        }
    }

    /// The value a partition value's text stands for (PROTOCOL.md, "Partition Value Serialization").
    pub fn parse_partition_value(self, text: &str) -> Option<Literal> {
        match self {
            Self::Long => text.parse().ok().map(Literal::Long),
            Self::Float => text.parse::<f32>().ok().map(|x| Literal::Double(x.into())),
            Self::Double => text.parse().ok().map(Literal::Double),
            Self::String => Some(Literal::String(text.to_string())),
            Self::Boolean => text.parse().ok().map(Literal::Boolean),
            Self::Decimal(_, scale) => decimal::parse(text, scale).map(|units| Literal::Decimal(units, scale)),
            Self::Date => parse_date(text),
            // With or without a zone: in a column without zones the text is the local time itself; in a column with
            // zones a text without a zone is UTC, as in all readers of files.
            Self::Timestamp => parse_timestamp(text),
        }
    }

    /// The value of a min or max statistic, from its JSON text, because a JSON parser may round numbers. A decimal that
    /// its writer may have rounded is widened.
    pub fn parse_statistic(self, json: &str, bound: Bound) -> Option<Literal> {
        let text = || serde_json::from_str::<String>(json).ok();
        match self {
            Self::Long => json.parse().ok().map(Literal::Long),
            Self::Float => json.parse::<f32>().ok().filter(|x| x.is_finite()).map(|x| Literal::Double(x.into())),
            Self::Double => json.parse::<f64>().ok().filter(|x| x.is_finite()).map(Literal::Double),
            Self::Boolean => json.parse().ok().map(Literal::Boolean),
            Self::String => text().map(Literal::String),
            Self::Date => parse_date(&text()?),
            Self::Timestamp => parse_timestamp(&text()?),
            Self::Decimal(precision, scale) => {
                let text = text().unwrap_or_else(|| json.to_string());
                decimal::parse_bound(&text, precision, scale, bound).map(|units| Literal::Decimal(units, scale))
            }
        }
    }
}

fn parse_date(text: &str) -> Option<Literal> {
    let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let days = date.signed_duration_since(chrono::NaiveDate::default()).num_days();
    i32::try_from(days).ok().map(Literal::Date)
}

/// With or without a zone; without a zone the text is taken unchanged. A date alone is its midnight: the column was a
/// date column before its type changed.
fn parse_timestamp(text: &str) -> Option<Literal> {
    if let Ok(t) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(Literal::Timestamp(t.timestamp_micros()));
    }
    if let Some(Literal::Date(days)) = parse_date(text) {
        return Some(Literal::Timestamp(i64::from(days) * 86_400_000_000));
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .find_map(|f| chrono::NaiveDateTime::parse_from_str(text, f).ok())?;
    Some(Literal::Timestamp(naive.and_utc().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_parsed_by_type() {
        let check =
            |t: PrimitiveType, json: &str, want| assert_eq!(t.parse_statistic(json, Bound::Lower), want, "{json}");
        check(PrimitiveType::Double, "31.245270191439438", Some(Literal::Double(31.245270191439438)));
        check(PrimitiveType::Double, "\"NaN\"", None);
        // The shortest text of a float, parsed as a double, is a different double.
        for text in ["3.493e2", "349.3", "349.29998779296875"] {
            check(PrimitiveType::Float, text, Some(Literal::Double(349.29998779296875)));
        }
        check(PrimitiveType::Long, "9007199254740993", Some(Literal::Long(9_007_199_254_740_993)));
        check(PrimitiveType::Long, "1.5", None);
        check(PrimitiveType::Decimal(18, 7), "10000000000.0", Some(Literal::Decimal(99_999_999_999_999_912, 7)));
        check(PrimitiveType::Decimal(10, 2), "1.1", Some(Literal::Decimal(110, 2)));
        check(PrimitiveType::String, "\"a\\u0000\"", Some(Literal::String("a\0".into())));
        check(PrimitiveType::String, "null", None);
    }

    #[test]
    fn partition_values_are_parsed_by_type() {
        let check = |t: PrimitiveType, text: &str, want| assert_eq!(t.parse_partition_value(text), want, "{text}");
        let time = |micros| Some(Literal::Timestamp(micros));
        // PROTOCOL.md, "Partition Value Serialization": both spellings.
        check(PrimitiveType::Timestamp, "1970-01-02 00:00:00", time(86_400_000_000));
        check(PrimitiveType::Timestamp, "1970-01-02 00:00:00.000001", time(86_400_000_001));
        check(PrimitiveType::Timestamp, "1970-01-02T00:00:00.000001Z", time(86_400_000_001));
        check(PrimitiveType::Timestamp, "1970-01-02T00:00:00", time(86_400_000_000));
        check(PrimitiveType::Timestamp, "1970-01-02T02:00:00+02:00", time(86_400_000_000));
        check(PrimitiveType::Timestamp, "1970-01-02", time(86_400_000_000));
        check(PrimitiveType::Timestamp, "9999-12-31 23:59:59.999999", time(253_402_300_799_999_999));
        check(PrimitiveType::Timestamp, "0001-01-01 00:00:00", time(-62_135_596_800_000_000));
        check(PrimitiveType::Timestamp, "yesterday", None);
        check(
            PrimitiveType::Decimal(38, 10),
            "1234567890123456789012345678.0123456789",
            Some(Literal::Decimal(12345678901234567890123456780123456789, 10)),
        );
        check(PrimitiveType::Decimal(20, 10), "1E-10", Some(Literal::Decimal(1, 10)));
    }
}
