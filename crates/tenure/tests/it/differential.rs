//! Every store against the lease table.

use tenure_testkit::differential::store_and_table_agree;

use crate::stands::{ChaosStand, MemoryStand, PooledRowsStand, RedisStand, RowsStand};

#[test]
fn the_memory_store_does_what_the_table_does() {
    store_and_table_agree::<MemoryStand>(300);
}

#[test]
fn the_redis_store_does_what_the_table_does() {
    store_and_table_agree::<RedisStand>(40);
}

#[test]
fn the_redis_store_does_what_the_table_does_when_scripts_and_replies_are_lost() {
    store_and_table_agree::<ChaosStand>(10);
}

#[test]
fn the_rows_of_postgres_do_what_the_table_does() {
    store_and_table_agree::<RowsStand>(40);
}

#[test]
fn the_rows_of_postgres_do_what_the_table_does_through_a_pool() {
    store_and_table_agree::<PooledRowsStand>(10);
}
