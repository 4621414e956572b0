//! Selects files: by conditions in SQL, and by the filters of `deltalake`.

use std::cmp::Ordering;

use arrow::datatypes::{DataType, Schema};
use deltalakedb_log::action::Add;
use deltalakedb_log::schema::{Column, Schema as Columns};
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::PartitionFilter;
use pyo3::prelude::*;

/// A condition in SQL, or filters in disjunctive normal form: each has a column, an operator, and values as the log
/// spells them.
#[derive(FromPyObject)]
pub(crate) enum Pruning {
    Sql(String),
    Filters(Vec<Vec<Filter>>),
}

/// Column, operator, values.
pub(crate) type Filter = (String, String, Values);

#[derive(Clone, FromPyObject)]
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

/// Whether all filters are true for the partition values of a file. Unlike a predicate for data skipping, the result
/// must be exact: a comparison that cannot be decided is an error.
pub(crate) fn is_in_partition(file: &Add, filters: &[Filter], columns: &Columns) -> Result<bool> {
    for (name, operator, values) in filters {
        let column = columns.column(name).filter(|column| column.is_partition).ok_or_else(|| {
            TxnLogError::invalid(format!(
                "partition_filters name {name:?}, which is not a partition column of the table"
            ))
        })?;
        let text = file.partition_values.get(&column.physical_name).and_then(|value| value.as_deref());
        let is_true = match (operator.as_str(), values) {
            ("in", Values::Many(values)) => any(column, text, values)?,
            ("not in", Values::Many(values)) => text.is_some() && !any(column, text, values)?,
            ("=", Values::One(value)) if value.is_empty() => text.unwrap_or_default().is_empty(),
            ("!=", Values::One(value)) if value.is_empty() => !text.unwrap_or_default().is_empty(),
            (operator, Values::One(value)) => compare(column, text, value)?.is_some_and(|order| match operator {
                "=" => order.is_eq(),
                "!=" => order.is_ne(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                _ => false,
            }),
            _ => false,
        };
        if !is_true {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any(column: &Column, text: Option<&str>, values: &[String]) -> Result<bool> {
    for value in values {
        if compare(column, text, value)?.is_some_and(Ordering::is_eq) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Compares a partition value with a given value; `None` for null, which satisfies no comparison.
fn compare(column: &Column, text: Option<&str>, given: &str) -> Result<Option<Ordering>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let Some(data_type) = column.data_type else { return Ok(Some(text.cmp(given))) };
    let read = |text: &str| {
        data_type.parse_partition_value(text).ok_or_else(|| {
            TxnLogError::invalid(format!("Failed to parse value '{text}' of the column {}", column.name))
        })
    };
    Ok(read(text)?.partial_cmp(&read(given)?))
}

/// A filter as operations take it.
pub(crate) fn partition_filter((column, operator, values): Filter) -> PartitionFilter {
    let values = match values {
        Values::One(value) => vec![value],
        Values::Many(values) => values,
    };
    PartitionFilter { column, operator, values }
}
