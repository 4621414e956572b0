//! `dl sql`: statements from the command line, from standard input, or typed interactively.

use std::io::{IsTerminal, Read};
use std::path::Path;

use arrow::datatypes::DataType;
use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::datafusion::common::ScalarValue;
use deltalakedb_table::{Parameters, ScriptSummary};
use serde_json::Value;

use crate::context::CommandContext;
use crate::exit::ExitStatus;
use crate::output::warn;
use crate::shell::Shell;
use crate::sql_session::SqlRunner;

/// Runs the statements; without any, those of standard input, or a shell on a terminal. `data` is a data directory of
/// row tables; `params` are values of placeholders, each `NAME=VALUE`.
pub(crate) async fn run(
    s: &CommandContext,
    statements: Option<String>,
    data: Option<&Path>,
    params: &[String],
) -> Result<ExitStatus> {
    let params = parameters(params)?;
    let text = match statements {
        Some(text) => text,
        None if std::io::stdin().is_terminal() => {
            let mut sql = SqlRunner::open(s, data, false, params).await?;
            let status = match Shell::new(&sql, s.global.quiet) {
                Ok(shell) => shell.run(&mut sql).await,
                Err(e) => Err(e),
            };
            let closed = sql.close().await;
            return status.and_then(|status| closed.map(|_| status));
        }
        None => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|e| TxnLogError::invalid("the statements on standard input cannot be read").with_source(e))?;
            text
        }
    };
    // A catalog that does not exist has no tables to query; it is created with the first table.
    let mut sql = SqlRunner::open(s, data, ScriptSummary::of(&text)?.writes, params).await?;
    let ran = sql.run(&text).await;
    let closed = sql.close().await;
    let rolled_back = matches!(closed, Ok(true));
    if ran.is_err() && rolled_back {
        warn("the transaction was rolled back");
    }
    ran?;
    if closed? {
        Err(TxnLogError::invalid("the transaction was rolled back: the statements end without COMMIT"))
    } else {
        Ok(ExitStatus::Success)
    }
}

fn parameters(params: &[String]) -> Result<Parameters> {
    let mut parameters = Parameters::default();
    for param in params {
        let Some((name, text)) = param.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(TxnLogError::invalid(format!("--param {param} has no value: expected NAME=VALUE")));
        };
        let value = match serde_json::from_str(text) {
            Ok(Value::Null) => ScalarValue::Null,
            Ok(Value::Bool(value)) => value.into(),
            Ok(Value::String(text)) => ScalarValue::from(text),
            Ok(Value::Number(_)) => number(text.trim()).ok_or_else(|| {
                TxnLogError::invalid(format!("--param {param} has too many digits: a decimal has up to 38"))
            })?,
            Ok(Value::Array(_) | Value::Object(_)) => {
                return Err(TxnLogError::invalid(format!(
                    "--param {param} is a list or an object: expected null, true, false, a number or a text"
                )));
            }
            Err(_) => text.into(),
        };
        parameters.set(name, value);
    }
    Ok(parameters)
}

/// The number that digits are in SQL: a decimal with a fraction, a double with an exponent.
fn number(digits: &str) -> Option<ScalarValue> {
    if digits.contains(['e', 'E']) {
        return digits.parse::<f64>().ok().map(ScalarValue::from);
    }
    if let Ok(number) = digits.parse::<i64>() {
        return Some(number.into());
    }
    let scale = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let precision = digits.bytes().filter(u8::is_ascii_digit).count();
    let decimal = DataType::Decimal128(u8::try_from(precision).ok().filter(|p| *p <= 38)?, i8::try_from(scale).ok()?);
    ScalarValue::try_from_string(digits.to_string(), &decimal).ok()
}
