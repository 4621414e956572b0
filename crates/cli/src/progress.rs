//! Progress of long work: a bar or the elapsed time on a terminal, plain lines otherwise, nothing when quiet.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;

use crate::output::warn;

/// A task that counts up to a total.
pub(crate) struct Progress {
    what: String,
    display: Display,
}

enum Display {
    Bar(ProgressBar),
    Lines(Mutex<Instant>),
    Nothing,
}

const EVERY: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);

impl Progress {
    pub(crate) fn new(what: impl Into<String>, quiet: bool) -> Self {
        let what = what.into();
        let display = if quiet {
            Display::Nothing
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            // The template is constant and valid; otherwise the default bar is used.
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            Display::Bar(bar)
        } else {
            Display::Lines(Mutex::new(Instant::now()))
        };
        Self { what, display }
    }

    /// A task of which it is not known how much is left: its time is shown on a terminal.
    pub(crate) fn endless(what: impl Into<String>, quiet: bool) -> Self {
        let what = what.into();
        let display = if quiet || !std::io::stderr().is_terminal() {
            Display::Nothing
        } else {
            let bar = ProgressBar::new_spinner();
            // As above.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar.enable_steady_tick(TICK);
            Display::Bar(bar)
        };
        Self { what, display }
    }

    /// `done` of `total` are done.
    pub(crate) fn at(&self, done: u64, total: u64) {
        match &self.display {
            Display::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Display::Lines(last) => {
                let mut last = last.lock();
                if last.elapsed() >= EVERY {
                    *last = Instant::now();
                    warn(&format!("{}: {done} of {total}", self.what));
                }
            }
            Display::Nothing => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}
