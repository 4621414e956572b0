//! Values for the placeholders of statements.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, visit_expressions_mut};
use datafusion::sql::sqlparser::parser::Parser;
use deltalakedb_log::{Result, TxnLogError};

use super::dialect::DeltaDialect;
use crate::error::Explain;

/// Values for the placeholders of statements: `$1` is the first of those without names; `:name` and `$name` have names.
///
/// ```
/// use datafusion::common::ScalarValue;
/// use deltalakedb_table::Parameters;
///
/// let mut parameters = Parameters::from(vec![ScalarValue::from(7_i64)]);
/// parameters.set("day", ScalarValue::from("2024-01-01"));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    positional: Vec<ScalarValue>,
    named: BTreeMap<String, ScalarValue>,
}

impl From<Vec<ScalarValue>> for Parameters {
    /// The values of `$1`, `$2` and so on.
    fn from(positional: Vec<ScalarValue>) -> Self {
        Self { positional, named: BTreeMap::new() }
    }
}

impl Parameters {
    /// Sets the value of `:name`, which is without the colon here. A number is the name of a placeholder without one.
    pub fn set(&mut self, name: impl Into<String>, value: ScalarValue) {
        self.named.insert(name.into(), value);
    }

    /// Replaces the placeholders of a statement by literals.
    pub(super) fn bind(&self, statement: &mut Statement) -> Result<()> {
        let bound = visit_expressions_mut(statement, |expr| {
            if let Expr::Value(value) = expr
                && let Value::Placeholder(placeholder) = &value.value
            {
                match self.literal(placeholder) {
                    Ok(literal) => *expr = literal,
                    Err(e) => return ControlFlow::Break(e),
                }
            }
            ControlFlow::Continue(())
        });
        match bound {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(e) => Err(e),
        }
    }

    fn literal(&self, placeholder: &str) -> Result<Expr> {
        let text = literal_of(self.value(placeholder)?)
            .map_err(|what| TxnLogError::invalid(format!("the parameter {placeholder} cannot be {what}")))?;
        let parsed = Parser::new(&DeltaDialect).try_with_sql(&text).and_then(|mut parser| parser.parse_expr());
        // In parentheses, as a placeholder is one operand.
        let parsed = parsed.map(|expr| if text.starts_with('-') { Expr::Nested(Box::new(expr)) } else { expr });
        parsed.explain(|| format!("the value of the parameter {placeholder} cannot be written as SQL"))
    }

    fn value(&self, placeholder: &str) -> Result<&ScalarValue> {
        let name = placeholder.strip_prefix([':', '$']).filter(|name| !name.is_empty()).ok_or_else(|| {
            TxnLogError::invalid(format!("the placeholder {placeholder} cannot be used: write $1 or :name"))
        })?;
        let value = match name.parse::<usize>() {
            Ok(number) => number.checked_sub(1).and_then(|at| self.positional.get(at)),
            Err(_) => None,
        };
        let value = value.or_else(|| self.named.get(name));
        value.ok_or_else(|| {
            let numbers = (1..=self.positional.len()).map(|number| format!("${number}"));
            let given: Vec<_> = numbers.chain(self.named.keys().map(|name| format!(":{name}"))).collect();
            let given =
                if given.is_empty() { "none are given".into() } else { format!("given are {}", given.join(", ")) };
            TxnLogError::invalid(format!("the parameter {placeholder} has no value: {given}"))
        })
    }
}

/// A value as an expression of SQL, exactly; an error that says what it is if there is none.
fn literal_of(value: &ScalarValue) -> Result<String, String> {
    use ScalarValue as S;
    if value.is_null() {
        return Ok("NULL".into());
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let number = |x: f64, text: String| if x.is_finite() { text } else { format!("CAST('{x}' AS DOUBLE)") };
    Ok(match value {
        S::Boolean(Some(value)) => value.to_string(),
        S::Int64(Some(i64::MIN)) => format!("CAST('{}' AS BIGINT)", i64::MIN),
        S::Int8(_)
        | S::Int16(_)
        | S::Int32(_)
        | S::Int64(_)
        | S::UInt8(_)
        | S::UInt16(_)
        | S::UInt32(_)
        | S::UInt64(_) => value.to_string(),
        S::Float32(Some(x)) => format!("CAST('{x}' AS REAL)"),
        // With an exponent it is a double.
        S::Float64(Some(x)) => number(*x, format!("{x:e}")),
        S::Decimal128(_, precision, scale) => format!("CAST('{value}' AS DECIMAL({precision}, {scale}))"),
        S::Utf8(Some(text)) | S::LargeUtf8(Some(text)) | S::Utf8View(Some(text)) => quoted(text),
        S::Binary(Some(bytes)) | S::LargeBinary(Some(bytes)) | S::BinaryView(Some(bytes)) => {
            format!("X'{}'", bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>())
        }
        S::Date32(_) => format!("DATE '{value}'"),
        S::TimestampNanosecond(Some(ns), _) if ns % 1_000 != 0 => {
            return Err(format!("a time with nanoseconds ({ns} since 1970): times have microseconds"));
        }
        S::TimestampSecond(..)
        | S::TimestampMillisecond(..)
        | S::TimestampMicrosecond(..)
        | S::TimestampNanosecond(..) => {
            let text = value.cast_to(&DataType::Utf8).map_err(|e| format!("a time that has no text ({e})"))?;
            match value.data_type() {
                DataType::Timestamp(_, Some(_)) => {
                    format!("arrow_cast('{text}', 'Timestamp(Microsecond, Some(\"UTC\"))')")
                }
                _ => format!("TIMESTAMP '{text}'"),
            }
        }
        other => return Err(format!("of type {}", other.data_type())),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::parser::ParserError;

    use super::*;

    fn bound(sql: &str, parameters: &Parameters) -> Result<String> {
        let mut parsed =
            Parser::parse_sql(&DeltaDialect, sql).map_err(|e: ParserError| TxnLogError::invalid(e.to_string()))?;
        parameters.bind(&mut parsed[0])?;
        Ok(parsed[0].to_string())
    }

    #[test]
    fn placeholders_become_literals() {
        let values = vec![
            ScalarValue::from(-7_i64),
            ScalarValue::from("it's"),
            ScalarValue::from(1.5_f64),
            ScalarValue::Decimal128(Some(-1234), 10, 2),
            ScalarValue::Date32(Some(1)),
            ScalarValue::Binary(Some(vec![0, 255])),
            ScalarValue::Utf8(None),
            ScalarValue::TimestampMicrosecond(Some(1_000_001), Some("UTC".into())),
            ScalarValue::from(f64::NAN),
        ];
        let mut parameters = Parameters::from(values);
        parameters.set("name", ScalarValue::from(true));
        for (placeholder, literal) in [
            ("$1", "(-7)"),
            ("$2", "'it''s'"),
            ("$3", "1.5e0"),
            ("$4", "CAST('-12.34' AS DECIMAL(10,2))"),
            ("$5", "DATE '1970-01-02'"),
            ("$6", "X'00FF'"),
            ("$7", "NULL"),
            ("$8", "arrow_cast('1970-01-01T00:00:01.000001Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"),
            ("$9", "CAST('NaN' AS DOUBLE)"),
            (":name", "true"),
            ("$name", "true"),
        ] {
            assert_eq!(bound(&format!("SELECT {placeholder}"), &parameters).unwrap(), format!("SELECT {literal}"));
        }
        let sql = "SELECT '$1' FROM t WHERE a = $1 AND b IN (SELECT c FROM s LIMIT $1)";
        assert_eq!(bound(sql, &parameters).unwrap(), sql.replace("= $1", "= (-7)").replace("LIMIT $1", "LIMIT (-7)"));
    }

    #[test]
    fn a_placeholder_without_a_value_is_named() {
        let mut parameters = Parameters::from(vec![ScalarValue::from(1_i64)]);
        let error = |sql: &str, parameters: &Parameters| bound(sql, parameters).unwrap_err().to_string();
        assert_eq!(error("SELECT $2", &parameters), "the parameter $2 has no value: given are $1");
        assert_eq!(error("SELECT :day", &Parameters::default()), "the parameter :day has no value: none are given");
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&[], &DataType::Int64));
        parameters.set("day", list);
        assert!(error("SELECT :day", &parameters).starts_with("the parameter :day cannot be of type List"));
    }
}
