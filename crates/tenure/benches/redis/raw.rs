//! The bare protocol, which nobody who does more can do with less work at the store: `SET NX PX`, then compare-and-delete
//! by script, over one multiplexed connection. It gives no token, has no queue and wakes nobody.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Script, Value, cmd};

use crate::contender::{Batches, Contender};
use crate::contenders::{POLL, TTL};

const END: &str = include_str!("raw_end.lua");
const CLAIM_ALL: &str = include_str!("raw_claim_all.lua");
const END_ALL: &str = include_str!("raw_end_all.lua");

pub struct Raw {
    connection: MultiplexedConnection,
    end: Script,
    claim_all: Script,
    end_all: Script,
}

/// Names under a fresh random value.
pub struct Held {
    raw: &'static Raw,
    names: Vec<String>,
    value: String,
}

/// A multiplexed connection without a timeout, so that it spends nothing on timers.
pub async fn connect(url: &str) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Client::open(url).unwrap().get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

impl Raw {
    pub async fn make(url: &str) -> &'static Raw {
        let [end, claim_all, end_all] = [END, CLAIM_ALL, END_ALL].map(Script::new);
        Box::leak(Box::new(Raw { connection: connect(url).await, end, claim_all, end_all }))
    }

    async fn claim(&self, name: &str, value: &str) -> bool {
        let mut set = cmd("SET");
        set.arg(name).arg(value).arg("NX").arg("PX").arg(TTL.as_millis() as u64);
        let answer: Value = set.query_async(&mut self.connection.clone()).await.unwrap();
        answer == Value::Okay
    }

    /// Names one after the other, each with trips of its own.
    pub async fn in_turn(&'static self, names: &[String]) {
        for name in names {
            Raw::unlock(self.lock(name).await).await;
        }
    }
}

impl Contender for Raw {
    type Guard = Held;

    async fn lock(&'static self, name: &str) -> Held {
        let (names, value) = (vec![format!("raw:{name}")], uuid());
        while !self.claim(&names[0], &value).await {
            tokio::time::sleep(POLL).await;
        }
        Held { raw: self, names, value }
    }

    async fn unlock(guard: Held) {
        let Held { raw, names, value } = guard;
        let end = if names.len() == 1 { &raw.end } else { &raw.end_all };
        let mut call = end.key(names);
        call.arg(value).invoke_async::<()>(&mut raw.connection.clone()).await.unwrap();
    }
}

impl Batches for Raw {
    async fn lock_all(&'static self, names: &[String]) -> Vec<Held> {
        let names: Vec<String> = names.iter().map(|name| format!("raw:{name}")).collect();
        let value = uuid();
        let mut call = self.claim_all.key(&names);
        call.arg(&value).arg(TTL.as_millis() as u64);
        while !call.invoke_async::<bool>(&mut self.connection.clone()).await.unwrap() {
            tokio::time::sleep(POLL).await;
        }
        vec![Held { raw: self, names, value }]
    }
}

/// A fresh random value, as a careful user of the bare protocol would make it.
fn uuid() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A list with one token in it, which waiters pop: the store wakes the one that has waited longest. A process that dies
/// with the token stops everybody.
pub struct Queue {
    url: String,
    /// A connection waits for one pop, so each waiter has its own.
    idle: parking_lot::Mutex<Vec<MultiplexedConnection>>,
}

pub struct Token {
    queue: &'static Queue,
    connection: MultiplexedConnection,
    list: String,
}

impl Queue {
    /// With connections for so many waiters.
    pub async fn make(url: &str, waiters: usize) -> &'static Queue {
        let mut idle = Vec::new();
        for _ in 0..waiters {
            idle.push(connect(url).await);
        }
        Box::leak(Box::new(Queue { url: url.to_owned(), idle: parking_lot::Mutex::new(idle) }))
    }
}

impl Contender for Queue {
    type Guard = Token;

    async fn lock(&'static self, name: &str) -> Token {
        // Those of waiters that gave up are lost with their wait.
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connect(&self.url).await,
        };
        let list = list_of(name);
        cmd("BLPOP").arg(&list).arg(0).query_async::<()>(&mut connection).await.unwrap();
        Token { queue: self, connection, list }
    }

    async fn unlock(mut guard: Token) {
        cmd("LPUSH").arg(&guard.list).arg("token").query_async::<()>(&mut guard.connection).await.unwrap();
        guard.queue.idle.lock().push(guard.connection);
    }
}

/// The list of a name, where its token lies.
pub fn list_of(name: &str) -> String {
    format!("queue:{name}")
}
