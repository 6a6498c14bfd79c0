//! The conformance suite: what every store must do, one module per guarantee.
//!
//! The tests read a provider's capabilities and never ask which one it is. [`conformance!`](crate::conformance) makes
//! a test of each of them for a [`Stand`](crate::Stand).

use std::time::Duration;

pub mod g01_exclusion;
pub mod g02_fencing;
pub mod g03_early_loss;
pub mod g04_no_ghosts;
pub mod g05_ownership;
pub mod g06_progress;
pub mod g07_order;
pub mod g08_batches;
pub mod g09_cheap_waiting;
pub mod g10_bounded_state;
pub mod g12_truth;

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
                g01_exclusion::an_exclusive_lease_excludes_every_other;
                g01_exclusion::readers_share_a_name_and_exclude_a_writer;
                g01_exclusion::permits_are_never_given_beyond_their_number;
                g01_exclusion::a_lease_on_many_names_excludes_on_each;
                g01_exclusion::any_takes_the_first_free_names_and_no_other;
                g01_exclusion::names_that_differ_in_one_byte_are_different_names;
                g01_exclusion::a_lease_excludes_until_its_ttl_and_not_longer;
                g01_exclusion::a_renewed_lease_excludes_for_another_ttl;
                g01_exclusion::a_lingering_lease_excludes_although_it_was_ended;
                g01_exclusion::a_lease_that_was_held_for_long_does_not_linger;
                g01_exclusion::the_immediate_way_in_excludes_and_is_excluded;
                g01_exclusion::no_two_holders_that_exclude_each_other_ever_believe_at_once;
                g02_fencing::tokens_of_a_name_rise_in_every_mode_and_across_batches;
                g02_fencing::holders_at_the_same_time_have_different_tokens;
                g02_fencing::reserved_tokens_are_given_to_nobody_else;
                g02_fencing::a_renewal_reserves_further_tokens_above_all_before;
                g02_fencing::asking_again_gives_the_same_token;
                g02_fencing::a_waiter_has_one_token_however_it_learns_of_it;
                g02_fencing::the_successor_of_an_expired_lease_has_a_greater_token;
                g02_fencing::tokens_rise_for_a_process_that_comes_after_all_have_gone;
                g02_fencing::claims_at_the_same_moment_never_share_a_token;
                g03_early_loss::a_deadline_counts_from_before_the_request;
                g03_early_loss::a_renewal_that_comes_too_late_is_told_that_the_lease_is_gone;
                g03_early_loss::a_lease_that_is_asked_back_is_told_so_and_stays_exclusive;
                g03_early_loss::a_lease_that_is_asked_back_from_the_silent_ends_with_its_ttl;
                g03_early_loss::a_lease_that_is_ended_by_force_is_gone_at_once;
                g03_early_loss::force_says_what_it_found;
                g04_no_ghosts::a_claim_whose_reply_was_lost_is_settled_by_its_id;
                g04_no_ghosts::a_claim_that_was_under_way_when_it_was_ended_takes_nothing;
                g04_no_ghosts::a_step_that_is_dropped_at_any_await_is_settled_by_end;
                g04_no_ghosts::a_claim_that_nobody_settles_ends_with_its_ttl;
                g04_no_ghosts::nothing_is_left_after_random_faults;
                g05_ownership::an_unknown_id_keeps_and_ends_nothing;
                g05_ownership::a_stale_holder_is_inert;
                g05_ownership::a_lease_that_ran_out_never_comes_back;
                g05_ownership::a_lease_that_ran_out_unnoticed_is_gone_too;
                g05_ownership::ending_twice_does_not_free_the_successor;
                g05_ownership::two_claims_of_one_process_are_two_owners;
                g05_ownership::a_claim_that_arrives_after_its_end_is_never_granted;
                g05_ownership::an_ended_lease_cannot_be_claimed_again;
                g06_progress::a_release_grants_the_next_waiter_and_tells_it;
                g06_progress::one_release_grants_all_who_can_run_together;
                g06_progress::more_waiters_than_a_step_grants_are_all_served;
                g06_progress::an_expiry_grants_the_next_waiter;
                g06_progress::an_expired_reader_and_an_expired_permit_make_room;
                g06_progress::a_dead_waiter_is_passed_over;
                g06_progress::many_dead_waiters_cost_no_more_than_one;
                g06_progress::an_offer_that_nobody_takes_passes_on;
                g06_progress::a_confirmed_offer_lasts_for_its_ttl;
                g06_progress::an_offer_lasts_no_longer_than_its_ttl;
                g06_progress::who_gives_up_passes_the_name_on;
                g06_progress::a_waiter_that_is_touched_keeps_its_place;
                g06_progress::a_claim_gets_what_it_replaces;
                g06_progress::what_is_replaced_ends_although_the_claim_is_busy;
                g06_progress::closing_ends_what_is_bound_to_the_process;
                g07_order::waiters_are_served_in_the_order_in_which_they_came;
                g07_order::who_does_not_wait_does_not_pass_who_does;
                g07_order::a_writer_is_not_starved_by_readers;
                g07_order::permits_do_not_pass_a_waiting_claim_for_more;
                g07_order::asking_again_keeps_the_place_in_the_queue;
                g07_order::the_claims_of_one_call_queue_in_their_order;
                g07_order::a_claim_on_any_waits_in_turn_and_leaves_every_queue;
                g08_batches::a_batch_that_is_busy_takes_nothing;
                g08_batches::a_batch_that_waits_holds_nothing;
                g08_batches::a_batch_is_granted_when_its_last_name_is_free;
                g08_batches::batches_in_opposite_orders_never_deadlock;
                g08_batches::a_blocked_batch_is_overtaken_a_bounded_number_of_times;
                g08_batches::a_blocked_batch_is_overtaken_for_a_bounded_time;
                g08_batches::waiters_overtake_a_blocked_batch_within_the_same_bound;
                g08_batches::the_claims_of_one_call_are_answered_one_by_one;
                g08_batches::a_batch_of_the_greatest_size_is_one_lease;
                g09_cheap_waiting::a_release_wakes_one_waiter_of_a_thousand;
                g09_cheap_waiting::a_holder_is_told_of_the_first_waiter_and_not_of_each;
                g10_bounded_state::names_that_were_used_once_leave_nothing;
                g10_bounded_state::waiters_that_left_leave_nothing;
                g10_bounded_state::leases_that_ran_out_are_not_listed;
                g12_truth::the_list_shows_what_is_held;
                g12_truth::waiters_are_listed_with_their_place;
                g12_truth::pages_have_every_entry_once;
                g12_truth::a_prefix_finds_names_that_begin_so_and_no_others;
                g12_truth::a_lease_id_is_shown_nowhere;
                g12_truth::busy_tells_who_is_in_the_way;
                g12_truth::each_state_has_an_answer_of_its_own;
                g12_truth::mixed_modes_are_refused_and_change_nothing;
                g12_truth::a_free_name_may_be_used_in_another_mode;
                g12_truth::a_refused_claim_replaces_nothing;
                g12_truth::one_waiter_too_many_is_refused;
                g12_truth::claims_beyond_the_limits_are_refused;
            }
        }
    };
    (@tests $stand:ty; $($file:ident::$name:ident;)+) => {
        $($crate::conformance! { @test $stand; $file $name })+
    };
    (@test $stand:ty; $file:ident $name:ident) => {
        #[test]
        fn $name() {
            $crate::stand::play::<$stand>($crate::conformance::$file::$name);
        }
    };
}

#[cfg(test)]
mod tests {
    /// A test that is written and not listed would never run.
    #[test]
    fn every_test_of_the_suite_is_listed() {
        let list = include_str!("mod.rs");
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance")).unwrap() {
            let file = file.unwrap().path();
            let (stem, text) = (
                file.file_stem().unwrap().to_str().unwrap(),
                std::fs::read_to_string(&file).unwrap(),
            );
            if stem == "mod" {
                continue;
            }
            for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split('(').next().unwrap();
                assert!(
                    list.contains(&format!("{stem}::{name};")),
                    "{stem}::{name} is not listed"
                );
            }
        }
    }
}
