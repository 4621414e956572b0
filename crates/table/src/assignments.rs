//! Parses `column = value, …`.

use datafusion::sql::sqlparser::ast::AssignmentTarget;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use deltalakedb_log::{Result, Subject, TxnLogError};

use crate::delta_rs::Assignments;
use crate::error::message_of;
use crate::identifiers::quoted;

/// Parses the assignments of an update: columns, quoted for expressions, and values in SQL.
///
/// ```
/// use deltalakedb_table::parse_assignments;
///
/// let set = parse_assignments("a = a + 1, b = 'x'").unwrap();
/// assert_eq!(set[0], ("\"a\"".to_string(), "a + 1".to_string()));
/// ```
pub fn parse_assignments(sql: &str) -> Result<Vec<(String, String)>> {
    match parse_clause(sql)? {
        (Assignments::Columns(columns), None) => Ok(columns),
        (Assignments::All, _) => Err(wrong(sql, "`*` is not allowed here")),
        (_, Some(_)) => Err(wrong(sql, "a condition is not allowed here")),
    }
}

/// Parses the assignments of a merge clause, `*` or a list, and the condition that may follow:
/// `price = source.price WHERE source.price > 0`.
pub fn parse_clause(sql: &str) -> Result<(Assignments, Option<String>)> {
    let failed = |e: ParserError| wrong(sql, &message_of(&e)).about(Subject::Syntax);
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(sql).map_err(failed)?;
    let set = if parser.consume_token(&Token::Mul) {
        Assignments::All
    } else {
        let all = parser.parse_comma_separated(Parser::parse_assignment).map_err(failed)?;
        let one = |a: datafusion::sql::sqlparser::ast::Assignment| Ok((column(sql, &a.target)?, a.value.to_string()));
        Assignments::Columns(all.into_iter().map(one).collect::<Result<_>>()?)
    };
    let condition = if parser.parse_keyword(Keyword::WHERE) {
        Some(parser.parse_expr().map_err(failed)?.to_string())
    } else {
        None
    };
    match parser.peek_token().token {
        Token::EOF => Ok((set, condition)),
        other => Err(wrong(sql, &format!("{other} is unexpected"))),
    }
}

/// The assigned column, quoted. It may be qualified by the table as `target`.
fn column(sql: &str, target: &AssignmentTarget) -> Result<String> {
    let parts = match target {
        AssignmentTarget::ColumnName(name) => name.0.iter().map(|part| part.as_ident()).collect::<Option<Vec<_>>>(),
        AssignmentTarget::Tuple(_) => None,
    };
    match parts.as_deref() {
        Some([column]) => Ok(quoted(&column.value)),
        Some([table, column]) if table.value == "target" => Ok(quoted(&column.value)),
        _ => Err(wrong(sql, &format!("{target} is not a column, and only whole columns can be set"))),
    }
}

fn wrong(sql: &str, why: &str) -> TxnLogError {
    TxnLogError::invalid(format!("invalid assignment {sql:?}: {why}; expected for example price = price * 2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, want: &[(&str, &str)], condition: Option<&str>) {
        let want = want.iter().map(|(c, v)| (c.to_string(), v.to_string())).collect();
        assert_eq!(parse_clause(sql).unwrap(), (Assignments::Columns(want), condition.map(String::from)), "{sql}");
    }

    #[test]
    fn assignments_are_split_into_columns_values_and_condition() {
        check("a = a + 1", &[("\"a\"", "a + 1")], None);
        check(r#""A b"='x=1, y', target.c = f(1, 2)"#, &[("\"A b\"", "'x=1, y'"), ("\"c\"", "f(1, 2)")], None);
        check("a = source.a where source.a > 'it''s'", &[("\"a\"", "source.a")], Some("source.a > 'it''s'"));
        assert_eq!(parse_clause("* WHERE a = 1").unwrap(), (Assignments::All, Some("a = 1".into())));
    }

    #[test]
    fn invalid_assignments_are_refused_with_the_reason() {
        for (sql, says) in [
            ("", "EOF"),
            ("a", "Expected: ="),
            ("a = ", "Expected: an expression"),
            ("a = 1 b", "b is unexpected"),
            ("a.b.c = 1", "only whole columns"),
            ("(a, b) = (1, 2)", "only whole columns"),
            ("a = 'x", "Unterminated"),
            ("*", "`*` is not allowed here"),
            ("a = 1 where b = 2", "a condition is not allowed"),
        ] {
            let e = parse_assignments(sql).unwrap_err().to_string();
            assert!(e.contains(says) && e.contains("price = price * 2"), "{e}");
        }
    }
}
