//! The level of the caches that all instances share, in Redis, and the news between them of what has changed.
//!
//! An entry is `{version}{moment}{value}`: twenty digits, thirteen digits, JSON. The moment is Redis's own clock before the value
//! was read, so that its age is known without comparing clocks. A change leaves the version alone, which no older value replaces.
//! One server, no cluster: a script has the entries of many accounts.
//!
//! Nothing here fails: without Redis the instances have a cache each, and learn of changes by comparing versions.

use std::fmt;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisError, Script};
use tenure::clock::{Clock, Instant};
use tenure::{Error, Result};

use super::source::Cached;
use crate::ledger::Fut;

/// How long Redis may take to answer: a cache that is slower than the books is none.
const PATIENCE: Duration = Duration::from_millis(250);
/// For how long Redis is left alone after it has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Digits of a version: those of the greatest.
const VERSION: usize = 20;
/// Digits of a moment in milliseconds, until the year 2286.
const MOMENT: usize = 13;

/// What the entries of a cache are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Account,
    Summary,
    Events,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Account, Kind::Summary, Kind::Events];

    fn word(self) -> &'static str {
        match self {
            Kind::Account => "account",
            Kind::Summary => "summary",
            Kind::Events => "events",
        }
    }

    fn of(word: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A change that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// What is cached of a key is outdated below a version; all of it without one.
    Changed { kind: Kind, key: String, version: Option<u64> },
    /// News may have been missed.
    Gap,
}

/// The shared level.
pub(super) struct Shared {
    client: Client,
    prefix: String,
    link: Mutex<Link>,
    clock: Clock,
    put: Script,
    end: Script,
}

enum Link {
    Up(MultiplexedConnection),
    /// It is tried again from this instant on.
    Down(Instant),
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Shared {
    /// A level at `url`, which nothing is asked of yet.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is none; it is not shown, since it may have a password.
    pub(super) fn new(url: &str, prefix: &str) -> Result<Self> {
        let wrong = |_| Error::invalid("redis", "the URL is none that Redis knows");
        let tcp = TcpSettings::default().set_nodelay(true);
        let address = url.into_connection_info().map_err(wrong)?.set_tcp_settings(tcp);
        Ok(Shared {
            client: Client::open(address).map_err(wrong)?,
            prefix: prefix.to_owned(),
            link: Mutex::new(Link::Down(Clock::system().now())),
            clock: Clock::system(),
            put: Script::new(include_str!("put.lua")),
            end: Script::new(include_str!("end.lua")),
        })
    }

    /// What is there, with its age, and the moment of the look for [`put`](Self::put). `None` when Redis cannot be asked.
    pub(super) async fn get<K: Display, V: Cached>(
        &self,
        kind: Kind,
        keys: &[&K],
    ) -> Option<(u64, Vec<Option<(V, Duration)>>)> {
        let mut ask = redis::pipe();
        // The clock is read last: an age that is too great costs a comparison, one that is too small a stale answer.
        ask.mget(keys.iter().map(|key| self.name(kind, key)).collect::<Vec<_>>()).cmd("TIME");
        let (bodies, (seconds, micros)): (Vec<Option<String>>, (u64, u64)) =
            self.ask(async |link| ask.query_async(link).await).await?;
        let now = seconds * 1_000 + micros / 1_000;
        let entry = |body: Option<String>| {
            let body = body?;
            let moment: u64 = body.get(VERSION..VERSION + MOMENT)?.parse().ok()?;
            let value = serde_json::from_str(body.get(VERSION + MOMENT..)?).ok()?;
            // A clock that was set back says nothing of the age.
            Some((value, now.checked_sub(moment).map_or(Duration::MAX, Duration::from_millis)))
        };
        Some((now, bodies.into_iter().map(entry).collect()))
    }

    /// Puts values there that were read after `moment`, where nothing newer is known.
    pub(super) async fn put<K: Display, V: Cached>(
        &self,
        kind: Kind,
        moment: u64,
        values: &[(K, Arc<V>)],
        ttl: Duration,
    ) {
        let mut put = self.put.prepare_invoke();
        put.arg(millis(ttl));
        let mut is_empty = true;
        for (key, value) in values {
            let Ok(body) = serde_json::to_string(&**value) else { continue };
            put.key(self.name(kind, key));
            put.arg(format!("{:0VERSION$}{moment:0MOMENT$}{body}", value.version()));
            is_empty = false;
        }
        if !is_empty {
            self.ask(async |link| put.invoke_async::<()>(link).await).await;
        }
    }

    /// Ends what is there of keys and older than their versions, and tells all instances.
    pub(super) async fn end<K: Display>(&self, kinds: &[Kind], changed: &[(K, Option<u64>)], ttl: Duration) {
        let mut end = self.end.prepare_invoke();
        end.arg(millis(ttl)).arg(self.channel());
        for (key, version) in changed {
            for kind in kinds {
                let version = version.map(|version| format!("{version:0VERSION$}")).unwrap_or_default();
                let news = format!("{} {version} {key}", kind.word());
                end.key(self.name(*kind, key)).arg(version).arg(news);
            }
        }
        if !changed.is_empty() {
            self.ask(async |link| end.invoke_async::<()>(link).await).await;
        }
    }

    /// Hears the news of all instances, for ever.
    pub(super) async fn listen(&self, mut on: impl FnMut(News) -> Fut<'static, ()> + Send) {
        loop {
            match self.subscribe(&mut on).await {
                Ok(()) => tracing::warn!("the news of changed accounts have ended"),
                Err(error) => tracing::debug!(%error, "the news of changed accounts cannot be heard"),
            }
            self.clock.sleep_until(self.clock.now() + PAUSE).await;
        }
    }

    async fn subscribe(
        &self,
        on: &mut (impl FnMut(News) -> Fut<'static, ()> + Send),
    ) -> Result<(), RedisError> {
        let subscribed = async {
            let mut news = self.client.get_async_pubsub().await?;
            news.subscribe(self.channel()).await?;
            Ok::<_, RedisError>(news)
        };
        let mut news = match tokio::time::timeout(4 * PATIENCE, subscribed).await {
            Ok(news) => news?,
            Err(_) => return Err(RedisError::from((redis::ErrorKind::Io, "no answer"))),
        };
        on(News::Gap).await;
        let mut told = news.on_message();
        while let Some(message) = told.next().await {
            let text: String = message.get_payload()?;
            if let Some(news) = read(&text) {
                on(news).await;
            }
        }
        Ok(())
    }

    /// Asks Redis, unless it has just failed. After a failure the connection is not used again.
    async fn ask<T>(
        &self,
        asking: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Option<T> {
        let known = match &mut *self.link.lock() {
            Link::Up(link) => Some(link.clone()),
            Link::Down(until) if *until > self.clock.now() => return None,
            // Others go on without Redis while this one tries.
            Link::Down(until) => {
                *until = self.clock.now() + PAUSE;
                None
            }
        };
        let asked = async {
            let mut link = match known {
                Some(link) => link,
                None => self.connect().await?,
            };
            asking(&mut link).await
        };
        match asked.await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::debug!(%error, "the shared cache does not answer");
                *self.link.lock() = Link::Down(self.clock.now() + PAUSE);
                None
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let patience = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let link = self.client.get_multiplexed_async_connection_with_config(&patience).await?;
        *self.link.lock() = Link::Up(link.clone());
        Ok(link)
    }

    fn name(&self, kind: Kind, key: &impl Display) -> String {
        format!("{}:cache:{}:{key}", self.prefix, kind.word())
    }

    fn channel(&self) -> String {
        format!("{}:cache:changed", self.prefix)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn read(text: &str) -> Option<News> {
    let mut words = text.splitn(3, ' ');
    let (kind, version, key) = (words.next()?, words.next()?, words.next()?);
    Some(News::Changed { kind: Kind::of(kind)?, key: key.to_owned(), version: version.parse().ok() })
}
