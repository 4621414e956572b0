//! What a terminal gets and a file or a pipe does not: colours, and long output through a pager.

use std::ffi::OsString;
use std::io::{self, Stdout, Write};
use std::process::{Child, Command, Stdio};

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
    Running(Child),
    Direct(Stdout),
}

impl Pager {
    fn start() -> Self {
        let child = match std::env::var_os("PAGER") {
            _ if !cfg!(unix) => None,
            Some(program) if program.is_empty() => None,
            // The variable may have arguments.
            Some(program) => Command::new("sh").arg("-c").arg(program).stdin(Stdio::piped()).spawn().ok(),
            None => {
                let mut less = Command::new("less");
                if std::env::var_os("LESS").is_none() {
                    // What fits on the screen is not paged; colours are shown; the screen is not cleared.
                    less.env("LESS", "FRX");
                }
                less.stdin(Stdio::piped()).spawn().ok()
            }
        };
        let Some(child) = child else { return Self::Direct(io::stdout()) };
        // Ctrl-C is for the pager. If the pager ends, the next write fails, and so the command ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
        }
        Self::Running(child)
    }

    fn destination(&mut self) -> io::Result<&mut dyn Write> {
        if matches!(self, Self::Waiting) {
            *self = Self::start();
        }
        match self {
            Self::Direct(out) => Ok(out),
            Self::Running(Child { stdin: Some(pipe), .. }) => Ok(pipe),
            Self::Running(_) | Self::Waiting => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.destination()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Waiting => Ok(()),
            _ => self.destination()?.flush(),
        }
    }
}

impl Drop for Pager {
    /// The terminal belongs to the pager until it ends.
    fn drop(&mut self) {
        if let Self::Running(child) = self {
            child.stdin = None;
            if let Err(e) = child.wait() {
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
}
