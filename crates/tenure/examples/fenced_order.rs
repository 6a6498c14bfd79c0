//! An order in SQLite that refuses whoever has lost the lock, with all that its transaction did.
//!
//! ```sh
//! cargo run -p tenure --example fenced_order
//! ```
use rusqlite::{Connection, TransactionBehavior};
use tenure::fence::sql;
use tenure::{FencingToken, Locks};

/// Reads the order and writes it anew, behind its fence.
fn settle(db: &mut Connection, token: FencingToken) -> Result<(), Box<dyn std::error::Error>> {
    let work = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    work.execute(sql::SQLITE_PASS, ("order:42", i64::try_from(token.get())?))?;
    let state: String = work.query_row("select state from orders", (), |row| row.get(0))?;
    work.execute("update orders set state = ?1", [format!("{state}, settled under {token}")])?;
    work.commit()?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut db = Connection::open_in_memory()?;
    db.execute_batch(sql::SQLITE)?;
    db.execute_batch("create table orders (state text); insert into orders values ('new')")?;
    let locks = Locks::connect("memory:").await?;

    let guard = locks.lock("order:42").acquire().await?;
    let early = guard.token();
    guard.release().await?;
    // Somebody else's turn. What the first holder still does comes too late.
    let guard = locks.lock("order:42").acquire().await?;
    settle(&mut db, guard.token())?;
    match settle(&mut db, early) {
        Err(error) if error.to_string().starts_with(sql::STALE_TEXT) => println!("refused: {error}"),
        other => return Err(format!("a stale write was not refused: {other:?}").into()),
    }
    guard.release().await?;
    Ok(())
}
