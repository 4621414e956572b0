//! `dl` on a pseudoterminal, which `script` of util-linux provides.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::test_folder::TestFolder;

const TIMEOUT: Duration = Duration::from_secs(60);

/// A terminal with 200 columns, on which `dl` runs.
pub(crate) struct Terminal {
    script: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// The output so far, with its control sequences.
    bytes: Vec<u8>,
    /// The length of the text that was waited for.
    seen: usize,
}

impl Terminal {
    /// Runs `dl` with arguments that a shell does not change. The shell's history is in the folder `state`.
    pub(crate) fn new(place: &TestFolder, args: &str, colours: bool) -> Self {
        let run = format!("stty cols 200 rows 50; exec \"$DL\" {args}");
        let mut command = place.with_program(Path::new("script"), &["-qefc", &run, "/dev/null"]);
        command.env("DL", env!("CARGO_BIN_EXE_dl")).env("SHELL", "/bin/sh").env("TERM", "xterm");
        command.env("XDG_STATE_HOME", place.path("state")).env_remove("NO_COLOR");
        if !colours {
            command.env("NO_COLOR", "1");
        }
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, mut from) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let (to, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with the terminal.
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                if to.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { script, keys, output, bytes: Vec::new(), seen: 0 }
    }

    /// Types keys: `\r` is Enter. The editor must be waiting for them: what is typed before is lost.
    pub(crate) fn keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for a text after the one that was waited for last. Returns what is between, without control sequences.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            let shown = shown(&self.bytes);
            if let Some(at) = shown[self.seen..].find(text) {
                let between = shown[self.seen..self.seen + at].to_string();
                self.seen += at + text.len();
                return between;
            }
            match self.output.recv_timeout(TIMEOUT) {
                Ok(bytes) => self.bytes.extend(bytes),
                Err(e) => panic!("{text:?} is not shown ({e}), but {:?}", &shown[self.seen..]),
            }
        }
    }

    /// Types a line and Enter, and waits for the prompt after what it prints, which is returned.
    pub(crate) fn line(&mut self, line: &str, prompt: &str) -> String {
        self.keys(&format!("{line}\r"));
        self.wait_for(&format!("\n{prompt}"))
    }

    /// Whether the output so far has these bytes, with control sequences.
    pub(crate) fn has_bytes(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.bytes).contains(text)
    }

    /// Types the keys that end the program, and waits for its end with status 0. Returns what it prints at last.
    pub(crate) fn end(mut self, keys: &str) -> String {
        self.keys(keys);
        loop {
            match self.output.recv_timeout(TIMEOUT) {
                Ok(bytes) => self.bytes.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {:?}", &shown(&self.bytes)[self.seen..]),
            }
        }
        let shown = shown(&self.bytes)[self.seen..].to_string();
        let status = self.script.wait().unwrap();
        assert!(status.success(), "{status}: {shown:?}");
        shown
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It fails if the program has ended.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// The text without control sequences and carriage returns.
fn shown(bytes: &[u8]) -> String {
    let (text, mut shown) = (String::from_utf8_lossy(bytes), String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.next() == Some('[') => {
                chars.find(|c| ('@'..='~').contains(c));
            }
            '\x1b' | '\r' | '\x07' => {}
            c => shown.push(c),
        }
    }
    shown
}
