//! The bare protocols: what the demos of the three ways do, over the same client and without timeouts, so that it spends nothing on
//! timers. History and balance change together, and nothing more is promised.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script, Value, cmd, pipe};

/// How long who finds the lock taken waits before the next look.
const POLL: Duration = Duration::from_millis(1);
/// How long a lock lasts.
const TTL_MS: u64 = 30_000;

pub struct Raw {
    shared: MultiplexedConnection,
    /// What is watched is the connection's: each task has its own.
    own: Vec<MultiplexedConnection>,
    withdraw: Script,
    unlock: Script,
}

fn balance(user: usize) -> String {
    format!("raw:balance:user-{user}")
}

fn history(user: usize) -> String {
    format!("raw:withdrawals:user-{user}")
}

impl Raw {
    pub async fn make(url: &str, tasks: usize) -> Raw {
        let client = Client::open(url).unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connect = async || client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let mut own = Vec::new();
        for _ in 0..tasks {
            own.push(connect().await);
        }
        let withdraw = Script::new(include_str!("withdraw.lua"));
        Raw { shared: connect().await, own, withdraw, unlock: Script::new(include_str!("unlock.lua")) }
    }

    pub async fn fill(&self, user: usize, full: i64) {
        cmd("SET").arg(balance(user)).arg(full).exec_async(&mut self.shared.clone()).await.unwrap();
    }

    /// One script.
    pub async fn script(&self, _task: usize, user: usize) -> u64 {
        let mut call = self.withdraw.key(balance(user));
        let left: i64 = call.key(history(user)).arg(1).invoke_async(&mut self.shared.clone()).await.unwrap();
        assert!(left >= 0);
        0
    }

    /// Watches, reads, and writes if nobody was faster; else again, as often as it takes.
    pub async fn watch(&self, task: usize, user: usize) -> u64 {
        let mut own = self.own[task].clone();
        for retries in 0.. {
            let mut look = pipe();
            look.cmd("WATCH").arg(balance(user)).ignore().cmd("GET").arg(balance(user));
            let (kept,): (i64,) = look.query_async(&mut own).await.unwrap();
            let mut write = pipe();
            write.atomic().set(balance(user), kept - 1).lpush(history(user), 1).ltrim(history(user), 0, 999);
            let written: Value = write.query_async(&mut own).await.unwrap();
            if written != Value::Nil {
                return retries;
            }
        }
        unreachable!("it goes on until it is done")
    }

    /// Locks, reads, writes and unlocks.
    pub async fn lock(&self, task: usize, user: usize) -> u64 {
        let mut shared = self.shared.clone();
        let (name, value) =
            (format!("raw:lock:user-{user}"), format!("{task}:{:032x}", rand::random::<u128>()));
        let mut take = cmd("SET");
        take.arg(&name).arg(&value).arg("NX").arg("PX").arg(TTL_MS);
        let mut retries = 0;
        while take.query_async::<Value>(&mut shared).await.unwrap() != Value::Okay {
            retries += 1;
            tokio::time::sleep(POLL).await;
        }
        let kept: i64 = cmd("GET").arg(balance(user)).query_async(&mut shared).await.unwrap();
        let mut write = pipe();
        write.atomic().set(balance(user), kept - 1).lpush(history(user), 1).ltrim(history(user), 0, 999);
        write.exec_async(&mut shared).await.unwrap();
        self.unlock.key(&name).arg(&value).invoke_async::<()>(&mut shared).await.unwrap();
        retries
    }
}
