//! Work that one of many processes does, at most once a minute: for jobs that every node starts from its own timer.
//!
//! ```sh
//! cargo run -p tenure --example run_once     # again within a minute: skipped
//! ```
use std::time::Duration;

use tenure::{Locks, Once, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let locks = Locks::connect("file:///tmp/orders").await?;
    // The nodes' timers do not fire together: whoever comes within the minute finds that it has been done.
    let job = locks.lock("job:settle").hold_at_least(Duration::from_secs(60));
    let outcome = job.run_once(async |guard| {
        println!("settling under token {}", guard.token());
        42
    });
    match outcome.await? {
        Once::Ran(settled) => println!("settled {settled} orders"),
        Once::Skipped => println!("another process does it, or has just done it"),
    }
    Ok(())
}
