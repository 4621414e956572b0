"""Tests whose outcome is expected to differ between the packages.

Both dictionaries map the name of a test, of one of its cases where it ends in brackets,
to the reason, and to the exceptions by which it must fail: any other is an error.
"""

from __future__ import annotations

from dataclasses import dataclass

import deltalake
import pytest

from deltalakedb.exceptions import CommitFailedError, DeltaError

ASSERT = (AssertionError,)
#: A call that should raise does not.
NOTHING = (pytest.fail.Exception,)


@dataclass(frozen=True)
class Kind:
    """A difference of tables here, and the tests of their own behaviour.

    These are in ``tests/test_differences.py``.
    """

    reason: str
    instead: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    kind: Kind
    errors: tuple[type[BaseException], ...]


@dataclass(frozen=True)
class Defect:
    reason: str
    errors: tuple[type[BaseException], ...]


APPEND = Kind(
    "an append has read nothing: the catalog puts it behind what was committed since",
    (
        "test_an_append_of_an_old_handle_holds",
        "test_an_append_of_an_old_handle_comes_after_an_overwrite",
    ),
)
JUDGED = Kind(
    "the catalog judges by the rows an operation read, file by file, and not by the "
    "kind of operation",
    (
        "test_rows_of_other_files_do_not_conflict",
        "test_an_overwrite_of_an_old_handle_conflicts_with_an_append",
    ),
)
HISTORY = Kind(
    "the catalog keeps every version, whatever is cleaned up in the mirror",
    ("test_the_catalog_keeps_what_is_cleaned_up",),
)
COUNT = Kind(
    "count() is exact, from the rows where the log does not say how many there are",
    ("test_count_is_exact",),
)
VACUUM = Kind(
    "files that no version names may be a transaction's: they stay until no "
    "transaction can be that old",
    ("test_files_that_no_version_names_stay",),
)
PICKLE = Kind(
    "the schema types are plain Python, and can be pickled", ("test_types_are_pickled",)
)
DOMAINS = Kind(
    "tables with domain metadata are written, too",
    ("test_tables_with_domain_metadata_are_written",),
)
DATAFUSION = Kind(
    "tables are not table providers of the package datafusion, which reads them by "
    "from_arrow() or as datasets of pyarrow",
    ("test_datafusion_is_told_other_ways",),
)
ENABLED = Kind(
    "timestamps have microseconds: the library is built without nanoseconds",
    ("test_nanoseconds_cannot_be_enabled",),
)
NANOSECONDS = Kind(
    "a time with nanoseconds is refused, and not cut off",
    (
        "test_nanoseconds_are_refused",
        "test_nanoseconds_that_are_whole_microseconds_are_taken",
    ),
)
MERGE_HISTORY = Kind(
    "the history of a merge has its predicate twice, as delta-rs writes it",
    ("test_merge_history_has_the_predicate",),
)
PARTITION = Kind(
    "an unknown partition column is a SchemaMismatchError, which is a DeltaError",
    ("test_an_unknown_partition_column_is_of_the_schema",),
)
PREDICATE = Kind(
    "an append with a predicate is refused: it replaces nothing",
    ("test_an_append_with_a_predicate_is_refused",),
)
SECONDS = Kind(
    "timestamps of seconds are taken as microseconds",
    ("test_timestamps_of_seconds_are_taken",),
)
FROZEN = Kind(
    "assigning to a Transaction is a FrozenInstanceError",
    ("test_a_transaction_is_frozen",),
)
REPR = Kind(
    "the repr of CommitProperties shows its values",
    ("test_the_repr_of_commit_properties_has_their_values",),
)
HANDLE = Kind(
    "a handle that commits is at the version it made",
    ("test_a_handle_that_commits_is_at_its_version",),
)
GENERATED = Kind(
    "an update computes the generated columns that depend on what it sets",
    ("test_an_update_computes_generated_columns",),
)
COLUMN = Kind(
    "an update of a column that is not there is an error",
    ("test_an_update_of_an_unknown_column_is_refused",),
)

#: Where a log kept in a SQL catalog legitimately differs. With
#: ``COMPAT_PACKAGE=deltalakedb`` each of these tests must fail; one that passes no
#: longer belongs here.
DIFFERENCES: dict[str, Difference] = {
    "test_conflicting_operations[append then merge update 2]": Difference(
        JUDGED, NOTHING
    ),
    "test_conflicting_operations[append then merge insert 7]": Difference(
        JUDGED, NOTHING
    ),
    "test_conflicting_operations[overwrite then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[overwrite then set name]": Difference(JUDGED, NOTHING),
    "test_conflicting_operations[replace 0 then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[replace 0 then delete 0]": Difference(JUDGED, ASSERT),
    "test_conflicting_operations[delete 0 then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[delete 0 then overwrite]": Difference(JUDGED, ASSERT),
    "test_conflicting_operations[delete 0 then delete all]": Difference(JUDGED, ASSERT),
    "test_conflicting_operations[delete 0 then merge update 2]": Difference(
        JUDGED, NOTHING
    ),
    "test_conflicting_operations[delete 0 then add column]": Difference(
        JUDGED, NOTHING
    ),
    "test_conflicting_operations[delete all then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[update 0 then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[merge update 2 then append]": Difference(
        APPEND, NOTHING
    ),
    "test_conflicting_operations[compact then delete 0]": Difference(JUDGED, ASSERT),
    "test_conflicting_operations[compact then update 0]": Difference(JUDGED, ASSERT),
    "test_conflicting_operations[compact then merge insert 7]": Difference(
        JUDGED, NOTHING
    ),
    "test_conflicting_operations[add column then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[set name then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[add feature then append]": Difference(APPEND, NOTHING),
    "test_conflicting_operations[restore then append]": Difference(APPEND, NOTHING),
    "test_compatible_operations[append then overwrite]": Difference(
        JUDGED, (CommitFailedError,)
    ),
    "test_compatible_operations[append then delete all]": Difference(
        JUDGED, (CommitFailedError,)
    ),
    "test_metadata_change_conflicts_with_append": Difference(APPEND, NOTHING),
    "test_protocol_change_conflicts": Difference(APPEND, NOTHING),
    "test_no_retries_left": Difference(APPEND, NOTHING),
    "test_writes_with_an_unsupported_feature[DomainMetadata]": Difference(
        DOMAINS, NOTHING
    ),
    "test_count_ignores_deletion_vectors": Difference(COUNT, ASSERT),
    "test_count_without_statistics": Difference(COUNT, ASSERT),
    "test_convert_without_statistics": Difference(COUNT, ASSERT),
    "test_cleanup_forgets_old_versions": Difference(HISTORY, NOTHING),
    "test_vacuum_full_finds_unknown_files": Difference(VACUUM, ASSERT),
    "test_vacuum_full_deletes": Difference(VACUUM, ASSERT),
    "test_native_classes_cannot_be_pickled": Difference(PICKLE, NOTHING),
    "test_datafusion_provider_needs_datafusion": Difference(DATAFUSION, ASSERT),
    "test_nanosecond_timestamps_can_be_enabled": Difference(ENABLED, (RuntimeError,)),
    "test_merge_history": Difference(MERGE_HISTORY, ASSERT),
    "test_compact_unknown_partition": Difference(PARTITION, ASSERT),
    "test_append_with_a_predicate_checks_the_data": Difference(PREDICATE, ASSERT),
    "test_primitive_type_from_unsupported_arrow_type[timestamp[s]]": Difference(
        SECONDS, NOTHING
    ),
    "test_transaction_is_read_only": Difference(FROZEN, ASSERT),
    "test_commit_properties_defaults": Difference(REPR, ASSERT),
    "test_write_transaction_leaves_the_handle_behind": Difference(HANDLE, ASSERT),
    "test_update_ignores_unknown_columns": Difference(COLUMN, (DeltaError,)),
    "test_generated_column_is_not_recomputed_by_update": Difference(GENERATED, NOTHING),
    "test_nanoseconds_are_truncated": Difference(NANOSECONDS, (DeltaError,)),
    "test_nanosecond_timestamps_are_off_by_default": Difference(
        NANOSECONDS, (DeltaError,)
    ),
}

#: What deltalake 1.6.6 gets wrong. Each of these tests states the right behaviour: it
#: must fail with ``deltalake``, and may pass with a package that does better.
DEFECTS: dict[str, Defect] = {
    "test_defect_two_compactions_duplicate_rows": Defect(
        "a compaction retried over another one adds the same rows again",
        ASSERT,
    ),
    "test_defect_delete_everything_after_compaction": Defect(
        "delete() of a handle older than a compaction leaves the compacted rows",
        ASSERT,
    ),
    "test_defect_overwrite_after_compaction": Defect(
        "an overwrite of a handle older than a compaction leaves the compacted rows",
        ASSERT,
    ),
    "test_defect_history_of_an_older_version": Defect(
        "history() counts down from the version of the handle, starting at the newest",
        ASSERT,
    ),
    "test_defect_pyarrow_reads_mapped_columns": Defect(
        "to_pyarrow_table() returns nulls for tables with column mapping",
        (TypeError,),
    ),
    "test_defect_copy_file": Defect(
        "copy_file() passes a parameter that does not exist",
        (TypeError,),
    ),
    "test_defect_delete_dir_contents": Defect(
        "delete_dir_contents() calls a method that does not exist",
        (AttributeError,),
    ),
    "test_defect_delete_dir_contents_of_the_root": Defect(
        "delete_dir_contents() of the whole table calls a method that does not exist",
        (AttributeError,),
    ),
    "test_defect_delete_root_dir_contents": Defect(
        "delete_root_dir_contents() calls a method that does not exist",
        (AttributeError,),
    ),
    "test_defect_write_through_pyarrow": Defect(
        "the output stream refuses the buffers pyarrow hands it",
        (TypeError,),
    ),
    "test_defect_vacuum_lists_deleted_files_again": Defect(
        "vacuum() lists and counts files an earlier vacuum deleted",
        ASSERT,
    ),
    "test_defect_optimize_without_checkpoint": Defect(
        "compact() and z_order() ignore create_checkpoint=False",
        ASSERT,
    ),
    "test_defect_optimize_with_app_transactions": Defect(
        "compact() and z_order() drop app_transactions",
        ASSERT,
    ),
    "test_defect_failed_creation_leaves_no_table": Defect(
        "create() with an unknown partition column commits a table none can open",
        ASSERT,
    ),
    "test_defect_merge_executed_twice": Defect(
        "a second execute() panics",
        ASSERT,
    ),
    "test_defect_binary_partition_values": Defect(
        "binary partition values come back as their escaped text",
        ASSERT,
    ),
    "test_defect_update_new_values_with_quotes": Defect(
        "quotes in new_values are not escaped",
        (deltalake.exceptions.DeltaError,),
    ),
}
