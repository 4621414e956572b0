//! Warnings, which Python's `warnings` shows once the call that they are about is over.

use std::cell::RefCell;

use pyo3::prelude::*;

/// The class of a warning, in `deltalakedb.warnings`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Warning {
    /// A commit stands, and what followed it did not succeed.
    Commit,
    /// A commit stands, and `_delta_log` does not have it yet.
    Mirror,
}

/// A class and a sentence.
pub(crate) type Collected = Vec<(Warning, String)>;

tokio::task_local! {
    static COLLECTED: RefCell<Collected>;
}

/// Warns, at the end of the call that runs now.
pub(crate) fn warn(warning: Warning, sentence: String) {
    tracing::warn!("{sentence}");
    // Outside of a call no Python code can receive the warning; it is only logged.
    let _ = COLLECTED.try_with(|collected| collected.borrow_mut().push((warning, sentence)));
}

/// The outcome of a future, and the warnings on the way.
pub(crate) async fn collecting<T>(future: impl Future<Output = T>) -> (T, Collected) {
    let with_warnings = async {
        let done = future.await;
        (done, COLLECTED.with(RefCell::take))
    };
    COLLECTED.scope(RefCell::default(), with_warnings).await
}

/// Shows warnings at the line of the caller's program. Where warnings are errors, the first one is.
pub(crate) fn show(py: Python<'_>, collected: Collected) -> PyResult<()> {
    for (warning, sentence) in collected {
        let class = match warning {
            Warning::Commit => "CommitWarning",
            Warning::Mirror => "MirrorWarning",
        };
        let class = py.import("deltalakedb.warnings")?.getattr(class)?;
        py.import("deltalakedb._util")?.getattr("warn_caller")?.call1((class, sentence))?;
    }
    Ok(())
}
