//! The settings of RocksDB.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options, WriteBufferManager};

/// The memory, files and log of a [`RocksStorage`](super::RocksStorage). A store may be opened with others each time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RocksOptions {
    /// Bytes of memory for blocks of files and their indexes: 64 MiB.
    pub block_cache: usize,
    /// Bytes of memory for recent changes of all families together, before they get into files: 64 MiB. While they are
    /// written, new changes may take as much again.
    pub memtables: usize,
    /// Bytes of the write-ahead log from which on the oldest changes get into files, so that their log can be deleted:
    /// 128 MiB. The log may be longer by the changes that are made until then.
    pub wal: u64,
    /// The number of files that are open at a time: 256.
    pub open_files: u16,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { block_cache: 64 << 20, memtables: 64 << 20, wal: 128 << 20, open_files: 256 }
    }
}

/// Bytes of RocksDB's own messages, and the number of files they are in.
const MESSAGES: usize = 1 << 20;
const MESSAGE_FILES: usize = 4;

impl RocksOptions {
    pub(super) fn database(&self, memtables: &WriteBufferManager) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        options.set_max_open_files(self.open_files.into());
        options.set_write_buffer_manager(memtables);
        // The logs have been checked, see `wal`. They are not reused, because old records in them look like torn ones.
        options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
        options.set_recycle_log_file_num(0);
        options.set_max_total_wal_size(self.wal);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_log_level(LogLevel::Warn);
        options.set_max_log_file_size(MESSAGES);
        options.set_keep_log_file_num(MESSAGE_FILES);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    /// Those of a family, which share the memory of the database.
    pub(super) fn family(&self, cache: &Cache) -> Options {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        // Without prefix blooms in memory, with which RocksDB loses deletions of ranges.
        let mut options = Options::default();
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_write_buffer_size(self.memtables / 2);
        options
    }

    /// The memory of the memtables of all families.
    pub(super) fn write_buffer_manager(&self) -> WriteBufferManager {
        WriteBufferManager::new_write_buffer_manager(self.memtables, false)
    }

    pub(super) fn cache(&self) -> Cache {
        Cache::new_lru_cache(self.block_cache)
    }
}
