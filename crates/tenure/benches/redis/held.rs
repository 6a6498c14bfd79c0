//! M: what 100,000 held locks cost the process that holds them: their bytes, and its idle time.
//!
//! Each figure comes from a process of its own: what an earlier contender freed would be taken again by a later one.

use std::io::BufRead as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tenure_testkit::RedisServer;

use crate::Effort;
use crate::child::Child;
use crate::contender::Contender;
use crate::contenders::{Distributed, Rslock, tenure};
use crate::field::bar;
use crate::grid;
use crate::monitor::Monitor;
use crate::raw::Raw;
use crate::usage::{cpu, resident};

/// Locks that are asked for at once.
const AT_ONCE: usize = 64;

/// Runs the children and prints what they found. `ours` says whether the library takes part.
pub fn measure(server: &RedisServer, ours: bool, effort: Effort, markdown: bool) {
    let (url, held) = (server.url(), effort.held.to_string());
    let mut rows = Vec::new();
    for who in ["tenure", "raw", "rslock", "distributed-lock"] {
        if who == "tenure" && !ours {
            rows.push([who.to_owned(), "–".to_owned(), bar("M1 ≤ 200", f64::NAN, |_| false)]);
            continue;
        }
        let bytes = Child::start(&["bytes", who, &url, &held]).answer();
        let bars = match who {
            "tenure" => bar("M1 ≤ 200", bytes.parse().unwrap(), |bytes| bytes <= 200.0),
            _ => String::new(),
        };
        rows.push([who.to_owned(), bytes, bars]);
        // The next one's names are free.
        server.command::<()>(&["FLUSHALL"]);
    }
    let head = [format!("{held} names held"), "resident bytes each".into(), "bar".into()];
    grid::print(markdown, &head, &rows);
    if ours {
        print_idle(server, effort, markdown);
    }
}

fn print_idle(server: &RedisServer, effort: Effort, markdown: bool) {
    let words = [&server.url(), &effort.held.to_string(), &effort.idle.as_millis().to_string()];
    let mut child = Child::start(&["idle", words[0], words[1], words[2]]);
    assert_eq!(child.answer(), "holding");
    let monitor = Monitor::start(server.addr());
    child.order("go");
    let share: f64 = child.answer().parse().unwrap();
    let commands = monitor.stop();
    let head = ["held idle", "of a core", "commands sent", "bars"];
    // Each lease is renewed every ten seconds; a hundred of them in one command is a batch.
    let most = effort.held as f64 * effort.idle.as_secs_f64() / 10.0 / 100.0;
    let bars = [
        bar("M1 < 2 %", share, |share| share < 2.0),
        bar("renewals in batches", commands as f64, |commands| commands <= most.max(10.0)),
    ];
    let row = [
        format!("{} guards, {} s, ttl 30 s", effort.held, effort.idle.as_secs()),
        format!("{share:.2} %"),
        commands.to_string(),
        bars.join("; "),
    ];
    grid::print(markdown, &head.map(str::to_owned), &[row]);
}

/// The work of a child: `who url count`. Says by how many resident bytes the process grew for each lock that it holds.
pub async fn bytes(words: &[String]) {
    let [who, url, count] = words else { panic!("three words") };
    let names = names(count.parse().unwrap());
    let bytes = match who.as_str() {
        "tenure" => grown(tenure(url).await.unwrap()[0], &names).await,
        "raw" => grown(Raw::make(url).await, &names).await,
        "rslock" => grown(Rslock::make(url), &names).await,
        _ => grown(Distributed::make(url).await, &names).await,
    };
    println!("{bytes}");
}

/// The work of a child: `url count span_ms`. Says what share of a core it took while it held them.
pub async fn idle(words: &[String]) {
    let [url, count, span] = words else { panic!("three words") };
    let guards = hold(tenure(url).await.unwrap()[0], &names(count.parse().unwrap())).await;
    println!("holding");
    // Reading blocks this thread; the others renew.
    tokio::task::block_in_place(|| std::io::stdin().lock().read_line(&mut String::new())).unwrap();
    let (spent, began) = (cpu(), Instant::now());
    tokio::time::sleep(Duration::from_millis(span.parse().unwrap())).await;
    let share = (cpu() - spent).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    assert!(guards.iter().all(|(guard, _)| !guard.is_lost()), "a lock was lost");
    println!("{share}");
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("order:process:{number:05}")).collect()
}

async fn grown<C: Contender>(who: &'static C, names: &[String]) -> i64 {
    // What is made once is there before.
    C::unlock(who.lock("order:process:first").await).await;
    let before = resident();
    let guards = hold(who, names).await;
    (resident() - before) / i64::try_from(guards.len()).unwrap()
}

async fn hold<C: Contender>(who: &'static C, names: &[String]) -> Vec<C::Guard> {
    let mut guards = Vec::with_capacity(names.len());
    for names in names.chunks(AT_ONCE) {
        guards.extend(join_all(names.iter().map(|name| who.lock(name))).await);
    }
    guards
}
