-- Planning as a query: the bounds of migration 1, filled from here on, and what makes them findable.
-- `class_N` says how far apart `min_N` and `max_N` are (0: they are one value), so that an index on (class, min) leads
-- to the files around a value: null where one of the bounds is unknown, -1 where every value is null. Bit N of `nulls` is
-- 0 when no value of slot N is null, bit 8 when the bounds are values of rows. `deleted_records` counts the rows that the deletion vector hides.
ALTER TABLE dl_add_files ADD COLUMN class_0 bigint;
ALTER TABLE dl_add_files ADD COLUMN class_1 bigint;
ALTER TABLE dl_add_files ADD COLUMN class_2 bigint;
ALTER TABLE dl_add_files ADD COLUMN class_3 bigint;
ALTER TABLE dl_add_files ADD COLUMN class_4 bigint;
ALTER TABLE dl_add_files ADD COLUMN class_5 bigint;
ALTER TABLE dl_add_files ADD COLUMN class_6 bigint;
ALTER TABLE dl_add_files ADD COLUMN class_7 bigint;
ALTER TABLE dl_add_files ADD COLUMN nulls bigint;
ALTER TABLE dl_add_files ADD COLUMN deleted_records bigint;
CREATE INDEX dl_add_files_by_0 ON dl_add_files (table_id, class_0, min_0, max_0) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_by_1 ON dl_add_files (table_id, class_1, min_1, max_1) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_by_2 ON dl_add_files (table_id, class_2, min_2, max_2) WHERE removed_version IS NULL;
CREATE INDEX dl_add_files_by_3 ON dl_add_files (table_id, class_3, min_3, max_3) WHERE removed_version IS NULL;
