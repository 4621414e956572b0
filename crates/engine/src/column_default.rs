//! Defaults of columns, and their expressions in SQL.

use std::fmt;

use arrow::datatypes::DataType;
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::datafusion::common::ScalarValue;
use deltalakedb_table::datafusion::sql::sqlparser::ast::Expr;
use deltalakedb_table::datafusion::sql::sqlparser::parser::{Parser, ParserError};
use deltalakedb_table::datafusion::sql::sqlparser::tokenizer::Token;

use crate::column_type::sql_name;
use crate::dialect::RowTableDialect;
use crate::literal::Literal;

/// The value of a column in a new row that does not give it one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ColumnDefault {
    /// `SNOWFLAKE_ID()`: a new BIGINT, greater than all that were assigned before.
    SnowflakeId,
    /// `UUID_V7()`: a new UUID of version 7 (RFC 9562), greater than all that were assigned before, as text in lower
    /// case.
    UuidV7,
    /// `NOW()`: the time of the statement.
    Now,
    /// A value.
    Literal(ScalarValue),
}

const SNOWFLAKE_ID: &str = "SNOWFLAKE_ID()";
const UUID_V7: &str = "UUID_V7()";
const NOW: &str = "NOW()";

impl ColumnDefault {
    /// Parses the text of a default of a column of this type, as [`Display`](fmt::Display) writes it.
    pub(crate) fn parse(sql: &str, data_type: &DataType) -> Result<Self> {
        let expr = parse_expr(sql).map_err(|e| {
            TxnLogError::invalid(format!("the default {sql:?} is not an expression of SQL")).with_source(e)
        })?;
        let default =
            Self::of_expr(&expr, data_type).map_err(|why| TxnLogError::invalid(format!("the default {why}")))?;
        default.ok_or_else(|| TxnLogError::invalid("NULL is not a default"))
    }

    /// The default that an expression describes, for a column of this type; `None` for `NULL`.
    ///
    /// If it is not supported, the text says why, and begins with the expression.
    pub(crate) fn of_expr(expr: &Expr, data_type: &DataType) -> Result<Option<Self>, String> {
        let default = match expr.to_string().to_ascii_uppercase().as_str() {
            "NULL" => return Ok(None),
            SNOWFLAKE_ID => Self::SnowflakeId,
            UUID_V7 => Self::UuidV7,
            NOW | "CURRENT_TIMESTAMP" => Self::Now,
            _ => {
                let literal = Literal::of_expr(expr).ok_or_else(|| {
                    format!("{expr} is not supported: expected a literal, {SNOWFLAKE_ID}, {UUID_V7} or {NOW}")
                })?;
                let value = literal.to_value(data_type);
                Self::Literal(value.ok_or_else(|| format!("{expr} {}", not_of_type(data_type)))?)
            }
        };
        default.check(data_type)?;
        Ok(Some(default))
    }

    /// An error that begins with the expression, if it is not a default of columns of this type.
    pub(crate) fn check(&self, data_type: &DataType) -> Result<(), String> {
        let (fits, expected) = match self {
            Self::SnowflakeId => (*data_type == DataType::Int64, "a BIGINT"),
            Self::UuidV7 => (*data_type == DataType::Utf8, "a UUID"),
            Self::Now => (matches!(data_type, DataType::Timestamp(..)), "a TIMESTAMP"),
            Self::Literal(value) => {
                // It is stored as text.
                let read_again = Literal::of_value(value).and_then(|literal| literal.to_value(data_type));
                // Equal values may be times with and without a zone.
                return if value.data_type() == *data_type && read_again.as_ref() == Some(value) {
                    Ok(())
                } else {
                    Err(format!("{self} {}", not_of_type(data_type)))
                };
            }
        };
        if fits {
            Ok(())
        } else {
            Err(format!("{self} is {expected}, but the column is of type {}", sql_name(data_type)))
        }
    }
}

impl fmt::Display for ColumnDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SnowflakeId => f.write_str(SNOWFLAKE_ID),
            Self::UuidV7 => f.write_str(UUID_V7),
            Self::Now => f.write_str(NOW),
            Self::Literal(value) => match Literal::of_value(value) {
                Some(literal) => literal.fmt(f),
                None => f.write_str("NULL"),
            },
        }
    }
}

fn parse_expr(sql: &str) -> Result<Expr, ParserError> {
    let mut parser = Parser::new(&RowTableDialect).try_with_sql(sql)?;
    let expr = parser.parse_expr()?;
    match parser.peek_token() {
        end if end.token == Token::EOF => Ok(expr),
        more => parser.expected("the end of the expression", more),
    }
}

fn not_of_type(data_type: &DataType) -> String {
    let spelling = match data_type {
        DataType::Utf8 => ": text is in quotes",
        DataType::Binary => ": write bytes as X'00FF'",
        DataType::Date32 => ": write a date as '2024-01-31'",
        DataType::Timestamp(_, Some(_)) => ": write a time as '2024-01-31T12:00:00Z'",
        DataType::Timestamp(_, None) => ": write a time as '2024-01-31T12:00:00'",
        _ => "",
    };
    format!("is not exactly a value of type {}{spelling}", sql_name(data_type))
}
