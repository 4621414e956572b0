//! The dialect of the parts of statements that sqlparser parses here.

use std::any::TypeId;

use deltalakedb_table::datafusion::sql::sqlparser::ast::ColumnOption;
use deltalakedb_table::datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect};
use deltalakedb_table::datafusion::sql::sqlparser::keywords::Keyword;
use deltalakedb_table::datafusion::sql::sqlparser::parser::{Parser, ParserError};
use deltalakedb_table::datafusion::sql::sqlparser::tokenizer::Token;

/// PostgreSQL's dialect, where columns can be called `key` or `index`.
#[derive(Debug)]
pub(crate) struct RowTableDialect;

impl Dialect for RowTableDialect {
    fn dialect(&self) -> TypeId {
        TypeId::of::<PostgreSqlDialect>()
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        PostgreSqlDialect {}.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        PostgreSqlDialect {}.is_identifier_part(ch)
    }

    /// So that an array is refused as a type.
    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }

    /// Keeps an option of other dialects, which the parser would drop without an error.
    fn parse_column_option(
        &self,
        parser: &mut Parser<'_>,
    ) -> Result<Option<Result<Option<ColumnOption>, ParserError>>, ParserError> {
        let words = [Keyword::AUTO_INCREMENT, Keyword::AUTOINCREMENT];
        let found = parser.parse_one_of_keywords(&words);
        Ok(found.map(|_| Ok(Some(ColumnOption::DialectSpecific(vec![Token::make_keyword("AUTO_INCREMENT")])))))
    }
}
