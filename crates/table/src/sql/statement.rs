//! Splits text into statements and classifies them.

use std::collections::VecDeque;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    AlterTable, AlterTableOperation, CreateTable, Delete, FromTable, Insert, ObjectName, ObjectType,
    RenameTableNameKind, SchemaName, ShowStatementOptions, Statement as Ast, TableFactor, TableObject,
    TransactionIsolationLevel, TransactionMode, Update,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};
use deltalakedb_log::{Result, TxnLogError};

use super::dialect::DeltaDialect;
use super::guest::{GuestStatement, SqlGuest};
use super::parameters::Parameters;
use crate::error::Explain;

pub(super) enum ParsedStatement {
    /// A statement of the guest.
    Guest(Box<dyn GuestStatement>),
    /// A query, planned by DataFusion.
    Query(Box<Statement>),
    ShowTables(Box<ShowStatementOptions>),
    ShowNamespaces,
    Describe(ObjectName),
    Begin {
        serializable: bool,
    },
    Commit,
    Rollback,
    Insert(Box<Insert>, Box<Statement>),
    Update(Box<Update>),
    Delete(Box<Delete>),
    Create(Box<CreateTable>),
    Drop {
        name: ObjectName,
        if_exists: bool,
    },
    CreateNamespace {
        name: ObjectName,
        if_not_exists: bool,
    },
    DropNamespace {
        name: ObjectName,
        if_exists: bool,
    },
    Rename {
        from: ObjectName,
        to: ObjectName,
        if_exists: bool,
    },
}

impl ParsedStatement {
    /// The relation whose rows the statement changes, if its syntax names one.
    pub(super) fn changed_relation(&self) -> Option<&ObjectName> {
        let table = match self {
            Self::Insert(insert, _) => match &insert.table {
                TableObject::TableName(name) => return Some(name),
                _ => return None,
            },
            Self::Update(update) => &update.table,
            Self::Delete(delete) => match &delete.from {
                FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from) => from.first()?,
            },
            _ => return None,
        };
        match &table.relation {
            TableFactor::Table { name, args: None, .. } => Some(name),
            _ => None,
        }
    }

    /// The syntax tree of a statement that changes rows.
    pub(super) fn into_change(self) -> Option<Ast> {
        match self {
            Self::Insert(insert, _) => Some(Ast::Insert(*insert)),
            Self::Update(update) => Some(Ast::Update(*update)),
            Self::Delete(delete) => Some(Ast::Delete(*delete)),
            _ => None,
        }
    }
}

/// Statements that are parsed one after the other, each on request.
pub(super) struct Statements(VecDeque<Vec<TokenWithSpan>>);

impl Statements {
    pub(super) fn of(text: &str) -> Result<Self> {
        let tokens = tokens(text).explain(|| "the SQL cannot be read".into())?;
        let parts = tokens.split(|t| t.token == Token::SemiColon);
        let statements = parts.filter(|part| part.iter().any(|t| !matches!(t.token, Token::Whitespace(_))));
        Ok(Self(statements.map(<[_]>::to_vec).collect()))
    }

    /// The next statement, which may be one of the guest; `None` after the last. Its placeholders get the values of the
    /// parameters; without any they are left as they are.
    pub(super) fn next(
        &mut self,
        guest: Option<&dyn SqlGuest>,
        parameters: Option<&Parameters>,
    ) -> Option<Result<ParsedStatement>> {
        let tokens = self.0.pop_front()?;
        match guest.map(|guest| guest.claim(&tokens)) {
            Some(Err(e)) => Some(Err(e)),
            Some(Ok(Some(claimed))) => Some(Ok(ParsedStatement::Guest(claimed))),
            Some(Ok(None)) | None => Some(read(tokens, guest, parameters)),
        }
    }

    pub(super) fn stop(&mut self) {
        self.0.clear();
    }
}

/// The effects of statements, as far as their text shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptSummary {
    /// How many of them return rows, up to the first that cannot be parsed.
    pub results: usize,
    /// Whether one of them writes.
    pub writes: bool,
}

impl ScriptSummary {
    /// Analyzes statements without running them.
    pub fn of(text: &str) -> Result<Self> {
        Self::with_guest(text, None)
    }

    pub(super) fn with_guest(text: &str, guest: Option<&dyn SqlGuest>) -> Result<Self> {
        let (mut statements, mut outlook) = (Statements::of(text)?, Self::default());
        while let Some(Ok(parsed)) = statements.next(guest, None) {
            match parsed {
                ParsedStatement::Query(_)
                | ParsedStatement::ShowTables(_)
                | ParsedStatement::ShowNamespaces
                | ParsedStatement::Describe(_) => {
                    outlook.results += 1;
                }
                ParsedStatement::Insert(..)
                | ParsedStatement::Update(_)
                | ParsedStatement::Delete(_)
                | ParsedStatement::Create(_)
                | ParsedStatement::Guest(_) => outlook.writes = true,
                ParsedStatement::CreateNamespace { .. } => outlook.writes = true,
                // A catalog that does not exist has no table to drop or to rename.
                ParsedStatement::Drop { .. }
                | ParsedStatement::DropNamespace { .. }
                | ParsedStatement::Rename { .. } => {}
                ParsedStatement::Begin { .. } | ParsedStatement::Commit | ParsedStatement::Rollback => {}
            }
        }
        Ok(outlook)
    }
}

/// Whether a text ends after a complete statement: it is empty, or ends with `;` outside quotes and comments.
pub(super) fn is_complete(text: &str) -> bool {
    let Ok(tokens) = tokens(text) else { return false };
    let last = tokens.iter().rev().find(|t| !matches!(t.token, Token::Whitespace(_)));
    last.is_none_or(|t| t.token == Token::SemiColon)
}

fn tokens(text: &str) -> std::result::Result<Vec<TokenWithSpan>, TokenizerError> {
    Tokenizer::new(&DeltaDialect, text).tokenize_with_location()
}

fn read(
    tokens: Vec<TokenWithSpan>,
    guest: Option<&dyn SqlGuest>,
    parameters: Option<&Parameters>,
) -> Result<ParsedStatement> {
    let cannot = || "the SQL cannot be read".to_string();
    let mut parser = DFParserBuilder::new(tokens).with_dialect(&DeltaDialect).build().explain(cannot)?;
    let mut statements = parser.parse_statements().explain(cannot)?;
    match statements.pop_front() {
        Some(mut statement) => {
            if let Some(ast) = syntax_tree(&mut statement) {
                parameters.map_or(Ok(()), |parameters| parameters.bind(ast))?;
                guest.map_or(Ok(()), |guest| guest.rewrite(ast))?;
            }
            parsed(statement)
        }
        None => Err(TxnLogError::invalid("the SQL cannot be read: it has no statement")),
    }
}

/// The syntax tree of a statement, or of the one that it explains.
fn syntax_tree(statement: &mut Statement) -> Option<&mut Ast> {
    match statement {
        Statement::Statement(ast) => Some(ast),
        Statement::Explain(explain) => syntax_tree(&mut explain.statement),
        _ => None,
    }
}

fn parsed(statement: Statement) -> Result<ParsedStatement> {
    let ast = match statement {
        Statement::Statement(ast) => *ast,
        Statement::Explain(explain) => {
            return match parsed((*explain.statement).clone())? {
                ParsedStatement::Query(_) => Ok(ParsedStatement::Query(Box::new(Statement::Explain(explain)))),
                _ => Err(TxnLogError::invalid("EXPLAIN is for queries: expected EXPLAIN SELECT …")),
            };
        }
        Statement::CreateExternalTable(_) => {
            return refuse("CREATE EXTERNAL TABLE", "`dl import LOCATION --as NAME` imports a table");
        }
        Statement::CopyTo(_) => return refuse("COPY", "`dl sql --format parquet` or `--format csv` exports rows"),
        Statement::Reset(_) => return refuse("RESET", "settings are given with --set"),
    };
    match ast {
        ast @ Ast::Query(_) => Ok(ParsedStatement::Query(Box::new(Statement::Statement(Box::new(ast))))),
        Ast::ShowTables { show_options, .. } => Ok(ParsedStatement::ShowTables(Box::new(show_options))),
        Ast::ShowSchemas { show_options, .. } => match show_options {
            ShowStatementOptions { show_in: None, starts_with: None, limit: None, filter_position: None, .. } => {
                Ok(ParsedStatement::ShowNamespaces)
            }
            _ => refuse("this SHOW SCHEMAS", "expected SHOW SCHEMAS, without a condition"),
        },
        Ast::ExplainTable { table_name, .. } => Ok(ParsedStatement::Describe(table_name)),
        Ast::StartTransaction { modes, modifier, statements, .. } => {
            use TransactionIsolationLevel::{Serializable, Snapshot};
            use TransactionMode::IsolationLevel;
            match (&modes[..], modifier.is_none() && statements.is_empty()) {
                ([] | [IsolationLevel(Snapshot)], true) => Ok(ParsedStatement::Begin { serializable: false }),
                ([IsolationLevel(Serializable)], true) => Ok(ParsedStatement::Begin { serializable: true }),
                _ => refuse("this BEGIN", "expected BEGIN [ISOLATION LEVEL SNAPSHOT | SERIALIZABLE]"),
            }
        }
        Ast::Commit { chain: false, end: false, .. } => Ok(ParsedStatement::Commit),
        Ast::Rollback { chain: false, savepoint: None } => Ok(ParsedStatement::Rollback),
        Ast::Insert(insert) => {
            let whole = Statement::Statement(Box::new(Ast::Insert(insert.clone())));
            Ok(ParsedStatement::Insert(Box::new(insert), Box::new(whole)))
        }
        Ast::Update(update) => Ok(ParsedStatement::Update(Box::new(update))),
        Ast::Delete(delete) => Ok(ParsedStatement::Delete(Box::new(delete))),
        Ast::CreateTable(create) => Ok(ParsedStatement::Create(Box::new(create))),
        Ast::Drop { object_type: ObjectType::Table, if_exists, names, purge, cascade, temporary, .. } => {
            match <[ObjectName; 1]>::try_from(names) {
                _ if purge => {
                    refuse("DROP TABLE … PURGE", "`dl drop NAME --delete-files` deletes the files of a table")
                }
                Ok([name]) if !cascade && !temporary => Ok(ParsedStatement::Drop { name, if_exists }),
                _ => refuse("this DROP TABLE", "expected DROP TABLE [IF EXISTS] NAME, one table at a time"),
            }
        }
        Ast::CreateSchema {
            schema_name: SchemaName::Simple(name),
            if_not_exists,
            with: None,
            options: None,
            default_collate_spec: None,
            clone: None,
        } => Ok(ParsedStatement::CreateNamespace { name, if_not_exists }),
        Ast::CreateSchema { .. } => refuse("this CREATE SCHEMA", "expected CREATE SCHEMA [IF NOT EXISTS] NAME"),
        Ast::Drop { object_type: ObjectType::Schema, if_exists, names, purge, cascade, temporary, .. } => {
            match <[ObjectName; 1]>::try_from(names) {
                Ok([name]) if !cascade && !purge && !temporary => {
                    Ok(ParsedStatement::DropNamespace { name, if_exists })
                }
                _ => refuse("this DROP SCHEMA", "expected DROP SCHEMA [IF EXISTS] NAME, of one without tables"),
            }
        }
        Ast::AlterTable(alter) => rename(alter),
        other => refused(&other),
    }
}

/// The only form of ALTER TABLE that SQL supports.
fn rename(alter: AlterTable) -> Result<ParsedStatement> {
    let plain = !alter.only && alter.location.is_none() && alter.on_cluster.is_none() && alter.table_type.is_none();
    match <[AlterTableOperation; 1]>::try_from(alter.operations) {
        Ok([AlterTableOperation::RenameTable { table_name: RenameTableNameKind::To(to) }]) if plain => {
            Ok(ParsedStatement::Rename { from: alter.name, to, if_exists: alter.if_exists })
        }
        _ => refuse("this ALTER TABLE", "use ALTER TABLE NAME RENAME TO NEW, or `dl alter NAME` for other changes"),
    }
}

/// Statements that are known but not supported here.
fn refused(ast: &Ast) -> Result<ParsedStatement> {
    match ast {
        Ast::Merge(_) => refuse("MERGE", "`dl merge NAME --source S --on SQL` does that"),
        Ast::RenameTable(_) => refuse("RENAME TABLE", "ALTER TABLE NAME RENAME TO NEW does that"),
        Ast::Truncate(_) => refuse("TRUNCATE", "`DELETE FROM` a table without WHERE empties it"),
        Ast::OptimizeTable { .. } => refuse("OPTIMIZE", "`dl optimize NAME` does that"),
        Ast::Vacuum(_) => refuse("VACUUM", "`dl vacuum NAME` does that"),
        Ast::Copy { .. } => refuse("COPY", "`dl write NAME --input FILE` loads rows, `dl sql --format` exports them"),
        Ast::CreateView(_) => refuse("CREATE VIEW", "write the query in WITH"),
        Ast::CreateDatabase { .. } => refuse("CREATE DATABASE", "CREATE SCHEMA NAME makes a namespace"),
        Ast::Savepoint { .. } | Ast::ReleaseSavepoint { .. } => refuse("SAVEPOINT", "transactions have no savepoints"),
        Ast::Set(_) => refuse("SET", "settings are given with --set"),
        other => {
            let text = other.to_string();
            let words: Vec<_> = text.split_whitespace().take_while(|w| w.chars().all(char::is_uppercase)).collect();
            let name = if words.is_empty() { "this statement".into() } else { words[..words.len().min(2)].join(" ") };
            refuse(
                &name,
                "supported are SELECT, EXPLAIN, SHOW TABLES, SHOW SCHEMAS, DESCRIBE, INSERT, UPDATE, DELETE, CREATE \
                 TABLE, DROP TABLE, ALTER TABLE … RENAME TO, CREATE SCHEMA, DROP SCHEMA, BEGIN, COMMIT and ROLLBACK",
            )
        }
    }
}

pub(super) fn refuse<T>(name: &str, instead: &str) -> Result<T> {
    Err(TxnLogError::invalid(format!("{name} is not supported in SQL here: {instead}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_semicolons_outside_of_literals() {
        for (text, complete) in [
            ("", true),
            ("  -- nothing", true),
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT 1; -- done", true),
            ("SELECT ';", false),
            ("SELECT ';'", false),
            ("SELECT \"a;", false),
            ("/* SELECT 1;", false),
            ("SELECT 1; SELECT", false),
        ] {
            assert_eq!(is_complete(text), complete, "{text:?}");
        }
    }

    #[test]
    fn a_script_is_summarized_before_it_runs() {
        let check = |text: &str, results: usize, writes: bool| {
            assert_eq!(ScriptSummary::of(text).unwrap(), ScriptSummary { results, writes }, "{text}");
        };
        check("SELECT 1; BEGIN; INSERT INTO t VALUES (1); COMMIT; SHOW TABLES", 2, true);
        check("EXPLAIN SELECT 1; SELEC 2; SELECT 3", 1, false);
        check("WITH x AS (SELECT 1) SELECT * FROM x; VALUES (1);", 2, false);
        check(" -- nothing", 0, false);
    }

    #[test]
    fn unsupported_statements_name_the_command_to_use() {
        let check = |text: &str, says: &str| {
            let e = Statements::of(text).unwrap().next(None, None).unwrap().err().unwrap();
            let message = e.to_string();
            assert!(message.contains(says) && !message.contains('\n'), "{message}");
        };
        check(
            "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE",
            "MERGE is not supported in SQL here: `dl",
        );
        check("DROP TABLE t PURGE", "`dl drop NAME --delete-files`");
        check("DROP TABLE t, u", "one table at a time");
        check("DROP TABLE t CASCADE", "one table at a time");
        check("RENAME TABLE t TO u", "ALTER TABLE NAME RENAME TO NEW");
        check("ALTER TABLE t ADD COLUMN x INT", "`dl alter NAME`");
        check("VACUUM t", "`dl vacuum NAME`");
        check("OPTIMIZE TABLE t", "`dl optimize NAME`");
        check("TRUNCATE TABLE t", "DELETE FROM");
        check("COPY t TO 'x.csv'", "--format csv");
        check("SET x = 1", "--set");
        check("DROP VIEW v", "DROP VIEW is not supported in SQL here: supported are SELECT");
        check("CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'x'", "`dl import LOCATION --as NAME`");
        check("EXPLAIN DELETE FROM t", "EXPLAIN is for queries");
        check("SELEC 1", "the SQL cannot be read: Expected: an SQL statement, found: SELEC at Line: 1, Column: 1");
        check("SELECT 1 2", "Column: 10");
    }
}
