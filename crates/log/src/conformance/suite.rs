//! All checks of a catalog, in order.

use super::*;

/// Runs every check, each on a fresh catalog from `fresh(seed)`.
pub async fn run<F, Fut>(fresh: F)
where
    F: Fn(u64) -> Fut,
    Fut: Future<Output = Result<Arc<dyn Catalog>>>,
{
    let mut seed = 0;
    macro_rules! check {
        ($($story:path),* $(,)?) => {$(
            seed += 1;
            eprintln!("conformance: {}", stringify!($story));
            $story(fresh(seed).await.unwrap()).await;
        )*};
    }
    check!(
        tables::a_new_table_is_found_by_id_name_and_location,
        tables::heads_are_read_at_one_point,
        tables::a_point_shows_every_table_as_it_was,
        commits::base_exactly_accepts_only_the_next_version,
        commits::blind_appends_are_rebased,
        commits::every_conflict_rule_holds,
        commits::isolation_level_decides_whether_added_files_conflict,
        commits::a_commit_sent_again_is_not_made_twice,
        commits::multi_table_commits_are_atomic,
        commits::reads_of_a_transaction_are_validated_at_commit,
        commits::illegal_commits_change_nothing,
        commits::commit_info_describes_the_commit,
        commits::in_commit_timestamps_are_written_where_enabled,
        clients::many_writers_leave_no_gap,
        interrupted::commits,
        interrupted::creations_and_loads,
        interrupted::renames_and_drops,
        interrupted::steps_of_an_expiry,
        reader::files_are_live_from_add_to_remove,
        reader::spellings_of_a_path_are_one_file,
        reader::a_deletion_vector_is_part_of_a_files_identity,
        reader::snapshots_have_txns_and_domains,
        reader::unusual_values_are_stored_unchanged,
        reader::time_travel_finds_versions_by_number_and_by_time,
        reader::missing_versions_and_tables_are_named,
        reader::history_is_newest_first_and_by_range,
        reader::data_skipping_keeps_every_matching_file,
        reader::pages_of_files_and_tombstones_are_complete_and_ordered,
        reader::files_and_tombstones_of_many_pages_are_complete,
        reader::summaries_equal_those_computed_from_files,
        administration::a_new_epoch_is_in_every_commit_after_it,
        administration::a_successor_has_the_id_and_a_later_epoch,
        administration::a_catalog_says_how_much_history_is_kept,
        administration::the_audit_ends_and_no_table_does,
        loads::loaded_history_equals_committed_history,
        loads::history_may_begin_at_a_checkpoint,
        loads::foreign_commits_are_loaded,
        loads::an_unfinished_load_is_invisible_and_resumes,
        loads::loaded_commits_keep_their_ids,
        loads::a_commit_logged_twice_is_loaded_once,
        loads::a_transaction_is_loaded_atomically,
        loads::a_transaction_without_ids_is_loaded_atomically,
        loads::an_unfinished_load_is_renamed_or_abandoned,
        loads::only_an_empty_table_loads_a_base_state,
        expiry::expiry_leaves_retained_versions_unchanged,
        expiry::commits_based_on_expired_versions,
        expiry::expiry_stops_at_the_strictest_limit,
        expiry::a_long_history_expires_in_steps,
        expiry::a_read_of_an_expiring_version_is_complete_or_fails,
        mirrors::only_the_newest_lease_moves_the_watermark,
        mirrors::a_diverged_table_refuses_commits,
        mirrors::tables_with_unpublished_versions_are_found,
        mirrors::commits_concurrent_with_a_divergence_precede_it_or_fail,
        owners::an_owned_table_accepts_only_commits_of_its_owner,
        owners::an_owned_table_accepts_only_loads_of_its_owner,
        owners::an_owned_table_is_changed_and_expired_only_by_its_owner,
        times::commits_ahead_of_the_clock_are_loaded_only_when_accepted,
        times::loaded_times_are_made_strictly_increasing,
        times::a_table_ahead_of_the_clock_does_not_advance_others,
        times::a_commit_is_later_than_the_versions_it_read,
        verbatim::verbatim_bytes_become_the_version,
        verbatim::a_verbatim_commit_sent_again_is_not_made_twice,
        verbatim::a_verbatim_commit_becomes_its_version_or_none,
        verbatim::a_verbatim_commit_has_its_in_commit_timestamp,
        verbatim::a_verbatim_commit_without_in_commit_timestamp_has_the_claimed_time,
        verbatim::illegal_verbatim_commits_are_refused,
        verbatim::verbatim_commits_may_enable_tracked_features,
        lifecycle::a_renamed_table_keeps_its_id_and_history,
        lifecycle::a_dropped_table_is_hidden_until_it_is_undropped,
        lifecycle::undrop_is_refused_where_name_or_location_is_taken,
        lifecycle::a_dropped_table_is_kept_for_its_retention,
        lifecycle::an_unpublished_table_is_dropped_where_that_is_allowed,
        lifecycle::a_location_is_taken_until_its_files_are_deleted,
        lifecycle::a_detached_table_is_imported_as_a_new_table,
        lifecycle::commits_concurrent_with_a_drop_precede_it_or_fail,
        listing::tables_are_listed_page_by_page,
        listing::a_listing_continues_while_tables_are_created_and_dropped,
        listing::inactive_tables_are_listed_page_by_page,
        listing::locations_of_tables_do_not_overlap,
        listing::of_overlapping_locations_only_one_is_registered,
        holds::a_held_version_is_listed_until_its_hold_ends,
        holds::a_missing_version_cannot_be_held,
        holds::files_of_a_held_version_are_not_deleted_with_the_table,
        namespaces::a_namespace_exists_until_it_is_dropped,
        namespaces::no_table_is_created_in_a_dropped_namespace,
        references::tables_are_found_by_the_folders_they_refer_to,
        references::files_that_clones_need_are_not_deleted,
        references::a_clone_concurrent_with_a_drop_precedes_it_or_fails,
        references::a_location_is_found_by_every_spelling,
        references::source_tables_of_a_clone_are_found,
    );
}

/// Runs the checks that need time to pass, each on a fresh catalog from `fresh(seed, clock)` that uses this clock.
pub async fn run_with_clock<F, Fut>(fresh: F)
where
    F: Fn(u64, Arc<SeededClock>) -> Fut,
    Fut: Future<Output = Result<Arc<dyn Catalog>>>,
{
    let clock = |seed| Arc::new(SeededClock::new(1_700_000_000_000, seed));
    let first = clock(1);
    listing::a_dropped_table_is_removed_after_its_retention(fresh(1, first.clone()).await.unwrap(), first).await;
    let second = clock(2);
    listing::a_large_table_is_removed_in_steps(fresh(2, second.clone()).await.unwrap(), second).await;
}
