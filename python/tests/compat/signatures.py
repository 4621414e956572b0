"""The parameters of every public callable, in order, with their defaults."""

SIGNATURES = {
    "write_deltalake": (
        "table_or_uri, data, *, partition_by=None, mode='error', name=None, "
        "description=None, configuration=None, schema_mode=None, "
        "storage_options=None, predicate=None, target_file_size=None, "
        "writer_properties=None, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "convert_to_deltalake": (
        "uri, mode='error', partition_by=None, partition_strategy=None, name=None, "
        "description=None, configuration=None, storage_options=None, *args, "
        "collect_stats=True, commit_properties=None, post_commithook_properties=None"
    ),
    "enable_nanosecond_timestamps": "",
    "init_tracing": "endpoint=None",
    "rust_core_version": "",
    "transaction.create_table_with_add_actions": (
        "table_uri, schema, add_actions, mode='error', partition_by=None, name=None, "
        "description=None, configuration=None, storage_options=None, *args, "
        "commit_properties=None, post_commithook_properties=None"
    ),
    "table.DeltaTable.__init__": (
        "self, table_uri, version=None, storage_options=None, without_files=False, "
        "log_buffer_size=None, skip_stats=False"
    ),
    "table.DeltaTable.is_deltatable": "table_uri, storage_options=None",
    "table.DeltaTable.create": (
        "table_uri, schema, mode='error', partition_by=None, name=None, "
        "description=None, configuration=None, storage_options=None, *args, "
        "commit_properties=None, post_commithook_properties=None, "
        "raise_if_key_not_exists=True"
    ),
    "table.DeltaTable.version": "self",
    "table.DeltaTable.partitions": (
        "self, partition_filters=None, *, file_pruning_predicate=None"
    ),
    "table.DeltaTable.file_uris": (
        "self, partition_filters=None, *, file_pruning_predicate=None"
    ),
    "table.DeltaTable.load_as_version": "self, version",
    "table.DeltaTable.load_cdf": (
        "self, starting_version=0, ending_version=None, starting_timestamp=None, "
        "ending_timestamp=None, columns=None, predicate=None, "
        "allow_out_of_range=False"
    ),
    "table.DeltaTable.scan": "self, columns=None, predicate=None",
    "table.DeltaTable.deletion_vectors": "self",
    "table.DeltaTable.schema": "self",
    "table.DeltaTable.metadata": "self",
    "table.DeltaTable.protocol": "self",
    "table.DeltaTable.generate": "self",
    "table.DeltaTable.history": "self, limit=None",
    "table.DeltaTable.count": "self",
    "table.DeltaTable.vacuum": (
        "self, retention_hours=None, dry_run=True, enforce_retention_duration=True, "
        "*args, commit_properties=None, post_commithook_properties=None, full=False, "
        "keep_versions=None"
    ),
    "table.DeltaTable.update": (
        "self, updates=None, new_values=None, predicate=None, writer_properties=None,"
        " error_on_type_mismatch=True, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.DeltaTable.merge": (
        "self, source, predicate, source_alias=None, target_alias=None, "
        "merge_schema=False, error_on_type_mismatch=True, writer_properties=None, "
        "streamed_exec=True, max_spill_size=None, max_temp_directory_size=None, "
        "*args, commit_properties=None, post_commithook_properties=None"
    ),
    "table.DeltaTable.restore": (
        "self, target, *, ignore_missing_files=False, "
        "protocol_downgrade_allowed=False, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.DeltaTable.to_pyarrow_dataset": (
        "self, partitions=None, filesystem=None, parquet_read_options=None, "
        "schema=None, as_large_types=False, file_pruning_predicate=None"
    ),
    "table.DeltaTable.to_pyarrow_table": (
        "self, partitions=None, columns=None, filesystem=None, filters=None"
    ),
    "table.DeltaTable.to_pandas": (
        "self, partitions=None, columns=None, filesystem=None, filters=None, "
        "types_mapper=None"
    ),
    "table.DeltaTable.update_incremental": "self",
    "table.DeltaTable.create_checkpoint": "self",
    "table.DeltaTable.compact_logs": "self, starting_version, ending_version",
    "table.DeltaTable.cleanup_metadata": "self",
    "table.DeltaTable.get_add_actions": "self, flatten=False",
    "table.DeltaTable.delete": (
        "self, predicate=None, writer_properties=None, *args, commit_properties=None,"
        " post_commithook_properties=None"
    ),
    "table.DeltaTable.repair": (
        "self, dry_run=False, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.DeltaTable.transaction_version": "self, app_id",
    "table.DeltaTable.create_write_transaction": (
        "self, actions, mode, schema, partition_by=None, partition_filters=None, "
        "*args, commit_properties=None, post_commithook_properties=None"
    ),
    "table.TableMerger.__init__": "self, builder, table",
    "table.TableMerger.when_matched_update": "self, updates, predicate=None",
    "table.TableMerger.when_matched_update_all": (
        "self, predicate=None, except_cols=None"
    ),
    "table.TableMerger.when_matched_delete": "self, predicate=None",
    "table.TableMerger.when_not_matched_insert": "self, updates, predicate=None",
    "table.TableMerger.when_not_matched_insert_all": (
        "self, predicate=None, except_cols=None"
    ),
    "table.TableMerger.when_not_matched_by_source_update": (
        "self, updates, predicate=None"
    ),
    "table.TableMerger.when_not_matched_by_source_delete": "self, predicate=None",
    "table.TableMerger.execute": "self",
    "table.TableAlterer.__init__": "self, table",
    "table.TableAlterer.add_feature": (
        "self, feature, allow_protocol_versions_increase=False, *args, "
        "commit_properties=None, post_commithook_properties=None"
    ),
    "table.TableAlterer.add_columns": (
        "self, fields, *args, commit_properties=None, post_commithook_properties=None"
    ),
    "table.TableAlterer.add_constraint": (
        "self, constraints, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.TableAlterer.drop_constraint": (
        "self, name, raise_if_not_exists=True, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.TableAlterer.drop_column_not_null": (
        "self, column_name, commit_properties=None, post_commithook_properties=None"
    ),
    "table.TableAlterer.set_table_properties": (
        "self, properties, raise_if_not_exists=True, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.TableAlterer.set_table_name": (
        "self, name, *args, commit_properties=None, post_commithook_properties=None"
    ),
    "table.TableAlterer.set_table_description": (
        "self, description, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.TableAlterer.set_column_metadata": (
        "self, column, metadata, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.TableOptimizer.__init__": "self, table",
    "table.TableOptimizer.compact": (
        "self, partition_filters=None, target_size=None, max_concurrent_tasks=None, "
        "max_spill_size=None, max_temp_directory_size=None, min_commit_interval=None,"
        " writer_properties=None, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "table.TableOptimizer.z_order": (
        "self, columns, partition_filters=None, target_size=None, "
        "max_concurrent_tasks=None, max_spill_size=None, "
        "max_temp_directory_size=None, min_commit_interval=None, "
        "writer_properties=None, *args, commit_properties=None, "
        "post_commithook_properties=None"
    ),
    "QueryBuilder.__init__": "self, session_config=None",
    "QueryBuilder.register": "self, table_name, delta_table",
    "QueryBuilder.execute": "self, sql",
    "WriterProperties": (
        "data_page_size_limit=None, dictionary_page_size_limit=None, "
        "data_page_row_count_limit=None, write_batch_size=None, "
        "max_row_group_size=None, compression=None, compression_level=None, "
        "statistics_truncate_length=None, default_column_properties=None, "
        "column_properties=None"
    ),
    "ColumnProperties": (
        "dictionary_enabled=None, statistics_enabled=None, "
        "bloom_filter_properties=None, encoding=None"
    ),
    "BloomFilterProperties": "set_bloom_filter_enabled, fpp=None, ndv=None",
    "CommitProperties": (
        "custom_metadata=None, max_commit_retries=None, app_transactions=None"
    ),
    "PostCommitHookProperties": "create_checkpoint=True, cleanup_expired_logs=None",
    "transaction.AddAction": (
        "path, size, partition_values, modification_time, data_change, stats"
    ),
    "Transaction": "app_id, version, last_updated=None",
    "Field": "name, type, nullable=True, metadata=None",
    "Schema": "fields",
    "VariantType": "",
    "transaction.RemoveAction": (
        "path, data_change, deletion_timestamp, size=None, partition_values=None"
    ),
    "schema.PrimitiveType": "data_type",
    "schema.ArrayType": "element_type, contains_null=True",
    "schema.MapType": "key_type, value_type, value_contains_null=True",
    "schema.StructType": "fields",
    "fs.DeltaStorageHandler.__init__": (
        "self, table_uri, options=None, known_sizes=None"
    ),
    "fs.DeltaStorageHandler.from_table": "table, options=None, known_sizes=None",
    "fs.DeltaStorageHandler.get_type_name": "self",
    "fs.DeltaStorageHandler.copy_file": "self, src, dst",
    "fs.DeltaStorageHandler.create_dir": "self, path, recursive=True",
    "fs.DeltaStorageHandler.delete_dir": "self, path",
    "fs.DeltaStorageHandler.delete_file": "self, path",
    "fs.DeltaStorageHandler.equals": "self, other",
    "fs.DeltaStorageHandler.delete_dir_contents": (
        "self, path, *, accept_root_dir=False, missing_dir_ok=False"
    ),
    "fs.DeltaStorageHandler.delete_root_dir_contents": "self",
    "fs.DeltaStorageHandler.get_file_info": "self, paths",
    "fs.DeltaStorageHandler.move": "self, src, dest",
    "fs.DeltaStorageHandler.normalize_path": "self, path",
    "fs.DeltaStorageHandler.open_input_file": "self, path",
    "fs.DeltaStorageHandler.open_input_stream": "self, path",
    "fs.DeltaStorageHandler.open_output_stream": "self, path, metadata=None",
    "fs.DeltaStorageHandler.get_file_info_selector": "self, selector",
    "fs.DeltaStorageHandler.open_append_stream": "self, path, metadata",
}
