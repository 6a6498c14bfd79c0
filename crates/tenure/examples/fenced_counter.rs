//! A counter in Redis that refuses whoever has lost the lock. Start it several times at once: no step is lost.
//!
//! ```sh
//! cargo run -p tenure --example fenced_counter -- redis://127.0.0.1:6379
//! ```
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script};
use tenure::fence::redis::SCRIPT;
use tenure::{FencingToken, Locks};

/// The counter, behind its fence.
struct Counter {
    connection: MultiplexedConnection,
    script: Script,
}

impl Counter {
    /// Raises the fence and reads, in one step: the holder's first.
    async fn open(&mut self, token: FencingToken) -> RedisResult<Option<u64>> {
        let mut call = self.script.key("counter");
        call.key("counter:fence").arg(token.to_string()).arg("GET").invoke_async(&mut self.connection).await
    }

    /// Writes, unless a newer holder has been here.
    async fn write(&mut self, token: FencingToken, value: u64) -> RedisResult<()> {
        let mut call = self.script.key("counter");
        call.key("counter:fence").arg(token.to_string()).arg("SET").arg(value);
        call.invoke_async(&mut self.connection).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which server? as in redis://127.0.0.1:6379")?;
    let connection = redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
    let mut counter = Counter { connection, script: Script::new(SCRIPT) };
    let locks = Locks::connect(&url).await?;

    let guard = locks.lock("counter:add").acquire().await?;
    let early = guard.token();
    let value = counter.open(early).await?.unwrap_or(0);
    counter.write(early, value + 1).await?;
    println!("{} under token {early}", value + 1);
    guard.release().await?;

    // Somebody else's turn. What the first holder still sends comes too late.
    let guard = locks.lock("counter:add").acquire().await?;
    counter.open(guard.token()).await?;
    match counter.write(early, 0).await {
        Err(error) if error.code() == Some("STALE") => println!("refused: {error}"),
        other => return Err(format!("a stale write was not refused: {other:?}").into()),
    }
    guard.release().await?;
    Ok(())
}
