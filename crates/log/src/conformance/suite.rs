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
        tables::a_new_table_is_found_by_id_name_and_place,
        tables::heads_begin_at_one_point,
        tables::a_point_shows_every_table_as_it_was,
        commits::exactly_is_exact,
        commits::blind_appends_are_rebased,
        commits::every_conflict_rule_holds,
        commits::isolation_decides_what_an_added_file_means,
        commits::the_same_commit_again_is_the_same_commit,
        commits::several_tables_commit_together_or_not_at_all,
        commits::what_a_transaction_only_read_must_still_be_so,
        commits::illegal_commits_change_nothing,
        commits::commit_info_says_what_happened,
        commits::in_commit_timestamps_are_written_where_enabled,
        clients::many_writers_leave_no_gap,
        interrupted::commits,
        interrupted::creations_and_loads,
        interrupted::renames_and_drops,
        interrupted::steps_of_an_expiry,
        reader::files_live_from_their_add_to_their_remove,
        reader::a_file_is_itself_however_its_path_is_spelled,
        reader::a_deletion_vector_makes_another_file,
        reader::txns_and_domains_are_remembered,
        reader::odd_values_come_back_unchanged,
        reader::the_past_is_found_by_version_and_by_time,
        reader::what_is_not_held_is_refused_by_name,
        reader::history_is_newest_first_and_by_range,
        reader::planning_never_loses_a_matching_file,
        reader::what_a_checkpoint_is_made_of,
        reader::summaries_are_what_the_files_say,
        administration::a_new_epoch_is_in_every_commit_after_it,
        administration::a_catalog_says_how_much_history_is_kept,
        administration::the_audit_ends_and_no_table_does,
        loads::loaded_history_is_as_if_committed,
        loads::history_may_begin_at_a_checkpoint,
        loads::foreign_commits_are_taken_in,
        loads::an_unfinished_load_is_invisible_and_goes_on,
        loads::commits_keep_their_ids,
        loads::a_commit_that_stands_twice_in_a_log_counts_once,
        loads::a_transaction_comes_back_in_whole_or_not_at_all,
        loads::an_unfinished_one_takes_another_name_or_is_given_up,
        loads::only_a_table_without_versions_begins_with_a_state,
        expiry::what_ends_leaves_the_rest_as_it_was,
        expiry::commits_from_versions_that_ended,
        expiry::history_ends_where_all_limits_allow_it,
        expiry::a_long_history_ends_in_steps,
        expiry::a_read_of_a_version_that_ends_is_whole_or_an_error,
        mirrors::one_publisher_at_a_time,
        mirrors::a_diverged_table_takes_no_commits,
        mirrors::commits_are_before_a_divergence_or_not_at_all,
        owners::a_table_takes_commits_of_its_owner_alone,
        owners::history_is_loaded_in_the_owners_name_alone,
        owners::its_life_and_history_are_the_owners,
        times::those_ahead_of_the_clock_are_imported_only_when_accepted,
        times::those_that_stand_still_are_made_to_grow,
        times::a_table_ahead_of_the_clock_goes_on_alone,
        times::a_transaction_is_later_than_what_it_read,
        verbatim::bytes_become_the_version_as_they_are,
        verbatim::sent_again_it_is_the_same_commit,
        verbatim::it_becomes_its_version_or_none,
        verbatim::its_time_is_in_it_where_the_table_says_so,
        verbatim::its_time_is_the_claimed_one_elsewhere,
        verbatim::what_no_commit_may_say_is_refused,
        verbatim::features_are_tracked_that_are_not_written,
        lifecycle::a_renamed_table_is_the_same_table,
        lifecycle::a_dropped_table_is_gone_and_comes_back,
        lifecycle::a_dropped_table_finds_its_name_or_place_taken,
        lifecycle::a_dropped_table_is_kept_as_long_as_was_said,
        lifecycle::a_table_may_be_dropped_unpublished,
        lifecycle::a_place_is_taken_until_its_files_are_deleted,
        lifecycle::a_detached_table_comes_back_as_another,
        lifecycle::commits_are_before_a_drop_or_not_at_all,
        listing::tables_are_listed_page_by_page,
        listing::a_listing_goes_on_while_tables_come_and_go,
        listing::tables_that_are_not_live_are_listed_page_by_page,
        listing::a_place_is_not_inside_of_another,
        listing::of_places_in_each_other_one_is_taken,
        holds::a_held_version_is_listed_until_its_hold_ends,
        holds::a_version_that_is_not_there_cannot_be_held,
        holds::files_of_a_held_version_are_not_deleted_with_the_table,
        namespaces::a_namespace_is_there_until_it_is_dropped,
        namespaces::a_table_is_in_no_namespace_that_was_dropped,
        references::a_table_is_known_by_the_folders_of_its_files,
        references::files_that_others_need_are_not_deleted,
        references::a_clone_is_before_a_drop_with_files_or_not_at_all,
        references::a_place_is_known_however_it_is_spelled,
        references::a_clone_knows_its_sources,
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
    listing::a_table_that_is_over_is_removed(fresh(1, first.clone()).await.unwrap(), first).await;
    let second = clock(2);
    listing::a_large_table_is_removed_in_steps(fresh(2, second.clone()).await.unwrap(), second).await;
}
