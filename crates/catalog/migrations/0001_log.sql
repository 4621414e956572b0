-- The Delta log in SQL. Written once for every database: `blob` is bytea on PostgreSQL, and WITHOUT ROWID is for SQLite
-- alone, where it makes tables of small rows smaller and their inserts cheaper.
-- Times are milliseconds since 1970 (UTC), sizes are bytes, ids are 16-byte UUIDs, JSON is kept as its exact text in
-- blobs, because legal commits hold what JSON and text types refuse. Later migrations only add, and a column that they
-- add may be null: it is unknown.

-- One row: which catalog this is. A program that knows schemas up to `min_reader` reads it, one that knows them up to
-- `min_writer` writes it, however many later migrations have added to it.
CREATE TABLE dl_catalog (
    catalog_id blob NOT NULL,
    epoch blob NOT NULL,
    schema_version bigint NOT NULL,
    min_reader bigint NOT NULL,
    min_writer bigint NOT NULL,
    retention_ms bigint,
    retention_versions bigint
);

-- The migrations that have run: which text of each, and whether its backfill is over.
CREATE TABLE dl_migrations (
    number bigint NOT NULL PRIMARY KEY,
    name text NOT NULL,
    checksum blob NOT NULL,
    applied_at bigint NOT NULL,
    backfilled_at bigint
);

-- The namespaces: what comes before the dot in the names of tables.
CREATE TABLE dl_namespaces (
    namespace text NOT NULL PRIMARY KEY,
    created_at bigint NOT NULL
);

-- The tables. `name_key` and `location_key` are null once a table is dropped, so that both can be used again.
CREATE TABLE dl_tables (
    table_id blob NOT NULL PRIMARY KEY,
    namespace text NOT NULL,
    name text NOT NULL,
    name_key text UNIQUE,
    location text NOT NULL,
    location_key text UNIQUE,
    state text NOT NULL,
    owner text,
    created_at bigint NOT NULL,
    dropped_at bigint,
    base_version bigint,
    current_version bigint,
    current_ts bigint,
    protocol_version bigint,
    metadata_version bigint,
    properties blob,
    retained_until bigint
);
CREATE INDEX dl_tables_live_by_name ON dl_tables (namespace, name) WHERE state = 'live';
CREATE INDEX dl_tables_inactive_by_name ON dl_tables (namespace, name, coalesce(dropped_at, 9223372036854775807), table_id) WHERE state <> 'live';
CREATE INDEX dl_tables_by_retention ON dl_tables (retained_until, table_id) WHERE retained_until IS NOT NULL;

-- Every version: when, by whom and what. `digest` and `body_bytes` are of its commit, and null where the log that was
-- imported no longer held it.
CREATE TABLE dl_table_versions (
    table_id blob NOT NULL,
    version bigint NOT NULL,
    committed_at bigint NOT NULL,
    time_source text NOT NULL,
    committer text,
    operation text,
    operation_params blob,
    operation_metrics blob,
    engine_info text,
    group_id text,
    read_version bigint,
    isolation text,
    digest blob,
    body_bytes bigint,
    files_added bigint NOT NULL,
    files_removed bigint NOT NULL,
    bytes_added bigint NOT NULL,
    bytes_removed bigint NOT NULL,
    set_hash blob NOT NULL,
    PRIMARY KEY (table_id, version)
);
-- A time leads to its version without a look at the row.
CREATE INDEX dl_table_versions_by_time ON dl_table_versions (table_id, committed_at, version);

-- A commit that is behind by many versions looks at those that removed files.
CREATE INDEX dl_table_versions_with_removes ON dl_table_versions (table_id, version) WHERE files_removed > 0;

-- The exact bytes of each commit, compressed to `dl_table_versions.body_bytes`.
CREATE TABLE dl_commit_bodies (
    table_id blob NOT NULL,
    version bigint NOT NULL,
    body blob NOT NULL,
    PRIMARY KEY (table_id, version)
);

-- Which version each commit became, and when: the same commit sent again is the same commit. An id outlives its version
-- by some days.
CREATE TABLE dl_commit_ids (
    table_id blob NOT NULL,
    commit_id blob NOT NULL,
    version bigint NOT NULL,
    committed_at bigint NOT NULL,
    PRIMARY KEY (table_id, commit_id)
) WITHOUT ROWID;
CREATE INDEX dl_commit_ids_by_version ON dl_commit_ids (table_id, version);

-- Every file that is or was live: from `version` on, and before `removed_version` (null while live). `file_key` is a
-- digest of the canonical path and the deletion vector's id, `path_key` of the path alone. `deleted_records` counts the
-- rows that the deletion vector hides.
--
-- The rest is for planning as a query. `min_N` and `max_N` are order-preserving bytes of the column that `dl_bounds` gives
-- slot N. `spread_N` says how far apart they are (0: they are one value), so that an index on (spread, min) leads to the
-- files around a value: null where one of the bounds is unknown, -1 where every value is null. Bit N of `slot_flags` is 0 when
-- no value of slot N is null, bit 8 when the bounds are values of rows.
CREATE TABLE dl_add_files (
    table_id blob NOT NULL,
    file_key blob NOT NULL,
    version bigint NOT NULL,
    removed_version bigint,
    path_key blob NOT NULL,
    path text NOT NULL,
    size_bytes bigint NOT NULL,
    partition_values blob NOT NULL,
    stats blob,
    num_records bigint,
    data_change bigint NOT NULL,
    modification_time bigint NOT NULL,
    deletion_vector blob,
    tags blob,
    base_row_id bigint,
    default_row_commit_version bigint,
    clustering_provider blob,
    extra blob,
    min_0 blob, max_0 blob, min_1 blob, max_1 blob, min_2 blob, max_2 blob, min_3 blob, max_3 blob,
    min_4 blob, max_4 blob, min_5 blob, max_5 blob, min_6 blob, max_6 blob, min_7 blob, max_7 blob,
    spread_0 bigint, spread_1 bigint, spread_2 bigint, spread_3 bigint,
    spread_4 bigint, spread_5 bigint, spread_6 bigint, spread_7 bigint,
    slot_flags bigint,
    deleted_records bigint,
    PRIMARY KEY (table_id, version, file_key)
);
-- What a question costs does not grow with history: live files are found among live files alone, and a new file has no
-- entry among those that ended. No index has both, since a server that has not counted the rows yet would take it for
-- one that leads to few.
CREATE INDEX dl_add_files_live_by_version ON dl_add_files (table_id, version) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_live_by_key ON dl_add_files (table_id, file_key) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_live_by_path ON dl_add_files (table_id, path_key) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_ended_by_end ON dl_add_files (table_id, removed_version) WHERE removed_version IS NOT NULL;
CREATE INDEX dl_add_files_ended_by_key ON dl_add_files (table_id, file_key, version) WHERE removed_version IS NOT NULL;
CREATE INDEX dl_add_files_by_0 ON dl_add_files (table_id, spread_0, min_0, max_0) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_by_1 ON dl_add_files (table_id, spread_1, min_1, max_1) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_by_2 ON dl_add_files (table_id, spread_2, min_2, max_2) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_by_3 ON dl_add_files (table_id, spread_3, min_3, max_3) WHERE removed_version IS NULL;

-- Which physical columns own the bound slots of `dl_add_files`.
CREATE TABLE dl_bounds (
    table_id blob NOT NULL,
    slot bigint NOT NULL,
    physical_column text NOT NULL,
    type text NOT NULL,
    PRIMARY KEY (table_id, slot)
);

-- Every remove action, as tombstones for checkpoints.
CREATE TABLE dl_remove_files (
    table_id blob NOT NULL,
    version bigint NOT NULL,
    file_key blob NOT NULL,
    path text NOT NULL,
    deletion_timestamp bigint,
    data_change bigint NOT NULL,
    size_bytes bigint,
    partition_values blob,
    remove_json blob NOT NULL,
    PRIMARY KEY (table_id, version, file_key)
);
-- A file has a remove for each time it was removed; the newest of them is its tombstone.
CREATE INDEX dl_remove_files_by_key ON dl_remove_files (table_id, file_key, version);

-- Every metaData action.
CREATE TABLE dl_metadata_updates (
    table_id blob NOT NULL,
    version bigint NOT NULL,
    metadata_id blob NOT NULL,
    name blob,
    description blob,
    format blob NOT NULL,
    schema_json blob NOT NULL,
    partition_columns blob NOT NULL,
    configuration blob NOT NULL,
    created_time bigint,
    extra blob,
    PRIMARY KEY (table_id, version)
);
-- An id leads to the tables that share it. It may be of any length, and only its beginning is in the index.
CREATE INDEX dl_metadata_updates_by_id ON dl_metadata_updates (substr(metadata_id, 1, 64));

-- Every protocol action.
CREATE TABLE dl_protocol_updates (
    table_id blob NOT NULL,
    version bigint NOT NULL,
    min_reader_version bigint NOT NULL,
    min_writer_version bigint NOT NULL,
    reader_features blob,
    writer_features blob,
    extra blob,
    PRIMARY KEY (table_id, version)
);

-- Every txn action.
CREATE TABLE dl_txn_actions (
    table_id blob NOT NULL,
    app_id blob NOT NULL,
    version bigint NOT NULL,
    app_version bigint NOT NULL,
    last_updated bigint,
    extra blob,
    PRIMARY KEY (table_id, app_id, version)
) WITHOUT ROWID;
CREATE INDEX dl_txn_actions_by_version ON dl_txn_actions (table_id, version);

-- Every domainMetadata action.
CREATE TABLE dl_domain_metadata (
    table_id blob NOT NULL,
    domain blob NOT NULL,
    version bigint NOT NULL,
    configuration blob NOT NULL,
    removed bigint NOT NULL,
    extra blob,
    PRIMARY KEY (table_id, domain, version)
);
CREATE INDEX dl_domain_metadata_by_version ON dl_domain_metadata (table_id, version);

-- Every cdc action.
CREATE TABLE dl_cdc_files (
    table_id blob NOT NULL,
    version bigint NOT NULL,
    path text NOT NULL,
    size_bytes bigint NOT NULL,
    partition_values blob NOT NULL,
    PRIMARY KEY (table_id, version, path)
);
CREATE INDEX dl_cdc_files_by_version ON dl_cdc_files (table_id, version);

-- How far `_delta_log` is, a row for each table, and who may publish. Commits lock rows of `dl_tables` and publishing
-- locks these, so neither waits for the other.
CREATE TABLE dl_mirrors (
    table_id blob NOT NULL PRIMARY KEY,
    published_version bigint,
    state text NOT NULL,
    diverged_version bigint,
    diverged_what text,
    lease_holder blob,
    lease_token bigint,
    lease_expires_at bigint
) WITHOUT ROWID;

-- What could not be published, until it is.
CREATE TABLE dl_mirror_failures (
    table_id blob NOT NULL,
    version bigint NOT NULL,
    artifact text NOT NULL,
    attempts bigint NOT NULL,
    last_error text NOT NULL,
    failed_at bigint NOT NULL,
    PRIMARY KEY (table_id, version, artifact)
);

-- Versions that readers hold: they and their files stay until then.
CREATE TABLE dl_holds (
    hold_id blob NOT NULL PRIMARY KEY,
    table_id blob NOT NULL,
    version bigint NOT NULL,
    held_until bigint NOT NULL,
    holder text NOT NULL
);
CREATE INDEX dl_holds_by_end ON dl_holds (table_id, held_until);

-- Folders elsewhere in which a table has files, as a shallow clone has, in the spelling of `location_key`: whoever removes
-- the files of the table that is there asks for those that are at its place and inside of it.
CREATE TABLE dl_references (
    table_id blob NOT NULL,
    folder text NOT NULL,
    PRIMARY KEY (table_id, folder)
) WITHOUT ROWID;
CREATE INDEX dl_references_by_folder ON dl_references (folder, table_id);

-- Who did what, from where, and how it ended: every commit and every administrative act.
CREATE TABLE dl_audit (
    audit_id blob NOT NULL PRIMARY KEY,
    "at" bigint NOT NULL,
    committer text,
    action text NOT NULL,
    table_id blob,
    version bigint,
    host text,
    process bigint,
    client text,
    outcome text NOT NULL
) WITHOUT ROWID;
CREATE INDEX dl_audit_by_time ON dl_audit ("at");
