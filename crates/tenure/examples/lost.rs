//! Work that stops when its lock is lost: in one call, or by hand.
//!
//! ```sh
//! cargo run -p tenure --example lost
//! ```
use std::time::Duration;

use tenure::{ErrorKind, Guard, Locks, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let locks = Locks::connect("file:///tmp/orders").await?;

    // The work is dropped at its next await when the lock is lost, which comes before anybody else can have it.
    let guard = locks.lock("export:daily").ttl(Duration::from_secs(10)).acquire().await?;
    match guard.run_until_lost(export()).await {
        Ok(rows) => println!("exported {rows} rows"),
        Err(error) if error.kind() == ErrorKind::Lost => println!("stopped: {error}"),
        Err(error) => return Err(error),
    }

    by_hand(&guard).await;
    guard.release().await
}

/// The same in pieces, where the work has to put something in order before it stops.
async fn by_hand(guard: &Guard) {
    for piece in 1..=3 {
        tokio::select! {
            why = guard.lost() => {
                println!("lost before piece {piece}: {}", why.word());
                return;
            }
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        // Before a step that cannot be stopped: is there time for it?
        println!("piece {piece}, safe for another {:?}", guard.safe_remaining());
    }
}

async fn export() -> u32 {
    tokio::time::sleep(Duration::from_secs(1)).await;
    1_000
}
