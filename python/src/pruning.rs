//! Which files are meant: conditions in SQL, and the filters of `deltalake`.

use arrow::datatypes::{DataType, Schema};
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::PartitionFilter;
use pyo3::prelude::*;

/// A condition in SQL, or filters in disjunctive normal form: each a column, an operator, and values as the log spells
/// them.
#[derive(FromPyObject)]
pub(crate) enum Pruning {
    Sql(String),
    Filters(Vec<Vec<Filter>>),
}

/// Column, operator, values.
pub(crate) type Filter = (String, String, Values);

#[derive(FromPyObject)]
pub(crate) enum Values {
    One(String),
    Many(Vec<String>),
}

impl Pruning {
    /// The condition in SQL.
    pub(crate) fn sql(self, schema: &Schema) -> Result<String> {
        let any = match self {
            Self::Sql(sql) => return Ok(sql),
            Self::Filters(any) => any,
        };
        let mut alternatives = Vec::new();
        for all in any {
            let all = all.into_iter().map(|filter| literal(filter, schema)).collect::<Result<Vec<_>>>()?;
            alternatives.push(if all.is_empty() { "true".to_string() } else { format!("({})", all.join(" AND ")) });
        }
        Ok(if alternatives.is_empty() { "true".into() } else { alternatives.join(" OR ") })
    }
}

/// One filter in SQL.
fn literal((column, operator, values): Filter, schema: &Schema) -> Result<String> {
    let many = matches!(operator.as_str(), "in" | "not in");
    if !many && !matches!(operator.as_str(), "=" | "!=" | "<" | "<=" | ">" | ">=")
        || many != matches!(values, Values::Many(_))
    {
        let values = match &values {
            Values::One(value) => format!("{value:?}"),
            Values::Many(values) => format!("{values:?}"),
        };
        return Err(TxnLogError::invalid(format!(
            "Invalid partition filter found: ({column:?}, {operator:?}, {values})."
        )));
    }
    let data_type = match schema.field_with_name(&column) {
        Ok(field) => field.data_type().clone(),
        Err(_) => {
            return Err(TxnLogError::invalid(format!(
                "Data does not match the schema or partitions of the table: Field '{column}' is not a root table field."
            )));
        }
    };
    let quoted = |text: &str| -> Result<String> {
        let wrong = || TxnLogError::invalid(format!("Failed to parse value '{text}' of the column {column}"));
        match &data_type {
            DataType::Boolean => text.parse::<bool>().map(|b| b.to_string()).map_err(|_| wrong()),
            number if number.is_integer() => text.parse::<i64>().map(|n| n.to_string()).map_err(|_| wrong()),
            _ => Ok(format!("'{}'", text.replace('\'', "''"))),
        }
    };
    let name = format!("\"{}\"", column.replace('"', "\"\""));
    Ok(match (operator.as_str(), &values) {
        ("=", Values::One(value)) if value.is_empty() => format!("{name} IS NULL"),
        ("!=", Values::One(value)) if value.is_empty() => format!("{name} IS NOT NULL"),
        (operator, Values::One(value)) => format!("{name} {operator} {}", quoted(value)?),
        (operator, Values::Many(values)) => {
            let values = values.iter().map(|value| quoted(value)).collect::<Result<Vec<_>>>()?;
            format!("{name} {operator} ({})", values.join(", "))
        }
    })
}

/// A filter as operations take it.
pub(crate) fn partition_filter((column, operator, values): Filter) -> PartitionFilter {
    let values = match values {
        Values::One(value) => vec![value],
        Values::Many(values) => values,
    };
    PartitionFilter { column, operator, values }
}
