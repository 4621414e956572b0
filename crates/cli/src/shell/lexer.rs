//! Splits SQL into words, literals and comments, also where it is incomplete: for highlighting and completion.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LexemeKind {
    /// A keyword or an identifier.
    Word,
    /// An identifier in quotes.
    Quoted,
    /// A text literal.
    Text,
    Number,
    Comment,
    Space,
    /// A single character of another kind.
    Symbol,
}

/// A part of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lexeme {
    pub(super) kind: LexemeKind,
    pub(super) range: Range<usize>,
}

/// The parts of a text, which together are all of it. What is not closed extends to the end. A literal in which a quote
/// is doubled is two parts.
pub(super) fn lexemes(text: &str) -> Vec<Lexeme> {
    let (mut lexemes, mut start) = (Vec::new(), 0);
    while let Some(first) = text[start..].chars().next() {
        let rest = &text[start..];
        let (kind, length) = match first {
            '\'' => (LexemeKind::Text, quoted(rest, first)),
            '"' | '`' => (LexemeKind::Quoted, quoted(rest, first)),
            '-' if rest.starts_with("--") => (LexemeKind::Comment, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (LexemeKind::Comment, block_comment(rest)),
            c if c.is_whitespace() => (LexemeKind::Space, span(rest, char::is_whitespace)),
            c if c.is_ascii_digit() => {
                (LexemeKind::Number, span(rest, |c| c.is_ascii_alphanumeric() || c == '.' || c == '_'))
            }
            c if c.is_alphabetic() || c == '_' => (LexemeKind::Word, span(rest, |c| c.is_alphanumeric() || c == '_')),
            c => (LexemeKind::Symbol, c.len_utf8()),
        };
        lexemes.push(Lexeme { kind, range: start..start + length });
        start += length;
    }
    lexemes
}

fn span(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !is_part(c)).unwrap_or(text.len())
}

/// The length of what the first character opens and its next occurrence closes.
fn quoted(text: &str, quote: char) -> usize {
    text[1..].find(quote).map_or(text.len(), |end| end + 2)
}

/// The length of a comment, in which others can be nested.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::LexemeKind::{Comment, Number, Quoted, Space, Symbol, Text, Word};
    use super::*;

    #[test]
    fn every_text_is_split_completely() {
        let check = |text: &str, kinds: &[LexemeKind]| {
            let lexemes = lexemes(text);
            assert_eq!(lexemes.iter().map(|lexeme| lexeme.kind).collect::<Vec<_>>(), kinds, "{text}");
            let joined: String = lexemes.iter().map(|lexeme| &text[lexeme.range.clone()]).collect();
            assert_eq!(joined, text);
        };
        check("", &[]);
        check("SELECT größe, 1.5e3", &[Word, Space, Word, Symbol, Space, Number]);
        check("\"a b\".c=`d`", &[Quoted, Symbol, Word, Symbol, Quoted]);
        check("'it''s' 'open", &[Text, Text, Space, Text]);
        check("a -- 'b'\nc", &[Word, Space, Comment, Space, Word]);
        check("/* a /* b */ c */d/*", &[Comment, Word, Comment]);
        check("é'ü", &[Word, Text]);
        check("\\d €", &[Symbol, Word, Space, Symbol]);
        check("'", &[Text]);
        check("/*/", &[Comment]);
    }
}
