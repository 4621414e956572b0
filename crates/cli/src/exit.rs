//! The exit status of commands.

/// The exit status of a command that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    Success,
    /// A check found a difference or a lag.
    Found,
}
