//! Orders that are settled one at a time, by locks that end with the transaction. Start it several times at once.
//!
//! ```sh
//! cargo run -p tenure --example within -- postgres://postgres@127.0.0.1/postgres
//! ```
//!
//! Any other client does the same in SQL. With sqlx, inside of a transaction:
//!
//! ```text
//! let token: Option<i64> = sqlx::query_scalar("select tenure.lock_xact($1, $2)")
//!     .bind("order:42").bind(2_000_i32).fetch_one(&mut *transaction).await?;
//! let Some(token) = token else { return busy() };
//! ```
use std::time::Duration;

use tenure::Locks;
use tokio_postgres::NoTls;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url =
        std::env::args().nth(1).ok_or("which database? as in postgres://postgres@127.0.0.1/postgres")?;
    let locks = Locks::connect(&url).await?;
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("create table if not exists settled (number int, token bigint)").await?;

    let transaction = client.transaction().await?;
    let wait = Duration::from_secs(2);
    let Some(token) = locks.within(&transaction).try_acquire_for("order:42", wait).await? else {
        println!("somebody else settles it");
        return Ok(());
    };
    let token = i64::try_from(token.get())?;
    transaction.execute("insert into settled select count(*), $1 from settled", &[&token]).await?;
    transaction.commit().await?;
    println!("settled under token {token}");
    Ok(())
}
