//! Event-sourced accounts: five set-ups side by side, sizes of batches, and cached reads.
//!
//! `cargo bench -p bank --bench accounts`, with `-- --quick` a tenth of it. 100 accounts in SQLite, locks in a Redis of its own, 20
//! workers, a third of the operations reads. Under `cargo test` it runs once, small.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure here fails the run")]

use std::sync::Arc;
use std::time::Duration;

use bank::accounts::{BatchOperation, Command, Kind, Terms};
use bank::ledger::{AccountKey, Sqlite};
use bank::reads::SharedLevel;
use bank::{Bank, Cents, Config};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tenure::{Clock, Locks, Monitor};
use tenure_testkit::RedisServer;

const ACCOUNTS: usize = 100;
const WORKERS: usize = 20;
/// Operations that a worker of a set-up with batches sends at once.
const BATCH: usize = 50;
/// The work that each request stands for, beside ours.
const WORK: Duration = Duration::from_millis(10);

/// What of the service is in use.
struct Setup {
    name: &'static str,
    lock_free: bool,
    batches: bool,
    monitor: bool,
}

const SETUPS: [Setup; 5] = [
    Setup { name: "baseline", lock_free: false, batches: false, monitor: false },
    Setup { name: "lock-free reads", lock_free: true, batches: false, monitor: false },
    Setup { name: "batches", lock_free: false, batches: true, monitor: false },
    Setup { name: "monitoring", lock_free: false, batches: false, monitor: true },
    Setup { name: "all", lock_free: true, batches: true, monitor: true },
];

/// A bank with accounts, and what lives as long.
struct Stage {
    bank: Arc<Bank>,
    ids: Arc<Vec<Arc<str>>>,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new(redis: &RedisServer, lock_free: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let books = Arc::new(Sqlite::open(&dir.path().join("bank.db")).unwrap());
        let locks = Locks::connect(&redis.url()).await.unwrap();
        let mut config = Config::default();
        config.reads.enable_lock_free_reads = lock_free;
        config.reads.enable_read_caching = lock_free;
        config.accounts.max_batch_size = 200;
        // Each stage has accounts of its own, so that nothing of the last one is cached.
        let shared = SharedLevel { url: redis.url(), prefix: uuid::Uuid::new_v4().to_string() };
        let bank = Bank::over(books, locks, Some(shared), config).unwrap();
        let opened = (0..ACCOUNTS).map(|_| bank.accounts.create("owner", Cents::units(1_000), None));
        let opened = futures_util::future::join_all(opened).await;
        let ids = opened.into_iter().map(|done| done.unwrap().id).collect();
        Stage { bank: Arc::new(bank), ids: Arc::new(ids), _dir: dir }
    }

    /// A random operation, a third of them reads.
    fn operation(&self, random: &mut StdRng) -> BatchOperation {
        let id = self.ids[random.random_range(0..ACCOUNTS)].clone();
        let kind = match random.random_range(0..3) {
            0 => Kind::Read,
            1 => Kind::Command(Command::Deposit(Cents(1))),
            _ => Kind::Command(Command::Withdraw(Cents(1))),
        };
        BatchOperation { id, kind, expected: None }
    }

    async fn one(&self, BatchOperation { id, kind, .. }: BatchOperation) -> bool {
        match kind {
            Kind::Read => {
                let key = AccountKey::account(id);
                self.bank.reads.account(&key).await.is_ok_and(|account| account.is_some())
            }
            Kind::Command(command) => {
                self.bank.accounts.command(&id, command, Terms::default()).await.is_ok()
            }
        }
    }

    /// Carries out so many operations and tells how many of them went well.
    async fn work(self: &Arc<Self>, operations: usize, batch: usize, work: Duration) -> usize {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let stage = Arc::clone(self);
                tokio::spawn(async move {
                    let mut random = StdRng::seed_from_u64(worker as u64);
                    let (mut left, mut done) = (operations / WORKERS, 0);
                    while left > 0 {
                        let asked: Vec<BatchOperation> =
                            (0..batch.min(left)).map(|_| stage.operation(&mut random)).collect();
                        left -= asked.len();
                        if !work.is_zero() {
                            tokio::time::sleep(work).await;
                        }
                        if batch == 1 {
                            for operation in asked {
                                done += usize::from(stage.one(operation).await);
                            }
                        } else {
                            let answers = stage.bank.accounts.batch(&asked, None).await.unwrap();
                            done += answers.iter().filter(|answer| answer.is_ok()).count();
                        }
                    }
                    done
                })
            })
            .collect();
        let done = futures_util::future::join_all(workers).await;
        done.into_iter().map(Result::unwrap).sum()
    }
}

async fn setup(redis: &RedisServer, setup: &Setup, operations: usize, work: Duration) {
    let stage = Arc::new(Stage::new(redis, setup.lock_free).await);
    let locks = &stage.bank.locks;
    let mut settings = tenure::monitor::Settings::default();
    settings.interval = Duration::from_millis(100);
    let _monitor = setup.monitor.then(|| Monitor::start(locks, settings));
    let (before, began) = (locks.stats(), Clock::system().now());
    let done = stage.work(operations, if setup.batches { BATCH } else { 1 }, work).await;
    let took = began.until(Clock::system().now());
    let rates = locks.stats().rates_since(&before);
    let reads = stage.bank.reads.metrics().await;
    println!(
        "{:<16} work_ms={:<2} ops_per_s={:<7.0} success={:.2}% lock_mean_ms={:.3} timeouts={:.2}% hit_rate={}",
        setup.name,
        work.as_millis(),
        operations as f64 / took.as_secs_f64(),
        done as f64 * 100.0 / operations as f64,
        rates.mean_wait.unwrap_or_default().as_secs_f64() * 1e3,
        rates.timeouts.unwrap_or_default(),
        if setup.lock_free { format!("{:.1}%", reads.cache_hit_rate) } else { "-".to_owned() },
    );
}

async fn batches(redis: &RedisServer, operations: usize) {
    for size in [1, 10, 50, 100, 200] {
        let stage = Arc::new(Stage::new(redis, true).await);
        let began = Clock::system().now();
        let done = stage.work(operations, size, Duration::ZERO).await;
        let took = began.until(Clock::system().now());
        let rate = operations as f64 / took.as_secs_f64();
        println!("batch size={size:<3} ops_per_s={rate:<7.0} success={done}/{operations}");
    }
}

async fn cached_reads(redis: &RedisServer, reads: usize) {
    let stage = Stage::new(redis, true).await;
    let began = Clock::system().now();
    for number in 0..reads {
        let key = AccountKey::account(stage.ids[number % ACCOUNTS].clone());
        stage.bank.reads.account(&key).await.unwrap().unwrap();
    }
    let took = began.until(Clock::system().now());
    let metrics = stage.bank.reads.metrics().await;
    println!(
        "cached reads={reads} accounts={ACCOUNTS} reads_per_s={:.0} hit_rate={:.1}% mean_us={}",
        reads as f64 / took.as_secs_f64(),
        metrics.cache_hit_rate,
        metrics.avg_read_time_us,
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let has = |word: &str| std::env::args().any(|argument| argument == word);
    let operations = match (has("--bench"), has("--quick")) {
        (true, false) => 20_000,
        (true, true) => 2_000,
        (false, _) => 200,
    };
    let redis = tokio::task::spawn_blocking(RedisServer::start).await.unwrap();
    println!("targets: ops_per_s>=5000 success>=99.9% lock_mean_ms<20 timeouts<0.1% hit_rate>90%");
    println!("with the work the ceiling is {WORKERS} workers / 10 ms = 2000 requests a second");
    for work in [Duration::ZERO, WORK] {
        for each in &SETUPS {
            let operations = if work.is_zero() { operations } else { operations.min(2_000) };
            setup(&redis, each, operations, work).await;
        }
    }
    batches(&redis, operations).await;
    cached_reads(&redis, operations.min(1_000)).await;
}
