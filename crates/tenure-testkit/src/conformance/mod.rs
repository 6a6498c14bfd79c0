//! The conformance suite: what every store must do, one file per guarantee and layer.
//!
//! `store` speaks to a provider in the words of the contract; `guard` to the engine above it, as users do. The tests read
//! a provider's capabilities and never ask which one it is. [`conformance!`](crate::conformance!) makes a test of each of
//! them for a [`Stand`](crate::Stand).

pub mod guard;
pub mod store;

use std::time::Duration;

/// A ttl that a test waits out.
const SHORT: Duration = Duration::from_secs(1);

/// Makes a module of tests, one for each test of the suite, that run against a [`Stand`](crate::Stand).
///
/// `conformance!(memory, MemoryStand);`
#[macro_export]
macro_rules! conformance {
    ($module:ident, $stand:ty) => {
        mod $module {
            use super::*;
            $crate::conformance! { @tests $stand;
                store {
                    g01_exclusion {
                        an_exclusive_lease_excludes_every_other
                        readers_share_a_name_and_exclude_a_writer
                        permits_are_never_given_beyond_their_number
                        a_lease_on_many_names_excludes_on_each
                        any_takes_the_first_free_names_and_no_other
                        names_that_differ_in_one_byte_are_different_names
                        a_lease_excludes_until_its_ttl_and_not_longer
                        a_renewed_lease_excludes_for_another_ttl
                        a_lingering_lease_excludes_although_it_was_ended
                        a_lease_that_was_held_for_long_does_not_linger
                        the_immediate_way_in_excludes_and_is_excluded
                        no_two_holders_that_exclude_each_other_ever_believe_at_once
                    }
                    g02_fencing {
                        tokens_of_a_name_rise_in_every_mode_and_across_batches
                        holders_at_the_same_time_have_different_tokens
                        reserved_tokens_are_given_to_nobody_else
                        a_renewal_reserves_further_tokens_above_all_before
                        asking_again_gives_the_same_token
                        a_waiter_has_one_token_however_it_learns_of_it
                        the_successor_of_an_expired_lease_has_a_greater_token
                        tokens_rise_for_a_process_that_comes_after_all_have_gone
                        claims_at_the_same_moment_never_share_a_token
                    }
                    g03_early_loss {
                        a_deadline_counts_from_before_the_request
                        a_renewal_that_comes_too_late_is_told_that_the_lease_is_gone
                        a_lease_that_is_asked_back_is_told_so_and_stays_exclusive
                        a_lease_that_is_asked_back_from_the_silent_ends_with_its_ttl
                        a_lease_that_is_ended_by_force_is_gone_at_once
                        force_says_what_it_found
                    }
                    g04_no_ghosts {
                        a_claim_whose_reply_was_lost_is_settled_by_its_id
                        a_claim_that_was_under_way_when_it_was_ended_takes_nothing
                        a_step_that_is_dropped_at_any_await_is_settled_by_end
                        a_claim_that_nobody_settles_ends_with_its_ttl
                        nothing_is_left_after_random_faults
                    }
                    g05_ownership {
                        an_unknown_id_keeps_and_ends_nothing
                        a_stale_holder_is_inert
                        a_lease_that_ran_out_never_comes_back
                        a_lease_that_ran_out_unnoticed_is_gone_too
                        ending_twice_does_not_free_the_successor
                        two_claims_of_one_process_are_two_owners
                        a_claim_that_arrives_after_its_end_is_never_granted
                        an_ended_lease_cannot_be_claimed_again
                    }
                    g06_progress {
                        a_release_grants_the_next_waiter_and_tells_it
                        one_release_grants_all_who_can_run_together
                        more_waiters_than_a_step_grants_are_all_served
                        an_expiry_grants_the_next_waiter
                        an_expired_reader_and_an_expired_permit_make_room
                        a_dead_waiter_is_passed_over
                        many_dead_waiters_cost_no_more_than_one
                        an_offer_that_nobody_takes_passes_on
                        a_confirmed_offer_lasts_for_its_ttl
                        an_offer_lasts_no_longer_than_its_ttl
                        who_gives_up_passes_the_name_on
                        a_waiter_that_is_touched_keeps_its_place
                        a_claim_gets_what_it_replaces
                        what_is_replaced_ends_although_the_claim_is_busy
                        closing_ends_what_is_bound_to_the_process
                    }
                    g07_order {
                        waiters_are_served_in_the_order_in_which_they_came
                        who_does_not_wait_does_not_pass_who_does
                        a_writer_is_not_starved_by_readers
                        permits_do_not_pass_a_waiting_claim_for_more
                        asking_again_keeps_the_place_in_the_queue
                        a_claim_on_any_waits_in_turn_and_leaves_every_queue
                    }
                    g08_batches {
                        a_batch_that_is_busy_takes_nothing
                        a_batch_that_waits_holds_nothing
                        a_batch_is_granted_when_its_last_name_is_free
                        batches_in_opposite_orders_never_deadlock
                        a_blocked_batch_is_overtaken_a_bounded_number_of_times
                        a_blocked_batch_is_overtaken_for_a_bounded_time
                        waiters_overtake_a_blocked_batch_within_the_same_bound
                        the_claims_of_one_call_are_answered_one_by_one
                        a_batch_of_the_greatest_size_is_one_lease
                    }
                    g09_cheap_waiting {
                        a_release_wakes_one_waiter_of_a_thousand
                        a_holder_is_told_of_the_first_waiter_and_not_of_each
                    }
                    g10_bounded_state {
                        names_that_were_used_once_leave_nothing
                        waiters_that_left_leave_nothing
                        leases_that_ran_out_are_not_listed
                    }
                    g12_truth {
                        the_list_shows_what_is_held
                        waiters_are_listed_with_their_place
                        pages_have_every_entry_once
                        a_prefix_finds_names_that_begin_so_and_no_others
                        a_lease_id_is_shown_nowhere
                        busy_tells_who_is_in_the_way
                        each_state_has_an_answer_of_its_own
                        mixed_modes_are_refused_and_change_nothing
                        a_free_name_may_be_used_in_another_mode
                        a_refused_claim_replaces_nothing
                        one_waiter_too_many_is_refused
                        claims_beyond_the_limits_are_refused
                    }
                }
                guard {
                    g01_exclusion {
                        an_unprotected_counter_under_a_lock_loses_nothing
                        no_two_guards_that_exclude_each_other_are_ever_held
                        each_kind_of_lock_excludes_what_it_must
                        a_job_that_lingers_is_skipped_by_the_others
                    }
                    g02_fencing {
                        a_lock_that_is_handed_on_has_a_greater_token_each_time
                        no_two_guards_have_one_token
                    }
                    g03_early_loss {
                        loss_is_told_before_the_store_grants_again_when_the_network_is_silent
                        a_guard_that_is_renewed_is_held_for_as_long_as_it_lives
                        one_failed_renewal_is_doubt_and_not_loss
                        a_lost_guard_never_comes_back
                        work_is_dropped_when_the_lease_is_lost
                        a_grant_that_comes_after_its_deadline_is_not_a_guard
                        a_guard_that_is_asked_back_is_told
                        a_guard_of_this_store_that_is_ended_by_force_is_told
                        a_leader_begins_a_new_term_after_a_loss
                    }
                    g04_no_ghosts {
                        a_call_that_is_dropped_at_any_await_leaves_nothing
                        a_wait_that_is_dropped_at_any_await_leaves_nothing
                        a_release_that_is_dropped_at_any_await_is_done
                        a_task_that_is_aborted_in_the_local_queue_leaves_it
                        a_task_that_panics_releases_its_lock
                        a_guard_that_is_dropped_off_the_runtime_is_released
                        a_guard_that_outlives_its_locks_is_released_when_it_is_dropped
                        close_releases_what_was_forgotten
                        close_says_what_it_could_not_release
                        what_is_dropped_while_the_store_is_away_ends_with_its_ttl
                        a_claim_for_another_that_loses_its_place_takes_nothing
                        nothing_is_left_after_random_faults_and_cancellations
                    }
                    g05_ownership {
                        a_stale_guard_does_not_release_its_successor
                        the_release_of_one_guard_leaves_the_other_alone
                        a_release_of_what_is_held_is_ok
                        a_release_that_is_not_answered_is_unavailable
                    }
                    g06_progress {
                        a_release_wakes_the_waiter_of_another_process
                        a_lost_push_costs_one_touch
                        a_push_without_the_grant_is_as_good
                        the_names_of_a_dead_process_are_granted_after_its_ttl
                        a_waiter_outlasts_a_store_that_is_away
                        a_lock_that_came_by_push_is_held_for_as_long_as_its_guard
                        an_offer_that_cannot_be_confirmed_is_lost_in_time
                    }
                    g07_order {
                        tasks_are_served_in_the_order_in_which_they_came
                        hand_off_inside_a_process_is_bounded_while_others_wait
                        a_writer_is_not_starved_by_readers_of_many_processes
                    }
                    g08_batches {
                        opposite_orders_never_deadlock
                        a_batch_that_fails_takes_nothing
                        each_is_answered_name_by_name_and_leaves_nothing_on_failure
                        any_takes_what_is_free_in_the_given_order
                    }
                    g09_cheap_waiting {
                        a_thousand_waiters_of_a_process_cost_no_trip_each
                        a_hand_over_between_processes_costs_a_constant_number_of_trips
                        renewals_share_trips
                    }
                    g11_deadlines {
                        a_wait_in_vain_ends_at_its_deadline
                        a_claim_that_is_being_given_up_is_not_taken_over
                        each_of_many_local_waiters_ends_at_its_own_deadline
                        no_patience_is_one_try
                        a_wait_ends_at_its_deadline_though_the_store_hangs
                        the_last_try_is_made_at_the_deadline
                        wakes_for_nothing_do_not_move_the_deadline
                    }
                    g12_truth {
                        a_guard_is_listed_as_what_it_is
                        busy_wrong_and_unavailable_are_told_apart
                    }
                }
            }
        }
    };
    (@tests $stand:ty; $($layer:ident { $($file:ident { $($name:ident)* })* })+) => {
        $(mod $layer {
            use super::*;
            $(mod $file {
                use super::*;
                $crate::conformance! { @file $stand; $layer $file $($name)* }
            })*
        })+
    };
    (@file $stand:ty; $layer:ident $file:ident $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::stand::play::<$stand>($crate::conformance::$layer::$file::$name);
        })*
    };
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// A test that is written and not listed would never run.
    #[test]
    fn every_test_of_the_suite_is_listed() {
        let list = include_str!("mod.rs");
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
        for file in ["store", "guard"].iter().flat_map(|layer| fs::read_dir(here.join(layer)).unwrap()) {
            let file = file.unwrap().path();
            let text = fs::read_to_string(&file).unwrap();
            for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split('(').next().unwrap();
                assert!(list.contains(&format!(" {name}\n")), "{name} of {file:?} is not listed");
            }
        }
    }
}
