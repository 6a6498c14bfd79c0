//! Cached reads: how outdated they may be, on one instance and on several, with Redis and without.

use std::sync::Arc;
use std::time::Duration;

use bank::Config;
use bank::ledger::{AccountKey, Action, Entry, Memory, Step, Store};
use bank::reads::{Reads, Settings, SharedLevel, Watched};
use tenure::{Clock, Locks};
use tenure_testkit::{Ground, RedisServer, Setup};

use crate::stores::Served;

const HOUR: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(20);

/// An instance over these books: how it reads, and how it writes.
struct Instance {
    reads: Reads,
    store: Arc<dyn Store>,
}

impl Instance {
    fn new(books: &Arc<dyn Store>, settings: Settings, redis: Option<&RedisServer>) -> Self {
        let shared = redis.map(|redis| SharedLevel { url: redis.url(), prefix: "test".to_owned() });
        let reads = Reads::start(Arc::clone(books), Locks::memory(), settings, shared).unwrap();
        let store = Arc::new(Watched::over(Arc::clone(books), reads.clone(), Arc::default()));
        Instance { reads, store }
    }

    async fn write(&self, action: Action) {
        let step = Step::new(vec![Entry::new(key(), action)]);
        self.store.apply(vec![step]).await.unwrap().remove(0).unwrap();
    }

    async fn balance(&self) -> i64 {
        self.reads.account(&key()).await.unwrap().unwrap().balance
    }

    /// Reads until the balance is this one.
    async fn shows(&self, balance: i64) {
        let shown = async {
            while self.balance().await != balance {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.expect("the balance is never shown");
    }
}

fn key() -> AccountKey {
    AccountKey::account("a")
}

fn books() -> Arc<dyn Store> {
    Arc::new(Memory::default())
}

fn open(balance: i64) -> Action {
    Action::Open { owner: None, balance }
}

/// Answers unasked for as long as nobody tells it of a change.
fn trusting() -> Settings {
    let mut settings = Settings::default();
    settings.consistency_timeout = HOUR;
    settings
}

async fn redis() -> RedisServer {
    tokio::task::spawn_blocking(RedisServer::start).await.unwrap()
}

#[tokio::test]
async fn an_instance_reads_its_own_writes_at_once() {
    let one = Instance::new(&books(), trusting(), None);
    one.write(open(0)).await;
    for balance in 1..=100 {
        one.write(Action::Deposit(1)).await;
        assert_eq!(one.balance().await, balance);
        assert_eq!(one.balance().await, balance);
        let recent = one.reads.recent(&key()).await.unwrap().unwrap();
        assert_eq!(recent.events[0].balance, balance);
    }
    let metrics = one.reads.metrics().await;
    assert_eq!((metrics.cache_misses, metrics.cache_hits), (200, 100));
    assert_eq!(
        (metrics.account_cache_size, metrics.event_cache_size, metrics.projection_cache_size),
        (1, 1, 0)
    );
}

// Goal: without news, nobody is told what was outdated for longer than the consistency time-out.
// Method: another instance writes; each read that begins later than that has to show it.
#[tokio::test]
async fn a_stale_read_is_never_older_than_the_consistency_timeout() {
    let (books, clock) = (books(), Clock::system());
    let mut settings = Settings::default();
    settings.consistency_timeout = Duration::from_millis(50);
    let (one, other) = (Instance::new(&books, settings, None), Instance::new(&books, settings, None));
    other.write(open(0)).await;
    for balance in 1..=5 {
        one.shows(balance - 1).await;
        other.write(Action::Deposit(1)).await;
        let written = clock.now();
        loop {
            let age = written.until(clock.now());
            let shown = one.balance().await;
            assert!(shown == balance || age <= settings.consistency_timeout, "{shown} after {age:?}");
            if age > 2 * settings.consistency_timeout {
                break;
            }
        }
    }
    assert!(one.reads.metrics().await.consistency_checks >= 5);
}

#[tokio::test]
async fn without_eventual_consistency_every_read_shows_the_last_write() {
    let books = books();
    let mut settings = trusting();
    settings.enable_eventual_consistency = false;
    let (one, other) = (Instance::new(&books, settings, None), Instance::new(&books, settings, None));
    other.write(open(0)).await;
    for balance in 1..=20 {
        other.write(Action::Deposit(1)).await;
        assert_eq!(one.balance().await, balance);
    }
    let metrics = one.reads.metrics().await;
    assert_eq!((metrics.optimistic_reads, metrics.consistency_checks), (0, 19));
}

#[tokio::test]
async fn without_caching_nothing_is_kept_and_without_lock_free_reads_a_lock_is_taken() {
    let mut settings = trusting();
    settings.enable_read_caching = false;
    let one = Instance::new(&books(), settings, None);
    one.write(open(7)).await;
    assert_eq!((one.balance().await, one.balance().await), (7, 7));
    let metrics = one.reads.metrics().await;
    assert_eq!((metrics.read_operations, metrics.cache_hits, metrics.account_cache_size), (2, 0, 0));

    settings.enable_lock_free_reads = false;
    let locks = Locks::memory();
    let reads = Reads::start(Arc::clone(&one.store), locks.clone(), settings, None).unwrap();
    reads.account(&key()).await.unwrap().unwrap();
    assert_eq!((locks.stats().acquired, locks.stats().operations.reads), (1, 0));
}

// Goal: with Redis another instance learns of a write at once, not by the time-out.
// Method: instances that trust what they have for an hour.
#[tokio::test(flavor = "multi_thread")]
async fn with_redis_a_write_ends_what_every_instance_has_cached() {
    let (books, redis) = (books(), redis().await);
    let [one, other] = [(); 2].map(|()| Instance::new(&books, trusting(), Some(&redis)));
    one.write(open(0)).await;
    for balance in 1..=20 {
        let (writer, reader) = if balance % 2 == 0 { (&one, &other) } else { (&other, &one) };
        writer.write(Action::Deposit(1)).await;
        reader.shows(balance).await;
        assert_eq!(writer.balance().await, balance);
        // It is cached again, so that the next write has something to end.
        assert_eq!(reader.balance().await, balance);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_reads_what_others_have_cached() {
    let (books, redis) = (books(), redis().await);
    let one = Instance::new(&books, trusting(), Some(&redis));
    one.write(open(5)).await;
    assert_eq!(one.balance().await, 5);
    let other = Instance::new(&books, trusting(), Some(&redis));
    assert_eq!(other.balance().await, 5);
    let metrics = other.reads.metrics().await;
    assert_eq!((metrics.cache_hits, metrics.cache_misses), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_go_on_when_redis_is_gone_or_hangs() {
    let (books, mut redis) = (books(), redis().await);
    let mut settings = Settings::default();
    settings.consistency_timeout = Duration::from_millis(20);
    let [one, other] = [(); 2].map(|()| Instance::new(&books, settings, Some(&redis)));
    one.write(open(0)).await;
    other.shows(0).await;
    redis.stop();
    one.write(Action::Deposit(1)).await;
    other.shows(1).await;
    redis.go_on();
    redis.kill();
    one.write(Action::Deposit(1)).await;
    other.shows(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_reads_of_a_hundred_accounts_come_from_the_cache() {
    let books = books();
    let one = Instance::new(&books, Settings::default(), None);
    let keys: Vec<AccountKey> =
        (0..250).map(|number| AccountKey::account(number.to_string().as_str())).collect();
    let steps = keys.iter().map(|key| Step::new(vec![Entry::new(key.clone(), open(1))]));
    one.store.apply(steps.collect()).await.unwrap();
    for number in 0..1_000 {
        one.reads.account(&keys[number % 100]).await.unwrap().unwrap();
    }
    let metrics = one.reads.metrics().await;
    assert_eq!((metrics.read_operations, metrics.cache_misses), (1_000, 100));
    assert!(metrics.cache_hit_rate >= 90.0);
    let many = one.reads.accounts(&keys).await.unwrap();
    assert!(many.iter().zip(&keys).all(|(account, key)| account.as_ref().unwrap().key == *key));
    let metrics = one.reads.metrics().await;
    assert_eq!((metrics.cache_misses, metrics.parallel_reads), (250, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_are_served_see_each_others_writes() {
    for setup in [Setup::Files, Setup::PostgresAndRedis] {
        let ground = Ground::new(setup).await;
        let mut config = Config::default();
        if setup == Setup::PostgresAndRedis {
            config.reads.consistency_timeout = HOUR;
        }
        let [one, other] = [Served::on(&ground, config.clone()).await, Served::on(&ground, config).await];
        let made = one.post("/api/cqrs/accounts", r#"{"owner_name":"Ada"}"#).await.json();
        let path = format!("/api/cqrs/accounts/{}", made["id"].as_str().unwrap());
        for balance in 1..=5 {
            let put = one.post(&format!("{path}/deposit"), r#"{"amount":1}"#).await;
            assert_eq!(put.status, 200, "{put:?}");
            let shown = async { while other.get(&path).await.json()["balance"] != balance {} };
            tokio::time::timeout(PATIENCE, shown).await.expect("the other instance never shows it");
        }
        // A transfer is told as well: nobody who writes can forget it.
        let second = one.post("/accounts", r#"{"id":"b"}"#).await;
        assert_eq!(second.status, 201);
        let body = format!(r#"{{"from_account_id":{},"to_account_id":"b","amount":2}}"#, made["id"]);
        assert_eq!(one.post("/transactions", &body).await.status, 200);
        assert_eq!(one.get(&path).await.json()["balance"], 3);
    }
}
