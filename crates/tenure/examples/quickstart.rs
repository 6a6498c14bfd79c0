//! A held lock. Start it twice: the second waits until the first is done, and has the greater token.
//!
//! ```sh
//! cargo run -p tenure --example quickstart
//! ```
use tenure::{FencingToken, Locks, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let locks = Locks::connect("file:///tmp/orders").await?;
    let guard = locks.lock("order:process:42").acquire().await?;
    settle(42, guard.token()).await; // the ledger refuses an older token
    guard.release().await
}

/// The work. A real ledger compares the token in the statement that writes, as in
/// `UPDATE orders SET … , fence = $token WHERE id = 42 AND fence <= $token`.
async fn settle(order: u64, token: FencingToken) {
    println!("settling order {order} under token {token}");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
}
