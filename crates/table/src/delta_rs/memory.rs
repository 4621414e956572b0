//! The memory limit of queries: three quarters of the memory that the process may use, shared by all sessions.
//!
//! A sort that needs more spills to temporary files; an operation that cannot spill fails with an error instead of
//! ending the process. If the amount of memory cannot be determined, there is no limit.

use std::fs::read_to_string;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, TrackConsumersPool, UnboundedMemoryPool};

/// How many of the largest memory consumers an error names.
const NAMED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// The memory pool of all sessions.
pub(super) fn pool() -> Arc<dyn MemoryPool> {
    static POOL: OnceLock<Arc<dyn MemoryPool>> = OnceLock::new();
    let pool = || -> Arc<dyn MemoryPool> {
        match usable().and_then(|bytes| usize::try_from(bytes / 4 * 3).ok()) {
            Some(bytes) => Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(bytes), NAMED)),
            None => Arc::new(UnboundedMemoryPool::default()),
        }
    };
    POOL.get_or_init(pool).clone()
}

/// The memory this process may use, in bytes: that of the machine, or of its cgroup.
fn usable() -> Option<u64> {
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().filter_map(|line| line.strip_prefix("0::"));
    let files = own.map(|group| format!("/sys/fs/cgroup{}/memory.max", group.trim_end_matches('/')));
    let fixed = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].map(String::from);
    let limits = files.chain(fixed).filter_map(|file| read_to_string(file).ok()?.trim().parse().ok());
    limits.chain(machine).min()
}

/// The memory of the machine, from `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let kilobytes = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))?;
    kilobytes.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_limit_is_read() {
        assert_eq!(total("MemTotal:       24601496 kB\nMemFree:        1 kB\n"), Some(24_601_496 * 1024));
        assert_eq!(total("MemTotal: unknown\n"), None);
        assert_eq!(total(""), None);
    }

    #[tokio::test]
    async fn a_query_that_exceeds_the_memory_limit_fails_alone() {
        let session = crate::delta_rs::session_context(&deltalakedb_log::stores::environment()).unwrap();
        let pool = session.runtime_env().memory_pool.clone();
        let other = datafusion::execution::memory_pool::MemoryConsumer::new("another query").register(&pool);
        if usable().is_none() {
            eprintln!("the system does not say how much memory there is: nothing is bounded");
            return;
        }
        let e = other.try_grow(usize::MAX / 2).unwrap_err();
        assert!(matches!(e.find_root(), datafusion::common::DataFusionError::ResourcesExhausted(_)), "{e}");
    }
}
