//! Warnings, which are passed to Python's `warnings` at the end of the call.

use std::cell::RefCell;

use pyo3::prelude::*;

/// The class of a warning, in `deltalakedb.warnings`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Warning {
    /// A commit succeeded, but a step after it failed.
    Commit,
    /// A commit succeeded, but is not in `_delta_log` yet.
    Mirror,
}

/// Classes and messages.
pub(crate) type Collected = Vec<(Warning, String)>;

tokio::task_local! {
    static COLLECTED: RefCell<Collected>;
}

/// Adds a warning to the current call.
pub(crate) fn warn(warning: Warning, sentence: String) {
    tracing::warn!("{sentence}");
    // Outside a call no Python code can receive the warning; it is only logged.
    let _ = COLLECTED.try_with(|collected| collected.borrow_mut().push((warning, sentence)));
}

/// The result of a future, with its warnings.
pub(crate) async fn collecting<T>(future: impl Future<Output = T>) -> (T, Collected) {
    let with_warnings = async {
        let result = future.await;
        (result, COLLECTED.with(RefCell::take))
    };
    COLLECTED.scope(RefCell::default(), with_warnings).await
}

/// Shows warnings at the line of the caller's program. If warnings are errors, the first one is raised.
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
