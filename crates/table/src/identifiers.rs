//! Quoted column names in SQL.

use arrow::datatypes::Schema;
use deltalakedb_log::{Subject, TxnLogError};

/// The name as a quoted SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The column that a key of an update names: first a column with exactly that name, then the name that the key spells
/// in SQL, in quotes or in another case.
pub(crate) fn column_named<'a>(key: &str, columns: &'a Schema) -> Option<&'a str> {
    let bare = unquoted(key);
    let named = |is: &dyn Fn(&str) -> bool| columns.fields().iter().map(|f| f.name().as_str()).find(|name| is(name));
    named(&|name| name == key)
        .or_else(|| named(&|name| name == bare))
        .or_else(|| named(&|name| name.eq_ignore_ascii_case(key)))
        .or_else(|| named(&|name| name.eq_ignore_ascii_case(&bare)))
}

/// The name without SQL quotes.
pub(crate) fn unquoted(key: &str) -> String {
    let within = |quote: char| key.strip_prefix(quote)?.strip_suffix(quote).map(|name| (name, quote));
    match within('"').or_else(|| within('`')) {
        Some((name, quote)) => name.replace(&format!("{quote}{quote}"), &quote.to_string()),
        None => key.to_string(),
    }
}

/// The error for a column that a table does not have.
pub(crate) fn no_column(table: &str, name: &str, schema: &Schema) -> TxnLogError {
    let columns: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let message = format!("{table} has no column {name:?}: it has {}", columns.join(", "));
    TxnLogError::invalid(message).about(Subject::UnknownColumn(name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_key_is_resolved_as_a_name_first() {
        use arrow::datatypes::{DataType, Field};
        let column = |name: &&str| Field::new(*name, DataType::Int64, true);
        let columns = Schema::new(["x.y", "y", "a\"b", "Case", "\"q\""].iter().map(column).collect::<Vec<_>>());
        for (key, want) in [
            ("x.y", Some("x.y")),
            ("\"x.y\"", Some("x.y")),
            ("`x.y`", Some("x.y")),
            ("\"a\"\"b\"", Some("a\"b")),
            ("a\"b", Some("a\"b")),
            ("case", Some("Case")),
            ("\"case\"", Some("Case")),
            ("\"q\"", Some("\"q\"")),
            ("x", None),
            ("t.y", None),
            ("\"", None),
        ] {
            assert_eq!(column_named(key, &columns), want, "{key}");
        }
    }
}
