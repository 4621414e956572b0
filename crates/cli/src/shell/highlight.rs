//! Colours for SQL on a terminal.

use super::keywords::is_keyword;
use super::lexer::{LexemeKind, lexemes};

/// Blue and bold, green, cyan, grey: parameters of the control sequence SGR.
const KEYWORD: &str = "1;34";
const TEXT: &str = "32";
const NUMBER: &str = "36";
const COMMENT: &str = "90";

/// The text with colours; nothing else in it is changed.
pub(super) fn highlighted(text: &str) -> String {
    let mut coloured = String::with_capacity(text.len() * 2);
    for lexeme in lexemes(text) {
        let part = &text[lexeme.range];
        let colour = match lexeme.kind {
            LexemeKind::Word if is_keyword(part) => KEYWORD,
            LexemeKind::Text => TEXT,
            LexemeKind::Number => NUMBER,
            LexemeKind::Comment => COMMENT,
            LexemeKind::Word | LexemeKind::Quoted | LexemeKind::Space | LexemeKind::Symbol => {
                coloured.push_str(part);
                continue;
            }
        };
        coloured.push_str(&format!("\x1b[{colour}m{part}\x1b[0m"));
    }
    coloured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_and_literals_have_colours() {
        assert_eq!(highlighted("select id"), "\x1b[1;34mselect\x1b[0m id");
        assert_eq!(highlighted("'a' -- b"), "\x1b[32m'a'\x1b[0m \x1b[90m-- b\x1b[0m");
        assert_eq!(highlighted("f(12)"), "f(\x1b[36m12\x1b[0m)");
        assert_eq!(highlighted("\"select\""), "\"select\"");
    }
}
