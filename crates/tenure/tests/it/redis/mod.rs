//! What the Redis provider must stand beyond the conformance suite: its servers, its network, its size, its neighbours.
//!
//! Each test is named after a failure that was seen in another lock. Those that have no test here are shown by the
//! conformance suite, which runs over Redis and over a network that loses three of ten replies (`redis`, `redis_chaos`), or
//! by a test elsewhere:
//!
//! | failure | shown by |
//! |---|---|
//! | a release ends another's lock | `a_stale_holder_is_inert`, `ending_twice_does_not_free_the_successor` |
//! | one owner's id for a whole process | `two_claims_of_one_process_are_two_owners` |
//! | a renewal brings a lost lease back, or takes another's | `a_renewal_that_comes_too_late_is_told_that_the_lease_is_gone`, `a_lease_that_ran_out_never_comes_back` |
//! | a deadline by the wall clock, or from the reply | `a_deadline_counts_from_before_the_request`; `clock.rs` |
//! | a token again, or a smaller one, after release and expiry | `tokens_of_a_name_rise_in_every_mode_and_across_batches`, `the_successor_of_an_expired_lease_has_a_greater_token`, `tokens_rise_for_a_process_that_comes_after_all_have_gone` |
//! | a deadline that begins anew at each wake-up | `wakes_for_nothing_do_not_move_the_deadline` |
//! | a lease that died while it was on its way | `a_grant_that_comes_after_its_deadline_is_not_a_guard` |
//! | an old claim of one's own counts as held | `an_ended_lease_cannot_be_claimed_again`, `a_claim_that_arrives_after_its_end_is_never_granted` |
//! | names that are folded into one | `names_that_differ_in_one_byte_are_different_names` |
//! | dead waiters in the way | `many_dead_waiters_cost_no_more_than_one` |
//! | batches that deadlock or are taken in part | `opposite_orders_never_deadlock`, `a_batch_that_fails_takes_nothing` |
//! | one limit of permits here, another there | `mixed_modes_are_refused_and_change_nothing` |
//! | a drop off the runtime, or in a panic, that leaks | `a_guard_that_is_dropped_off_the_runtime_is_released`, `a_task_that_panics_releases_its_lock` |
//! | a command that outlives its lock; locks left by SIGTERM | `loss.rs`, `death.rs` and `redis.rs` of `tenure-cli` |
//! | failures of connection pools, advisory locks and quorums | none: there is one connection, no session and one server |

mod counter;
mod counting;
mod crowd;
mod handles;
mod keys;
mod names;
mod network;
mod outages;
mod servers;
mod sharing;
mod silence;
mod sticky;

use tenure::Locks;

use crate::patience::{PATIENCE, in_time, pass, rounds, until};
use crate::stands::{prefix, redis};

/// The store of a prefix on the server that the tests share.
fn store_of(prefix: &str) -> String {
    format!("{}?prefix={prefix}", redis().url())
}

/// A store of its own on that server.
fn own_store() -> String {
    store_of(&prefix())
}

async fn connect(url: &str) -> Locks {
    Locks::connect(url).await.expect("the server is there")
}
