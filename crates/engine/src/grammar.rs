//! The statements of row tables that sqlparser does not know.
//!
//! ```sql
//! CREATE NAMESPACE [IF NOT EXISTS] app;
//! CREATE SHARED TABLE [IF NOT EXISTS] app.rates (ccy TEXT, day DATE, px DOUBLE NOT NULL, PRIMARY KEY (ccy, day));
//! DROP TABLE [IF EXISTS] app.rates;
//! FLUSH TABLE app.rates;
//! FLUSH ALL;
//! ```
//!
//! They are recognized by their first words. sqlparser parses what follows these: names and the definitions of columns.

use deltalakedb_log::{Result, TableName, TxnLogError};
use deltalakedb_table::datafusion::common::DataFusionError;
use deltalakedb_table::datafusion::sql::sqlparser::keywords::Keyword;
use deltalakedb_table::datafusion::sql::sqlparser::parser::{Parser, ParserError};
use deltalakedb_table::datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use deltalakedb_table::query_error;

use crate::create_table::define;
use crate::definition::{TableDefinition, check_new_namespace};
use crate::dialect::RowTableDialect;
use crate::names;

/// A statement of row tables.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RowStatement {
    /// `CREATE NAMESPACE`.
    CreateNamespace {
        /// The name.
        name: String,
        /// Whether it may exist already.
        if_not_exists: bool,
    },
    /// `CREATE SHARED TABLE`.
    CreateTable {
        /// The new table.
        definition: Box<TableDefinition>,
        /// Whether a table of that name may exist already.
        if_not_exists: bool,
    },
    /// `DROP TABLE`, of a table that may not be a row table.
    DropTable(TableName),
    /// `FLUSH TABLE`.
    FlushTable(TableName),
    /// `FLUSH ALL`.
    FlushAll,
}

/// The statement that the first words name.
#[derive(Clone, Copy)]
enum Command {
    CreateNamespace,
    CreateSharedTable,
    DropTable,
    Flush,
}

const FLUSH: &str = "expected FLUSH TABLE NAME, of one table, or FLUSH ALL";

/// The number of tokens from which on an item of a list is refused: the parser needs stack for each token.
const MAX_ITEM_TOKENS: usize = 256;

/// `AS USER 'alice'` is within this number of tokens, after the name of the table.
const AS_USER_END: usize = 8;

impl RowStatement {
    /// Parses the tokens of one statement, which may include white space; `None` if it is not one of row tables.
    ///
    /// Fails if it is one and invalid, or uses what row tables do not support.
    pub fn parse(tokens: &[TokenWithSpan]) -> Result<Option<Self>> {
        let Some((command, words)) = command(tokens)? else { return Ok(None) };
        check_size(tokens)?;
        let mut parser = Parser::new(&RowTableDialect).with_tokens_with_locations(tokens.to_vec());
        for _ in 0..words {
            parser.advance_token();
        }
        let statement = match command {
            Command::CreateNamespace => create_namespace(&mut parser)?,
            Command::CreateSharedTable => create_shared_table(&mut parser)?,
            Command::DropTable => return Ok(drop_table(&mut parser)),
            Command::Flush => flush(&mut parser)?,
        };
        Ok(Some(statement))
    }
}

/// The command with which a statement begins, and the number of its words.
fn command(tokens: &[TokenWithSpan]) -> Result<Option<(Command, usize)>> {
    let is_space = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_));
    let words = tokens.iter().filter(is_space).map_while(|token| match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    });
    let words: Vec<_> = words.take(5).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["CREATE", "NAMESPACE", ..] => Ok(Some((Command::CreateNamespace, 2))),
        ["CREATE", "SHARED", "TABLE", ..] => Ok(Some((Command::CreateSharedTable, 3))),
        ["DROP", "TABLE", ..] => Ok(Some((Command::DropTable, 2))),
        ["FLUSH", ..] => Ok(Some((Command::Flush, 1))),
        ["CREATE", kind @ ("USER" | "STREAM"), "TABLE", ..] => Err(TxnLogError::invalid(format!(
            "CREATE {kind} TABLE is not supported: row tables are created with CREATE SHARED TABLE"
        ))),
        ["CREATE", "OR", "REPLACE", kind @ ("SHARED" | "USER" | "STREAM"), "TABLE"] => Err(TxnLogError::invalid(
            format!("CREATE OR REPLACE {kind} TABLE is not supported: use DROP TABLE and CREATE SHARED TABLE"),
        )),
        ["COMPACT", "TABLE", ..] => Err(not_yet("COMPACT TABLE")),
        ["KILL", "JOB", ..] => Err(not_yet("KILL JOB")),
        ["SHOW", "JOBS", ..] => Err(not_yet("SHOW JOBS")),
        ["SHOW", "MANIFEST", ..] => Err(not_yet("SHOW MANIFEST")),
        [verb @ ("CREATE" | "ALTER" | "DROP"), "USER", ..] => Err(not_yet(&format!("{verb} USER"))),
        ["EXECUTE", "AS", ..] => Err(not_yet("EXECUTE AS USER")),
        ["AS", "USER", ..] => Err(not_yet("AS USER")),
        ["INSERT" | "UPDATE" | "DELETE", ..] if is_as_user(tokens) => Err(not_yet("AS USER")),
        _ => Ok(None),
    }
}

/// Whether a change is one in the name of a user: `DELETE FROM app.notes AS USER 'alice'`.
fn is_as_user(tokens: &[TokenWithSpan]) -> bool {
    let tokens = tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    let first: Vec<_> = tokens.take(AS_USER_END).collect();
    first.windows(3).any(|next| {
        is_word(next[0], "AS") && is_word(next[1], "USER") && matches!(next[2], Token::SingleQuotedString(_))
    })
}

fn is_word(token: &Token, name: &str) -> bool {
    match token {
        Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name),
        _ => false,
    }
}

fn not_yet(statement: &str) -> TxnLogError {
    TxnLogError::invalid(format!("{statement} is not supported yet"))
}

/// An error for an item of a list that is so long that it could exhaust the stack of the parser, which limits only some
/// of its recursions. Items are separated by the commas of the outermost list.
fn check_size(tokens: &[TokenWithSpan]) -> Result<()> {
    let (mut depth, mut length) = (0_usize, 0);
    for token in tokens {
        match token.token {
            Token::Whitespace(_) => continue,
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Comma if depth <= 1 => length = 0,
            _ => {}
        }
        length += 1;
        if length > MAX_ITEM_TOKENS {
            let at = token.span.start;
            return Err(TxnLogError::invalid(format!(
                "the SQL cannot be read: a part without commas has more than {MAX_ITEM_TOKENS} words and signs{at}"
            )));
        }
    }
    Ok(())
}

fn create_namespace(parser: &mut Parser<'_>) -> Result<RowStatement> {
    let if_not_exists = parser.parse_keywords(&[Keyword::IF, Keyword::NOT, Keyword::EXISTS]);
    let name = parser.parse_object_name(false).map_err(unreadable)?;
    end(parser)?;
    let name = names::namespace(&name)?;
    check_new_namespace(&name)?;
    Ok(RowStatement::CreateNamespace { name, if_not_exists })
}

fn create_shared_table(parser: &mut Parser<'_>) -> Result<RowStatement> {
    let create = parser.parse_create_table(false, false, None, false).map_err(unreadable)?;
    end(parser)?;
    let if_not_exists = create.if_not_exists;
    Ok(RowStatement::CreateTable { definition: Box::new(define(create)?), if_not_exists })
}

/// Anything but one name, which exists or need not, is for the session to refuse.
fn drop_table(parser: &mut Parser<'_>) -> Option<RowStatement> {
    let _ = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
    let name = parser.parse_object_name(false).ok()?;
    end(parser).ok()?;
    names::table_name(&name).ok().map(RowStatement::DropTable)
}

fn flush(parser: &mut Parser<'_>) -> Result<RowStatement> {
    let statement = match parser.parse_one_of_keywords(&[Keyword::TABLE, Keyword::ALL]) {
        Some(Keyword::TABLE) => {
            let name = parser.parse_object_name(false).map_err(unreadable)?;
            RowStatement::FlushTable(names::table_name(&name)?)
        }
        Some(_) => RowStatement::FlushAll,
        None => return Err(TxnLogError::invalid(format!("this FLUSH cannot be read: {FLUSH}"))),
    };
    if parser.peek_token_ref().token == Token::EOF {
        Ok(statement)
    } else {
        Err(TxnLogError::invalid(format!("this FLUSH cannot be read: {FLUSH}")))
    }
}

fn end(parser: &Parser<'_>) -> Result<()> {
    match parser.peek_token() {
        end if end.token == Token::EOF => Ok(()),
        more => parser.expected("end of statement", more).map_err(unreadable),
    }
}

fn unreadable(e: ParserError) -> TxnLogError {
    query_error(DataFusionError::SQL(Box::new(e), None), "the SQL cannot be read")
}

#[cfg(test)]
mod tests;
