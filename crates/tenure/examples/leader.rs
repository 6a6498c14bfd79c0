//! An office that one process holds at a time. Start it several times and stop the one that leads: another takes over.
//!
//! ```sh
//! cargo run -p tenure --example leader
//! ```
use std::time::Duration;

use tenure::{Locks, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let locks = Locks::connect("file:///tmp/orders").await?;
    println!("waiting for the office");
    let office = locks.lead("scheduler").ttl(Duration::from_secs(10));
    // Called anew for each term; what it returns ends the office. When the term is lost, it is dropped where it stands.
    let rounds = office.run(async |term| {
        println!("leading under token {}", term.token());
        for round in 1..=10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            println!("round {round}");
        }
        10
    });
    println!("left the office after {} rounds", rounds.await?);
    Ok(())
}
