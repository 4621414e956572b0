//! Random histories, some of them side by side.

use futures::StreamExt;
use tokio::runtime::Handle;

use crate::SeedReport;

/// Histories that run at a time.
const AT_A_TIME: usize = 4;

/// Runs a history with each seed; returns the results in the order of the seeds. A failure prints its seed and the
/// place of the histories.
///
/// # Panics
/// If a history fails, after all have ended.
pub async fn run_histories<T, F>(
    seeds: Vec<u64>,
    place: &'static str,
    history: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let runs = seeds.into_iter().map(|seed| {
        let history = history.clone();
        // Not a task of the runtime, because the future of a vacuum cannot be sent to another thread.
        let run = tokio::task::spawn_blocking(move || {
            let _named = SeedReport::new(seed, place);
            Handle::current().block_on(history(seed))
        });
        async move { (seed, run.await) }
    });
    let mut runs: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_A_TIME).collect().await;
    let (count, failed) = (runs.len(), runs.iter().filter(|(_, run)| run.is_err()).count());
    assert_eq!(failed, 0, "{failed} of {count} histories failed, see above");
    runs.sort_by_key(|(seed, _)| *seed);
    runs.into_iter().filter_map(|(_, run)| run.ok()).collect()
}
