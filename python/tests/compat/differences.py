"""Tests whose outcome is expected to differ between the packages.

All three dictionaries map the name of a test, of one of its cases where it ends in
brackets, to the reason.
"""

APPEND = (
    "an append has read nothing: the catalog puts it behind what was committed since"
)
JUDGED = (
    "the catalog judges by the rows an operation read, file by file, and not by the "
    "kind of operation"
)
HISTORY = "the catalog keeps every version, whatever is cleaned up in the mirror"
COUNT = "count() is exact, from the rows where the log does not say how many there are"
VACUUM = (
    "files that no version names may be a transaction's: they stay until no "
    "transaction can be that old"
)
PICKLE = "the schema types are plain Python, and can be pickled"
FILTERS = "filters of timestamp columns find the files of other values, too"

#: Where a log kept in a SQL catalog legitimately differs. With
#: ``COMPAT_PACKAGE=deltalakedb`` each of these tests must fail; one that passes no
#: longer belongs here.
DIFFERENCES: dict[str, str] = {
    "test_conflicting_operations[append then merge update 2]": JUDGED,
    "test_conflicting_operations[append then merge insert 7]": JUDGED,
    "test_conflicting_operations[overwrite then append]": APPEND,
    "test_conflicting_operations[overwrite then set name]": JUDGED,
    "test_conflicting_operations[replace 0 then append]": APPEND,
    "test_conflicting_operations[replace 0 then delete 0]": JUDGED,
    "test_conflicting_operations[delete 0 then append]": APPEND,
    "test_conflicting_operations[delete 0 then overwrite]": JUDGED,
    "test_conflicting_operations[delete 0 then delete all]": JUDGED,
    "test_conflicting_operations[delete 0 then merge update 2]": JUDGED,
    "test_conflicting_operations[delete 0 then add column]": JUDGED,
    "test_conflicting_operations[delete all then append]": APPEND,
    "test_conflicting_operations[update 0 then append]": APPEND,
    "test_conflicting_operations[merge update 2 then append]": APPEND,
    "test_conflicting_operations[compact then delete 0]": JUDGED,
    "test_conflicting_operations[compact then update 0]": JUDGED,
    "test_conflicting_operations[compact then merge insert 7]": JUDGED,
    "test_conflicting_operations[add column then append]": APPEND,
    "test_conflicting_operations[set name then append]": APPEND,
    "test_conflicting_operations[add feature then append]": APPEND,
    "test_conflicting_operations[restore then append]": APPEND,
    "test_compatible_operations[append then overwrite]": JUDGED,
    "test_compatible_operations[append then delete all]": JUDGED,
    "test_metadata_change_conflicts_with_append": APPEND,
    "test_protocol_change_conflicts": APPEND,
    "test_no_retries_left": APPEND,
    "test_writes_with_an_unsupported_feature[DomainMetadata]": "tables with domain metadata are written, too",
    "test_count_ignores_deletion_vectors": COUNT,
    "test_count_without_statistics": COUNT,
    "test_convert_without_statistics": COUNT,
    "test_cleanup_forgets_old_versions": HISTORY,
    "test_vacuum_full_finds_unknown_files": VACUUM,
    "test_vacuum_full_deletes": VACUUM,
    "test_native_classes_cannot_be_pickled": PICKLE,
    "test_datafusion_provider_needs_datafusion": "tables cannot be handed to DataFusion's own Python package",
    "test_nanosecond_timestamps_can_be_enabled": "timestamps have microseconds: the library is built without nanoseconds",
    "test_merge_history": "the history of a merge has its predicate twice, as delta-rs writes it",
    "test_compact_unknown_partition": "an unknown partition column is a SchemaMismatchError, which is a DeltaError",
    "test_append_with_a_predicate_checks_the_data": "an append with a predicate is refused: it replaces nothing",
    "test_primitive_type_from_unsupported_arrow_type[timestamp[s]]": "timestamps of seconds are taken as microseconds",
    "test_transaction_is_read_only": "assigning to a Transaction is a FrozenInstanceError",
    "test_commit_properties_defaults": "the repr of CommitProperties shows its values",
    "test_write_transaction_leaves_the_handle_behind": "a handle that commits is at the version it made",
    "test_update_ignores_unknown_columns": "an update of a column that is not there says so in a warning",
    "test_tuple_filters_accept_python_values[[\\n  2024-01-02 03:00:00.000000,\\n  2024-01-03 00:00:00.000000\\n]-2024-01-02 03:00:00]": FILTERS,
}

#: What deltalake 1.6.6 gets wrong. Each of these tests states the right behaviour: it
#: must fail with ``deltalake``, and may pass with a package that does better.
DEFECTS: dict[str, str] = {
    "test_defect_two_compactions_duplicate_rows": (
        "a compaction retried over another one adds the same rows again"
    ),
    "test_defect_delete_everything_after_compaction": (
        "delete() of a handle older than a compaction leaves the compacted rows"
    ),
    "test_defect_overwrite_after_compaction": (
        "an overwrite of a handle older than a compaction leaves the compacted rows"
    ),
    "test_defect_history_of_an_older_version": (
        "history() counts down from the version of the handle, starting at the newest"
    ),
    "test_defect_pyarrow_reads_mapped_columns": (
        "to_pyarrow_table() returns nulls for tables with column mapping"
    ),
    "test_defect_copy_file": "copy_file() passes a parameter that does not exist",
    "test_defect_write_through_pyarrow": (
        "the output stream refuses the buffers pyarrow hands it"
    ),
    "test_defect_vacuum_lists_deleted_files_again": (
        "vacuum() lists and counts files an earlier vacuum deleted"
    ),
    "test_defect_optimize_without_checkpoint": (
        "compact() and z_order() ignore create_checkpoint=False"
    ),
    "test_defect_optimize_with_app_transactions": (
        "compact() and z_order() drop app_transactions"
    ),
    "test_defect_failed_creation_leaves_no_table": (
        "create() with an unknown partition column commits a table none can open"
    ),
    "test_defect_merge_executed_twice": "a second execute() panics",
    "test_defect_binary_partition_values": (
        "binary partition values come back as their escaped text"
    ),
    "test_defect_update_new_values_with_quotes": (
        "quotes in new_values are not escaped"
    ),
}
