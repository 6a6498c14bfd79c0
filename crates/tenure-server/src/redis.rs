//! The connection of a service to Redis: one, which all tasks share, and which comes back by itself. With the feature `redis`.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{Client, IntoConnectionInfo as _, ProtocolVersion, RedisError};
use tenure::{Error, Result};

/// How long an answer is waited for, connecting included.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often connecting is tried before those who wait for it are told that it failed: for about a third of a second.
const TRIES: usize = 3;
/// The shortest and the longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(200));
/// After how many answers in a row that did not come the connection is given up: it may be dead without the system knowing.
const SILENCES: u32 = 3;
/// How many commands may wait to be written, before their senders wait.
const UNDER_WAY: usize = 1_024;

/// The connection, as the tasks of a process share it.
pub struct Link {
    client: Client,
    manager: Mutex<ConnectionManager>,
    /// Answers in a row that did not come.
    silences: AtomicU32,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client knows a password.
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// A link to the server of `url`, which nothing was sent to yet.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is none; it is not shown, since it may have a password.
    pub fn open(url: &str) -> Result<Self> {
        let wrong = |_| Error::invalid("redis", "the URL of Redis is none");
        let info = url.into_connection_info().map_err(wrong)?;
        let keepalive = TcpKeepalive::new().with_time(PATIENCE * 5).with_interval(PATIENCE * 5);
        let tcp =
            TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(PATIENCE * 10);
        // With RESP3 the client learns at once that the connection has ended, and not with the next command.
        let session = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_tcp_settings(tcp).set_redis_settings(session);
        let client = Client::open(info).map_err(wrong)?;
        let manager = manager(&client).map_err(wrong)?;
        Ok(Link { client, manager: Mutex::new(manager), silences: AtomicU32::new(0) })
    }

    /// Asks, and waits for the answer, for a second at most.
    ///
    /// # Errors
    /// `Unavailable`, also when the server refuses; `Internal` when it finds something else than was expected.
    ///
    /// # Cancel safety
    /// Dropped, what was asked may be done all the same.
    pub async fn ask<T>(
        &self,
        asking: impl AsyncFnOnce(&mut ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T> {
        let mut connection = self.manager.lock().clone();
        match tokio::time::timeout(PATIENCE, asking(&mut connection)).await {
            Ok(answer) => {
                self.silences.store(0, Ordering::Relaxed);
                answer.map_err(failed)
            }
            Err(_) => {
                if self.silences.fetch_add(1, Ordering::Relaxed) + 1 == SILENCES
                    && let Ok(fresh) = manager(&self.client)
                {
                    *self.manager.lock() = fresh;
                    self.silences.store(0, Ordering::Relaxed);
                }
                Err(Error::unavailable("redis", "the server does not answer"))
            }
        }
    }
}

fn manager(client: &Client) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        // The wait is bounded where it is asked.
        .set_response_timeout(None)
        .set_connection_timeout(Some(PATIENCE))
        .set_number_of_retries(TRIES)
        .set_min_delay(PAUSES.0)
        .set_max_delay(PAUSES.1)
        .set_pipeline_buffer_size(UNDER_WAY);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}

fn failed(error: RedisError) -> Error {
    let told = match error.code() {
        Some("ERR" | "WRONGTYPE") => {
            Error::internal("redis", format!("what is there is not what was expected error={error}"))
        }
        _ => Error::unavailable("redis", format!("the server cannot be asked error={error}")),
    };
    told.with_source(error)
}
