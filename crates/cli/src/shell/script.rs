//! What the shell runs: statements and commands, from the terminal or from a file.

use std::collections::VecDeque;
use std::path::PathBuf;

use deltalakedb_log::{Result, TxnLogError};
use deltalakedb_table::SqlSession;

/// How many files may include each other.
const MAX_DEPTH: usize = 32;

/// Whether what was typed can be run: it is a command, or its last statement is complete.
pub(super) fn is_complete(text: &str) -> bool {
    is_command(text) || SqlSession::is_complete(text)
}

/// Whether it is for the shell and not for the session.
pub(super) fn is_command(text: &str) -> bool {
    text.trim_start().starts_with('\\') || is_quit(text)
}

/// Whether it is one of the words that end other shells.
pub(super) fn is_quit(text: &str) -> bool {
    let word = text.trim().trim_end_matches(';').trim_end();
    word.eq_ignore_ascii_case("quit") || word.eq_ignore_ascii_case("exit")
}

/// A part of a file that is run at once: a command or statements.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ScriptPart {
    pub(super) text: String,
    /// The line where it begins, from 1.
    pub(super) line: usize,
}

/// The parts of a text. Each command is a line of its own, and the last statement needs no `;`. A comment before a part is
/// omitted: a command may follow it.
pub(super) fn script_parts(text: &str) -> VecDeque<ScriptPart> {
    let (mut parts, mut part) = (VecDeque::new(), ScriptPart { text: String::new(), line: 1 });
    for (number, line) in (1..).zip(text.lines()) {
        if part.text.is_empty() {
            if line.trim().is_empty() || line.trim_start().starts_with("--") {
                continue;
            }
            part.line = number;
        }
        let is_command = part.text.is_empty() && is_command(line);
        part.text.push_str(line);
        part.text.push('\n');
        // Most lines of a long statement have no `;`, and the statement is not read again for each of them.
        if is_command || (line.contains(';') && SqlSession::is_complete(&part.text)) {
            parts.push_back(std::mem::replace(&mut part, ScriptPart { text: String::new(), line: number }));
        }
    }
    if !part.text.is_empty() {
        parts.push_back(part);
    }
    parts
}

/// The files that are being run: each was included by the one before it.
#[derive(Default)]
pub(super) struct Scripts(Vec<Script>);

struct Script {
    file: PathBuf,
    parts: VecDeque<ScriptPart>,
}

impl Scripts {
    /// Reads a file, whose parts are the next ones.
    pub(super) fn include(&mut self, file: PathBuf) -> Result<()> {
        if self.0.len() >= MAX_DEPTH {
            let name = file.display();
            return Err(TxnLogError::invalid(format!(
                "{name} is not run: more than {MAX_DEPTH} files include each other"
            )));
        }
        let text = std::fs::read_to_string(&file)
            .map_err(|e| TxnLogError::invalid(format!("the file {} cannot be read", file.display())).with_source(e))?;
        self.0.push(Script { file, parts: script_parts(&text) });
        Ok(())
    }

    /// The next part, and its file and line for messages.
    pub(super) fn next_part(&mut self) -> Option<(String, String)> {
        while let Some(script) = self.0.last_mut() {
            if let Some(part) = script.parts.pop_front() {
                return Some((part.text, format!("{}, line {}", script.file.display(), part.line)));
            }
            self.0.pop();
        }
        None
    }

    /// Ends the innermost file; whether there is one.
    pub(super) fn end_one(&mut self) -> bool {
        self.0.pop().is_some()
    }

    /// Ends all files.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_empty_input_are_complete() {
        for (text, complete) in [("", true), ("\\d t", true), ("EXIT", true), ("quit ;", true), ("SELECT 1", false)] {
            assert_eq!(is_complete(text), complete, "{text:?}");
        }
    }

    #[test]
    fn a_script_is_split_at_commands_and_statements() {
        let text =
            "-- rows\n\nSELECT 1;\n -- records\n\\x on\nSELECT 'a;\n\\b', 2 --\n;\nSELECT 3; SELECT 4;\nSELECT 5\n";
        let parts: Vec<_> = script_parts(text).into_iter().map(|part| (part.line, part.text)).collect();
        let expected: [(usize, &str); 5] = [
            (3, "SELECT 1;\n"),
            (5, "\\x on\n"),
            (6, "SELECT 'a;\n\\b', 2 --\n;\n"),
            (9, "SELECT 3; SELECT 4;\n"),
            (10, "SELECT 5\n"),
        ];
        assert_eq!(parts, expected.map(|(line, text)| (line, text.to_string())));
        assert!(script_parts(" \n-- no statement").is_empty());
    }

    #[test]
    fn files_that_include_each_other_are_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("again.sql");
        std::fs::write(&file, "\\i again.sql\n").unwrap();
        let mut scripts = Scripts::default();
        let rejected = loop {
            if let Err(e) = scripts.include(file.clone()) {
                break e;
            }
            let (text, place) = scripts.next_part().unwrap();
            assert!(text == "\\i again.sql\n" && place.ends_with("again.sql, line 1"), "{text} {place}");
        };
        assert!(rejected.to_string().contains("more than 32 files include each other"), "{rejected}");
        let missing = Scripts::default().include(dir.path().join("missing.sql")).unwrap_err();
        assert!(missing.to_string().contains("missing.sql cannot be read"), "{missing}");
    }
}
