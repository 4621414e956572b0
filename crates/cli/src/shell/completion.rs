//! What can follow where the cursor is: keywords, tables, columns, and the commands of the shell.
//!
//! The statement is not parsed, because it is incomplete. The word before the cursor decides: tables follow FROM and the
//! like, namespaces follow SCHEMA, and columns of the tables that the statement names, or keywords, follow other words.

use std::collections::BTreeSet;

use deltalakedb_log::TableName;

use super::command::COMMANDS;
use super::keywords::{KEYWORDS, is_keyword};
use super::lexer::{LexemeKind, lexemes};

/// The maximum number of candidates.
pub(super) const MAX_CANDIDATES: usize = 1_000;

/// Looks up names that begin with a prefix. What cannot be looked up is not found.
pub(super) trait NameLookup {
    /// The tables of a namespace: all of them, or more than [`MAX_CANDIDATES`].
    fn tables(&self, namespace: &str, prefix: &str) -> Vec<String>;

    fn namespaces(&self, prefix: &str) -> Vec<String>;

    /// The columns of a table, all of them.
    fn columns(&self, table: &TableName) -> Vec<String>;
}

/// The candidates for the word that ends at `position`, and where it begins.
pub(super) fn completions(text: &str, position: usize, names: &dyn NameLookup) -> (usize, Vec<String>) {
    let (start, mut found) = all_completions(text, position, names);
    if found.len() > MAX_CANDIDATES {
        found.truncate(MAX_CANDIDATES);
        // What is typed, so that it is not replaced by a prefix that only these candidates have.
        found.push(text[start..position].to_string());
    }
    (start, found)
}

fn all_completions(text: &str, position: usize, names: &dyn NameLookup) -> (usize, Vec<String>) {
    let before = &text[..position];
    if before.trim_start().starts_with('\\') {
        return command_completions(before, names);
    }
    let all = tokens(text);
    let begun = all.iter().take_while(|token| token.end <= position).count();
    // A word that the cursor divides is completed up to the cursor.
    let mut known = tokens(before);
    let Some(word) = Word::take(&mut known, position) else { return (position, Vec::new()) };
    let known = after_semicolon(&known);
    let rest = all.get(begun..).unwrap_or_default();
    let rest = rest.split(|token| token.is(";")).next().unwrap_or_default();
    let statement: Vec<_> = known.iter().chain(rest).cloned().collect();
    (word.start, word.completions(known, &relations(&statement), names))
}

/// The commands of the shell, and the names that follow some of them.
fn command_completions(before: &str, names: &dyn NameLookup) -> (usize, Vec<String>) {
    let line = before.trim_start();
    let Some((command, _)) = line.split_once(char::is_whitespace) else {
        let found = COMMANDS.iter().filter(|command| command.starts_with(line));
        return (before.len() - line.len(), found.map(ToString::to_string).collect());
    };
    let mut known = tokens(before);
    match (command, Word::take(&mut known, before.len())) {
        ("\\d", Some(word)) => (word.start, word.tables(names)),
        ("\\dt", Some(word)) => (word.start, quoted_names(names.namespaces(&word.prefix), word.is_quoted)),
        _ => (before.len(), Vec::new()),
    }
}

/// A part of a statement that is not white space or a comment.
#[derive(Clone, Debug)]
struct Token {
    kind: LexemeKind,
    /// Without quotes, if it is an identifier.
    text: String,
    start: usize,
    end: usize,
}

impl Token {
    /// Whether it is this keyword, in any case, or this symbol.
    fn is(&self, word: &str) -> bool {
        matches!(self.kind, LexemeKind::Word | LexemeKind::Symbol) && self.text.eq_ignore_ascii_case(word)
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    fn is_identifier(&self) -> bool {
        match self.kind {
            LexemeKind::Quoted => true,
            LexemeKind::Word => !is_keyword(&self.text),
            _ => false,
        }
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for lexeme in lexemes(text) {
        let (kind, part) = (lexeme.kind, &text[lexeme.range.clone()]);
        // A comment at the end may be where the cursor is.
        if kind == LexemeKind::Space || (kind == LexemeKind::Comment && lexeme.range.end < text.len()) {
            continue;
        }
        let part = if kind == LexemeKind::Quoted { unquoted(part) } else { part.to_string() };
        tokens.push(Token { kind, text: part, start: lexeme.range.start, end: lexeme.range.end });
    }
    tokens
}

fn unquoted(identifier: &str) -> String {
    let mut inner = identifier.chars();
    match inner.next() {
        Some(quote) => inner.as_str().strip_suffix(quote).unwrap_or(inner.as_str()).to_string(),
        None => String::new(),
    }
}

fn after_semicolon(tokens: &[Token]) -> &[Token] {
    tokens.rsplit(|token| token.is(";")).next().unwrap_or_default()
}

/// The name before the cursor: perhaps empty, perhaps with the names before its last dot.
struct Word {
    start: usize,
    qualifiers: Vec<String>,
    prefix: String,
    is_quoted: bool,
}

impl Word {
    /// Removes it from the end of the tokens. `None` in what is not completed: literals and comments.
    fn take(tokens: &mut Vec<Token>, position: usize) -> Option<Self> {
        let mut word = Self { start: position, qualifiers: Vec::new(), prefix: String::new(), is_quoted: false };
        let is_name = |token: &Token| matches!(token.kind, LexemeKind::Word | LexemeKind::Quoted);
        if let Some(last) = tokens.pop_if(|token| token.end == position && token.kind != LexemeKind::Symbol) {
            if !is_name(&last) {
                return None;
            }
            (word.start, word.prefix, word.is_quoted) = (last.start, last.text, last.kind == LexemeKind::Quoted);
        }
        let mut start = word.start;
        while let Some(dot) = tokens.pop_if(|token| token.end == start && token.is(".")) {
            let qualifier = tokens.pop_if(|token| token.end == dot.start && is_name(token))?;
            start = qualifier.start;
            word.qualifiers.insert(0, qualifier.text);
        }
        Some(word)
    }

    fn completions(&self, before: &[Token], relations: &[Relation], names: &dyn NameLookup) -> Vec<String> {
        if is_namespace_place(before) {
            return quoted_names(names.namespaces(&self.prefix), self.is_quoted);
        }
        if is_table_place(before) {
            return self.tables(names);
        }
        let columns = self.columns(relations, names);
        if !self.qualifiers.is_empty() {
            return if columns.is_empty() { self.tables(names) } else { columns };
        }
        let mut found: BTreeSet<_> = columns.into_iter().collect();
        if self.is_quoted || (self.prefix.is_empty() && !found.is_empty()) {
            return found.into_iter().collect();
        }
        let lower = self.prefix.contains(char::is_lowercase);
        let aliases = relations.iter().filter_map(|relation| relation.alias.clone());
        found.extend(quoted_names(aliases.filter(|alias| alias.starts_with(&self.prefix)).collect(), false));
        let keywords = KEYWORDS.iter().filter(|keyword| begins_with(keyword, &self.prefix));
        found.extend(keywords.map(|keyword| if lower { keyword.to_lowercase() } else { keyword.to_string() }));
        found.into_iter().collect()
    }

    /// The tables with this prefix, and the namespaces with it, from which the name may continue.
    fn tables(&self, names: &dyn NameLookup) -> Vec<String> {
        match &self.qualifiers[..] {
            [] => {
                let mut found = quoted_names(names.tables("default", &self.prefix), self.is_quoted);
                let namespaces = quoted_names(names.namespaces(&self.prefix), self.is_quoted);
                found.extend(namespaces.into_iter().map(|namespace| format!("{namespace}.")));
                found
            }
            [namespace] => quoted_names(names.tables(namespace, &self.prefix), self.is_quoted),
            _ => Vec::new(),
        }
    }

    /// The columns of the relations of the statement, or of the one that the qualifiers name.
    fn columns(&self, relations: &[Relation], names: &dyn NameLookup) -> Vec<String> {
        let tables: BTreeSet<_> = match &self.qualifiers[..] {
            [] => relations.iter().map(|relation| relation.table.clone()).collect(),
            [name] => {
                let named = relations.iter().filter(|relation| match &relation.alias {
                    Some(alias) => alias == name,
                    None => relation.table.name == *name,
                });
                named.map(|relation| relation.table.clone()).collect()
            }
            [namespace, name] => [TableName { namespace: namespace.clone(), name: name.clone() }].into(),
            _ => BTreeSet::new(),
        };
        let columns = tables.iter().flat_map(|table| names.columns(table));
        let found: BTreeSet<_> = columns.filter(|column| begins_with(column, &self.prefix)).collect();
        quoted_names(found.into_iter().collect(), self.is_quoted)
    }
}

/// Whether a text begins with a prefix, in any case.
fn begins_with(text: &str, prefix: &str) -> bool {
    text.to_lowercase().starts_with(&prefix.to_lowercase())
}

/// The names as SQL has them: in quotes if they need them, or if the word has an opening quote. Those with control
/// characters, which a terminal would interpret, are omitted.
fn quoted_names(names: Vec<String>, is_quoted: bool) -> Vec<String> {
    let quoted = |name: String| {
        let is_plain = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && !is_keyword(&name);
        if is_plain && !is_quoted { name } else { format!("\"{}\"", name.replace('"', "\"\"")) }
    };
    names.into_iter().filter(|name| !name.contains(char::is_control)).map(quoted).collect()
}

/// Whether the name of a namespace follows.
fn is_namespace_place(before: &[Token]) -> bool {
    match before {
        [.., last] if last.is("SCHEMA") || last.is("NAMESPACE") => true,
        [.., show, tables, last] => show.is("SHOW") && tables.is("TABLES") && last.is("IN"),
        _ => false,
    }
}

/// Whether the name of a table follows.
fn is_table_place(before: &[Token]) -> bool {
    match before {
        [only] if only.is_any(&["DESCRIBE", "DESC"]) => true,
        [.., last] if last.is_any(&["FROM", "JOIN", "INTO", "OVERWRITE", "UPDATE", "TABLE"]) => true,
        [earlier @ .., last] if last.is(",") => is_in_from(earlier),
        _ => false,
    }
}

/// Whether the last clause, outside parentheses that are closed, is FROM.
fn is_in_from(before: &[Token]) -> bool {
    const CLAUSES: &[&str] =
        &["SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "SET", "VALUES", "BY", "ON", "USING", "WITH", "INTO"];
    let mut depth = 0_usize;
    for token in before.iter().rev() {
        match (token.is(")"), token.is("("), depth) {
            (true, ..) => depth += 1,
            // The list is in parentheses: arguments, or columns.
            (_, true, 0) => return false,
            (_, true, _) => depth -= 1,
            (.., 0) if token.is_any(CLAUSES) => return token.is("FROM"),
            _ => {}
        }
    }
    false
}

/// A table that a statement names.
struct Relation {
    table: TableName,
    alias: Option<String>,
}

fn relations(tokens: &[Token]) -> Vec<Relation> {
    let mut relations = Vec::new();
    for at in 0..tokens.len() {
        if is_table_place(&tokens[..at]) {
            relations.extend(relation(&tokens[at..]));
        }
    }
    relations
}

/// The relation that begins here: a name, perhaps as of a version, perhaps with an alias.
fn relation(tokens: &[Token]) -> Option<Relation> {
    let (first, mut rest) = tokens.split_first().filter(|(first, _)| first.is_identifier())?;
    let mut table = TableName { namespace: "default".into(), name: first.text.clone() };
    if let [dot, name, after @ ..] = rest
        && dot.is(".")
        && matches!(name.kind, LexemeKind::Word | LexemeKind::Quoted)
    {
        table = TableName { namespace: table.name, name: name.text.clone() };
        rest = after;
    }
    if let [what, when, of, _, after @ ..] = rest
        && what.is_any(&["VERSION", "TIMESTAMP"])
        && when.is("AS")
        && of.is("OF")
    {
        rest = after;
    }
    if let [word, after @ ..] = rest
        && word.is("AS")
    {
        rest = after;
    }
    let alias = rest.first().filter(|token| token.is_identifier()).map(|token| token.text.clone());
    Some(Relation { table, alias })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables `default.events`, `default.odd name`, `web.visits` and `web.visitors`; and many in `many`.
    struct Known;

    impl NameLookup for Known {
        fn tables(&self, namespace: &str, prefix: &str) -> Vec<String> {
            if namespace == "many" {
                return (0..=MAX_CANDIDATES).map(|n| format!("t{n:04}")).collect();
            }
            let tables = [("default", "events"), ("default", "odd name"), ("web", "visitors"), ("web", "visits")];
            let found = tables.iter().filter(|(of, name)| *of == namespace && name.starts_with(prefix));
            found.map(|(_, name)| name.to_string()).collect()
        }

        fn namespaces(&self, prefix: &str) -> Vec<String> {
            ["default", "web"].iter().filter(|name| name.starts_with(prefix)).map(ToString::to_string).collect()
        }

        fn columns(&self, table: &TableName) -> Vec<String> {
            let columns: &[&str] = match table.to_string().as_str() {
                "default.events" => &["id", "kind", "amount"],
                "web.visits" => &["id", "at", "Page", "order", "\x1b[2J"],
                _ => &[],
            };
            columns.iter().map(ToString::to_string).collect()
        }
    }

    /// Completes where `|` is.
    fn check(text: &str, expected: &[&str]) {
        let position = text.find('|').unwrap();
        let (start, found) = completions(&text.replace('|', ""), position, &Known);
        assert_eq!(found, expected, "{text}");
        assert!(start <= position, "{text}");
    }

    #[test]
    fn tables_follow_from_and_the_like() {
        check("SELECT * FROM ev|", &["events"]);
        check("select * from |", &["events", "\"odd name\"", "default.", "web."]);
        check("SELECT * FROM web.vis|", &["visitors", "visits"]);
        check("SELECT * FROM \"o|", &["\"odd name\""]);
        check("SELECT id, kind FROM events e, we|", &["web."]);
        check("SELECT * FROM (SELECT 1) x JOIN ev|", &["events"]);
        check("INSERT INTO ev|", &["events"]);
        check("UPDATE ev|", &["events"]);
        check("DELETE FROM ev| WHERE id = 1", &["events"]);
        check("DESC ev|", &["events"]);
        check("SELECT 1; FLUSH TABLE web.visits|", &["visits"]);
        check("SHOW TABLES IN w|", &["web"]);
        check("DROP SCHEMA w|", &["web"]);
    }

    #[test]
    fn a_name_with_very_many_candidates_is_not_extended() {
        let (start, found) = completions("SELECT * FROM many.t", 20, &Known);
        assert_eq!((start, found.len()), (19, MAX_CANDIDATES + 1));
        assert_eq!((found[0].as_str(), found[MAX_CANDIDATES].as_str()), ("t0000", "t"));
    }

    #[test]
    fn columns_are_those_of_the_tables_of_the_statement() {
        check("SELECT k| FROM events", &["key", "kind"]);
        check("SELECT | FROM events", &["amount", "id", "kind"]);
        check("SELECT id FROM events WHERE am|", &["amount"]);
        check("SELECT pa| FROM web.visits", &["Page", "partition", "partitioned"]);
        check("SELECT a| FROM web.visits; SELECT am FROM events", &["all", "alter", "and", "anti", "as", "asc", "at"]);
        check("SELECT v.| FROM events e JOIN web.visits AS v ON true", &["Page", "at", "id", "\"order\""]);
        check("SELECT visits.a| FROM web.visits VERSION AS OF 3", &["at"]);
        check("SELECT e.k| FROM events VERSION AS OF 3 e", &["kind"]);
        check("SELECT web.visits.p| FROM web.visits", &["Page"]);
        check("UPDATE events SET am|", &["amount"]);
        check("INSERT INTO events (am|", &["amount"]);
        check("SELECT \"am| FROM events", &[]);
        check("SELECT count(*), ki| FROM events", &["kind"]);
    }

    #[test]
    fn keywords_have_the_case_of_what_is_typed() {
        check("SELE|", &["SELECT"]);
        check("sele|", &["select"]);
        check("SELECT 1; ROLL|", &["ROLLBACK"]);
        check("SELECT * FROM events WHER|", &["WHERE"]);
        check("SELECT * FROM events whe|", &["when", "where"]);
    }

    #[test]
    fn literals_and_comments_are_not_completed() {
        for text in ["SELECT 'sel|", "SELECT 1|", "-- sel|", "/* sel|", "SELECT a.b.c.d|", "SELECT .|"] {
            check(text, &[]);
        }
    }

    #[test]
    fn commands_and_their_names_are_completed() {
        check("\\ti|", &["\\timing"]);
        check("\\d ev|", &["events"]);
        check("\\d web.visits|", &["visits"]);
        check("\\dt w|", &["web"]);
        check("\\x o|", &[]);
    }
}
