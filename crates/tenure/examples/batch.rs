//! Several names in one step: all of them, each by itself, or one that is free.
//!
//! ```sh
//! cargo run -p tenure --example batch
//! ```
use std::time::Duration;

use tenure::{Locks, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let locks = Locks::memory();

    // All or none, in any order: two transfers in opposite directions cannot block each other for ever.
    let both = locks.lock_all(["account:42", "account:7"]).acquire().await?;
    println!("transfer under token {} with {}", both.token(), both.names());

    // Each by itself: what is busy is left for the next round.
    let orders = ["order:1", "account:7", "order:2"];
    let won = locks.lock_each(orders).try_acquire().await?;
    for (order, guard) in orders.iter().zip(&won) {
        println!("{order}: {}", if guard.is_some() { "won" } else { "busy" });
    }

    // The first that is free, in the order of preference.
    let drivers = locks.lock_any(["driver:3", "driver:9"]).try_acquire_for(Duration::from_secs(2)).await?;
    match drivers {
        Some(driver) => println!("driver: {}", driver.names()),
        None => println!("all drivers are busy"),
    }

    // Four at a time.
    let permit = locks.permit("gpu", 4).acquire().await?;
    println!("one of four under token {}", permit.token());

    both.release().await
}
