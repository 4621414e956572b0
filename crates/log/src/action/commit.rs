//! A commit as its bytes and as actions.

use bytes::Bytes;

use super::{Action, CommitInfo};
use crate::error::{Result, TxnLogError};

/// The size of the largest commit, in bytes. A commit is held in memory as a whole; a larger one is rejected on read
/// and on write.
pub const MAX_COMMIT_BYTES: u64 = 1 << 30;

/// The content of one commit: newline-delimited JSON. A parsed commit keeps the exact bytes it was parsed from.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit {
    bytes: Bytes,
    actions: Vec<Action>,
}

impl Commit {
    /// Parses commit bytes. The error names the line, counted from 1, and `origin` (a file, say).
    pub fn parse(bytes: Bytes, origin: &str) -> Result<Self> {
        let actions = parse_lines(&bytes, origin, |_| true)?;
        Ok(Self { bytes, actions })
    }

    /// The actions except most file actions, which are not parsed: an error in one of them is not detected.
    pub fn parse_without_files(bytes: &[u8], origin: &str) -> Result<Vec<Action>> {
        parse_lines(bytes, origin, |line| {
            let about_a_file =
                ["{\"add\":{", "{\"remove\":{", "{\"cdc\":{"].iter().any(|begin| line.starts_with(begin));
            let others = ["\"protocol\":", "\"metaData\":", "\"txn\":", "\"domainMetadata\":"];
            // A truncated line is parsed, so that the error is reported.
            !about_a_file || !line.ends_with("}}") || others.iter().any(|other| line.contains(other))
        })
    }

    /// Renders actions to bytes, one line each, with a newline after every line.
    pub fn render<'a>(actions: impl IntoIterator<Item = &'a Action>) -> Bytes {
        let mut bytes = Vec::new();
        actions.into_iter().for_each(|action| action.write_line(&mut bytes));
        bytes.into()
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The actions in order.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The actions in order.
    pub fn into_actions(self) -> Vec<Action> {
        self.actions
    }

    /// The commit's provenance.
    pub fn info(&self) -> Option<&CommitInfo> {
        self.actions.iter().find_map(|a| match a {
            Action::CommitInfo(info) => Some(info),
            _ => None,
        })
    }
}

fn parse_lines(bytes: &[u8], origin: &str, wanted: impl Fn(&str) -> bool) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    for (n, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let at = |what: String| TxnLogError::corrupt(format!("{origin}, line {}: {what}", n + 1));
        let line = std::str::from_utf8(line).map_err(|e| at(format!("not UTF-8: {e}")))?.trim();
        if !line.is_empty() && wanted(line) {
            actions.extend(Action::parse_line(line).map_err(at)?);
        }
    }
    Ok(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_without_files_leaves_out_file_actions() {
        let text = r#"{"add":{"path":"x"}}
{"add":null,"txn":{"appId":"a","version":1}}
{"add":{"path":"a","size":1,"modificationTime":1,"dataChange":true},"txn":{"appId":"b","version":1}}
{"commitInfo":{}}"#;
        let actions = Commit::parse_without_files(text.as_bytes(), "t").unwrap();
        let names: Vec<_> = actions.iter().map(Action::name).collect();
        assert_eq!(names, ["txn", "add", "txn", "commitInfo"]);
    }

    #[test]
    fn commits_render_to_the_bytes_they_were_parsed_from() {
        for text in [
            "",
            "\n",
            "{}\n",
            "{\"add\" : null, \"txn\":{\"appId\":\"a\",\"version\": 1}}\r\n\n{\"x\":1}",
            "{\"txn\":{\"appId\":\"a\",\"appId\":\"b\",\"version\":1}}\n",
        ] {
            let commit = Commit::parse(Bytes::from(text), "t").unwrap();
            assert_eq!(commit.bytes(), text.as_bytes());
            let lines: Vec<_> = commit.actions().iter().map(Action::to_json).collect();
            let again = Commit::parse(lines.join("\n").into(), "t").unwrap();
            assert_eq!(again.actions(), commit.actions());
        }
    }

    #[test]
    fn errors_name_the_line_and_the_field() {
        let check = |text: &'static str, want: &str| {
            let message = Commit::parse(Bytes::from(text), "0.json").unwrap_err().to_string();
            assert!(message.contains(want), "{message}");
        };
        check("{}\n{\"add\":", "0.json, line 2: invalid JSON");
        check("{\"add\":{\"path\":\"x\"}}", "line 1: action \"add\": field \"size\" is missing");
        check("{\"txn\":{\"appId\":\"x\",\"version\":\"1\"}}", "field \"version\"");
        check("[1]", "line 1: invalid JSON");
    }
}
