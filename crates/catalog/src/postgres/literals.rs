//! Statements with inlined parameters.

use deltalakedb_log::{Result, TxnLogError};

use crate::database::Value;

/// A statement of at least this many bytes is sent on its own.
pub(super) const MAX_BYTES: usize = 4 << 20;

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    out.reserve(2 * bytes.len() + 16);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

pub(super) fn check_text(text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(TxnLogError::invalid(format!("PostgreSQL text cannot hold a NUL, as {text:?} does")));
    }
    Ok(())
}

/// The statement as sent: its tables with their schema, its parameters inlined.
pub(super) fn spelled(schema: &str, sql: &str, params: &[Value]) -> Result<String> {
    let mut out = String::with_capacity(sql.len() + 32 * params.len());
    let mut params = params.iter();
    let mut before = ' ';
    for (at, c) in sql.char_indices() {
        let begins_word = !before.is_alphanumeric() && !matches!(before, '_' | '.' | '"' | '\'');
        // A new index is in its table's schema by default.
        if begins_word && sql[at..].starts_with("dl_") && !out.ends_with("CREATE INDEX ") {
            out.push_str(schema);
            out.push('.');
        }
        match (c, params.as_slice().first()) {
            ('?', Some(value)) => {
                out.push_str(&literal(value)?);
                params.next();
            }
            _ => out.push(c),
        }
        before = c;
    }
    Ok(out)
}

/// A value as an SQL literal that does not depend on the server's settings for quotes.
fn literal(value: &Value) -> Result<String> {
    Ok(match value {
        Value::Null => "NULL".into(),
        Value::Int(n) if *n >= 0 => n.to_string(),
        Value::Int(n) => format!("'{n}'::bigint"),
        Value::Text(text) => {
            check_text(text)?;
            format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
        }
        Value::Blob(bytes) => {
            let mut hex = String::from("E'\\\\x");
            push_hex(&mut hex, bytes);
            hex.push_str("'::bytea");
            hex
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_into_statements() {
        let check = |sql: &str, params: &[Value], want: &str| {
            assert_eq!(spelled("\"s\"", sql, params).unwrap(), want);
        };
        check(
            "SELECT 1 FROM dl_t t WHERE t.dl_x = ?",
            &[Value::Int(-1)],
            "SELECT 1 FROM \"s\".dl_t t WHERE t.dl_x = '-1'::bigint",
        );
        check("CREATE INDEX dl_i ON dl_t (a)", &[], "CREATE INDEX dl_i ON \"s\".dl_t (a)");
        check(
            "DROP INDEX dl_i;\nCREATE INDEX dl_i ON dl_t (a)",
            &[],
            "DROP INDEX \"s\".dl_i;\nCREATE INDEX dl_i ON \"s\".dl_t (a)",
        );
        check("SET n = dl_t.n + ?", &[Value::Int(1)], "SET n = \"s\".dl_t.n + 1");
        let odd = Value::Text("it's \\ dl_x ?".into());
        check("? ?", &[odd, Value::Blob(vec![0, 255])], "E'it''s \\\\ dl_x ?' E'\\\\x00ff'::bytea");
        assert!(spelled("s", "?", &[Value::Text("\0".into())]).is_err());
    }
}
