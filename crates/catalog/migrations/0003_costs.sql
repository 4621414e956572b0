-- What a question costs does not grow with the history of a table: live files are found by their key and by their path
-- among live files alone, a time leads to its version without a look at the row, and what belongs to a version is found by
-- the version. A file has a remove for each time it was removed; the newest of them is its tombstone.
DROP INDEX dl_add_files_by_path;
DROP INDEX dl_table_versions_by_time;
CREATE INDEX dl_add_files_live_by_key ON dl_add_files (table_id, file_key) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_live_by_path ON dl_add_files (table_id, path_key) WHERE removed_version IS NULL;
CREATE INDEX dl_table_versions_by_time ON dl_table_versions (table_id, committed_at, version);
CREATE INDEX dl_commit_ids_by_version ON dl_commit_ids (table_id, version);
CREATE INDEX dl_remove_files_by_key ON dl_remove_files (table_id, file_key, version);
CREATE INDEX dl_txn_actions_by_version ON dl_txn_actions (table_id, version);
CREATE INDEX dl_domain_metadata_by_version ON dl_domain_metadata (table_id, version);
CREATE INDEX dl_cdc_files_by_version ON dl_cdc_files (table_id, version);
