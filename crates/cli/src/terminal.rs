//! What a terminal gets and a file or a pipe does not: colours, and long output through a pager.

use std::ffi::{OsStr, OsString};
use std::io::{self, Stdout, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;

/// The exit status of a command that Ctrl-C ends, as shells report it.
const INTERRUPTED: i32 = 130;

/// Whether output to a terminal, or to something else, is coloured: as <https://no-color.org> and
/// <https://bixense.com/clicolors> describe.
pub(crate) fn has_colours(is_terminal: bool) -> bool {
    colours(is_terminal, |name| std::env::var_os(name))
}

fn colours(is_terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let given = |name| variable(name).filter(|value| !value.is_empty());
    if given("NO_COLOR").is_some() {
        false
    } else if given("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        true
    } else {
        let is_off = given("CLICOLOR").is_some_and(|value| value == "0");
        is_terminal && !is_off && given("TERM").is_none_or(|value| value != "dumb")
    }
}

/// Standard output through the program of `PAGER`, or through `less`. It is started with the first output; without it,
/// or with an empty `PAGER`, the output is written directly.
#[derive(Default)]
pub(crate) enum Pager {
    #[default]
    Waiting,
    Running {
        program: Arc<Mutex<Child>>,
        pipe: Option<ChildStdin>,
    },
    Direct(Stdout),
}

impl Pager {
    fn start() -> Self {
        let mut pager = match std::env::var_os("PAGER") {
            _ if !cfg!(unix) => return Self::Direct(io::stdout()),
            Some(program) if program.is_empty() => return Self::Direct(io::stdout()),
            // A shell would start, and only then not find the program.
            Some(program) if is_word(&program) => Command::new(program),
            // The variable may have arguments.
            Some(program) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(program);
                shell
            }
            None => Command::new("less"),
        };
        if std::env::var_os("LESS").is_none() {
            // What fits on the screen is not paged; colours are shown; the screen is not cleared.
            pager.env("LESS", "FRX");
        }
        let Ok(mut program) = pager.stdin(Stdio::piped()).spawn() else { return Self::Direct(io::stdout()) };
        let pipe = program.stdin.take();
        let program = Arc::new(Mutex::new(program));
        // Ctrl-C is for the pager while it runs, and ends the command afterwards.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let program = program.clone();
            runtime.spawn(async move {
                while tokio::signal::ctrl_c().await.is_ok() {
                    if has_ended(&program) {
                        std::process::exit(INTERRUPTED);
                    }
                }
            });
        }
        Self::Running { program, pipe }
    }

    fn destination(&mut self) -> io::Result<&mut dyn Write> {
        if matches!(self, Self::Waiting) {
            *self = Self::start();
        }
        match self {
            Self::Direct(out) => Ok(out),
            Self::Running { pipe: Some(pipe), .. } => Ok(pipe),
            Self::Running { .. } | Self::Waiting => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Whether this is the name or the path of a program, and nothing that a shell interprets.
fn is_word(program: &OsStr) -> bool {
    program.to_str().is_some_and(|text| text.chars().all(|c| c.is_alphanumeric() || "/._+-".contains(c)))
}

/// Whether the pager has ended. While another thread waits for its end, it has not.
fn has_ended(program: &Mutex<Child>) -> bool {
    program.try_lock().is_some_and(|mut program| matches!(program.try_wait(), Ok(Some(_))))
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.destination()?.write(bytes)
    }

    /// Fails if the pager has ended, also when there is nothing to write: rows that are only counted need not be read.
    fn flush(&mut self) -> io::Result<()> {
        if let Self::Running { program, .. } = self
            && has_ended(program)
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        match self {
            Self::Waiting => Ok(()),
            _ => self.destination()?.flush(),
        }
    }
}

impl Drop for Pager {
    /// The terminal belongs to the pager until it ends.
    fn drop(&mut self) {
        if let Self::Running { program, pipe } = self {
            *pipe = None;
            if let Err(e) = program.lock().wait() {
                tracing::debug!("the pager was not waited for: {e}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_decide_about_colours() {
        let check = |is_terminal, variables: &[(&str, &str)], expected| {
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| OsString::from(v));
            assert_eq!(colours(is_terminal, value), expected, "{variables:?}");
        };
        check(true, &[], true);
        check(false, &[], false);
        check(true, &[("NO_COLOR", "1")], false);
        check(true, &[("NO_COLOR", "")], true);
        check(true, &[("CLICOLOR", "0")], false);
        check(true, &[("CLICOLOR", "1")], true);
        check(false, &[("CLICOLOR_FORCE", "1")], true);
        check(false, &[("CLICOLOR_FORCE", "0")], false);
        check(false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false);
        check(true, &[("TERM", "dumb")], false);
        check(true, &[("TERM", "xterm-256color")], true);
    }

    #[test]
    #[cfg(unix)]
    fn output_fails_when_the_pager_has_ended() {
        let mut program = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
        let pipe = program.stdin.take();
        program.wait().unwrap();
        let mut pager = Pager::Running { program: Arc::new(Mutex::new(program)), pipe };
        assert_eq!(pager.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe, "also without output");
        assert_eq!(pager.write(b"row").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_program_with_arguments_is_given_to_a_shell() {
        for (program, expected) in [("less", true), ("/usr/bin/bat-0.24", true), ("less -S", false), ("~/p", false)] {
            assert_eq!(is_word(OsStr::new(program)), expected, "{program}");
        }
    }
}
