//! Rows of PostgreSQL: locks on random names, beside bare session advisory locks over 16 connections, on a server that
//! forces its log to the disk.
//!
//! `cargo bench -p tenure --bench rows`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure here fails the run")]
#![allow(unreachable_pub, reason = "a module of other benches is shared")]

use std::sync::Arc;
use std::time::Duration;

use tenure::{Clock, Locks};
use tenure_testkit::{PgBouncer, PostgresConfig, PostgresServer};
use tokio_postgres::{Client, NoTls, Statement};

use self::random::Random;

#[path = "support/random.rs"]
mod random;

const SPAN: Duration = Duration::from_secs(3);
const NAMES: usize = 100_000;
const CONNECTIONS: usize = 16;

/// A connection with its two statements.
struct Raw {
    client: Client,
    lock: Statement,
    unlock: Statement,
}

impl Raw {
    async fn open(url: &str) -> Raw {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let lock = client.prepare("select pg_advisory_lock($1)").await.unwrap();
        let unlock = client.prepare("select pg_advisory_unlock($1)").await.unwrap();
        Raw { client, lock, unlock }
    }

    async fn once(&self, name: usize) {
        let key = i64::try_from(name).unwrap();
        self.client.query(&self.lock, &[&key]).await.unwrap();
        self.client.query(&self.unlock, &[&key]).await.unwrap();
    }
}

/// Locks per second of so many tasks that lock and unlock random names.
async fn rate(tasks: usize, once: impl AsyncFn(usize, usize) + Clone + Send + 'static) -> f64 {
    let local = tokio::task::LocalSet::new();
    let clock = Clock::system();
    let began = clock.now();
    let workers: Vec<_> = (0..tasks)
        .map(|task| {
            let once = once.clone();
            local.spawn_local(async move {
                let (mut random, mut done) = (Random::of(task), 0_u32);
                while began.until(clock.now()) < SPAN {
                    once(task, random.below(NAMES)).await;
                    done += 1;
                }
                done
            })
        })
        .collect();
    let done = local.run_until(futures_util::future::join_all(workers)).await;
    let done: u32 = done.into_iter().map(Result::unwrap).sum();
    f64::from(done) / began.until(clock.now()).as_secs_f64()
}

async fn rows(url: &str, tasks: usize) -> f64 {
    let locks = Locks::connect(url).await.unwrap();
    let each = locks.clone();
    let rate = rate(tasks, async move |_, name| {
        let guard = each.lock(format!("order:{name}")).acquire().await.unwrap();
        guard.release().await.unwrap();
    });
    let rate = rate.await;
    locks.close(SPAN).await;
    rate
}

async fn raw(url: &str, tasks: usize) -> f64 {
    let opened = (0..tasks.min(CONNECTIONS)).map(|_| Raw::open(url));
    let raws: Vec<_> = futures_util::future::join_all(opened).await;
    // A session lock belongs to its session: a task has a connection for itself while it locks.
    let raws: Arc<Vec<_>> = Arc::new(raws.into_iter().map(tokio::sync::Mutex::new).collect());
    rate(tasks, async move |task, name| raws[task % raws.len()].lock().await.once(name).await).await
}

fn server() -> PostgresServer {
    let lines =
        ["fsync = on", "full_page_writes = on", "autovacuum_naptime = 1min", "shared_buffers = 128MB"];
    lines.into_iter().fold(PostgresConfig::default(), |config, line| config.line(line)).start()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let server = server();
    let pool = PgBouncer::start(&server, 3);
    let database = server.database();
    let url = server.url(&database);
    println!("| tasks | raw advisory, 16 connections | rows | rows through a pool | rows / raw |");
    println!("|---:|---:|---:|---:|---:|");
    for tasks in [1, 16, 64, 512] {
        let bare = raw(&url, tasks).await;
        let direct = rows(&format!("{url}?mode=rows"), tasks).await;
        let pooled = rows(&format!("{}?mode=rows&listen={url}", pool.url(&database)), tasks).await;
        println!("| {tasks} | {bare:.0} | {direct:.0} | {pooled:.0} | {:.2} |", direct / bare);
    }
}
