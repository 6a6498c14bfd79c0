//! How long a lock takes over HTTP: one acquire and release, and from the release in one client to the grant in another.
//!
//! `cargo run --release -p tenure-server --example handover [URL]`; without a URL against a server of its own over memory.

use std::time::Duration;

use tenure::{Clock, Locks, Memory, Settings};
use tenure_server::{Config, router, serve};
use tokio::net::TcpListener;

const ROUNDS: usize = 2_000;

#[tokio::main]
async fn main() -> tenure::Result<()> {
    let url = match std::env::args().nth(1) {
        Some(url) => url,
        None => own().await,
    };
    let (one, two) = (Locks::connect(&url).await?, Locks::connect(&url).await?);
    let clock = Clock::system();

    let mut alone = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let name = format!("alone:{round}");
        let began = clock.now();
        one.lock_shared(&name).acquire().await?.release().await?;
        alone.push(began.until(clock.now()));
    }
    print("acquire + release", alone);

    let mut over = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let guard = one.lock("hot").acquire().await?;
        let waiter = two.clone();
        let waiting = tokio::spawn(async move {
            let guard = waiter.lock("hot").acquire().await?;
            let granted = Clock::system().now();
            guard.release().await?;
            Ok::<_, tenure::Error>(granted)
        });
        while one.provider().list(&waiters()).await?.entries.is_empty() {
            tokio::task::yield_now().await;
        }
        let released = clock.now();
        guard.release().await?;
        over.push(released.until(waiting.await.expect("the waiter does not panic")?));
    }
    print("release -> grant elsewhere", over);
    Ok(())
}

fn waiters() -> tenure::lease::Query {
    tenure::lease::Query::new(tenure::lease::Kind::Waiters, "hot")
}

async fn own() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
    let locks = Locks::over(std::sync::Arc::new(Memory::new(Clock::system())), Settings::default());
    let config = Config::default();
    let app = router(&locks, config.clone());
    tokio::spawn(serve(listener, app, config, std::future::pending()));
    url
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("{what}: p50 {:?} p99 {:?} rounds {}", at(50), at(99), times.len());
}
