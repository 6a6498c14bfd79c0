//! From process to process over a `file:` store: how soon a waiter in another process has the lock that is released
//! here, and that nothing polls while it waits.
//!
//! ```sh
//! cargo bench -p tenure --bench handoff -- [--quick] [--markdown]
//! ```
//! Without `--bench`, as in `cargo test --all-targets`, a few rounds show that it works.
//!
//! The other process is this program with `--child`. It waits when it is told to; this process sees it in the
//! store's queue, holds on for a while, and releases. Both read the same clock of the machine.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what goes wrong in a bench ends it")]
#![allow(missing_docs, missing_debug_implementations, unreachable_pub, reason = "a program")]

#[path = "../support/child.rs"]
mod child;
#[path = "../support/clock.rs"]
mod clock;
mod waiter;

use std::fs;
use std::time::Duration;

use hdrhistogram::Histogram;
use tenure::Locks;
use tenure::lease::{Kind, Query};

use clock::now;
use waiter::Waiter;

const NAME: &str = "order:process:42";

/// How long the lock is held once the other process waits: a poll in this time would be seen.
const HOLD: Duration = Duration::from_millis(25);

/// How long the waiter is watched in one wait, in which only its touches may happen.
const WATCH: Duration = Duration::from_millis(5_250);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = words.iter().position(|word| word == "--child") {
        return waiter::run(&words[at + 1]);
    }
    let has = |word: &str| words.iter().any(|given| given == word);
    let (rounds, watch) = match () {
        () if !has("--bench") => (3, Duration::from_millis(50)),
        () if has("--quick") => (50, WATCH),
        () => (200, WATCH),
    };
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let report = runtime.block_on(measure(&url, rounds, watch));
    report.print(has("--markdown"));
}

struct Report {
    rounds: u64,
    handoff: Histogram<u64>,
    /// Calls of the waiting process in all rounds: claims, touches and fetches, ends.
    calls: [u64; 3],
    watch: Duration,
    /// Touches, and times that a thread of the waiting process was woken, in the long wait.
    touches: u64,
    wakings: u64,
}

async fn measure(url: &str, rounds: u64, watch: Duration) -> Report {
    let locks = Locks::connect(url).await.unwrap();
    let mut waiter = Waiter::start(url);
    let mut handoff = Histogram::new(3).unwrap();

    for _ in 0..rounds {
        let guard = locks.lock(NAME).acquire().await.unwrap();
        waiter.want();
        until_queued(&locks).await;
        tokio::time::sleep(HOLD).await;
        let released = now();
        guard.release().await.unwrap();
        handoff.record(waiter.granted().saturating_sub(released)).unwrap();
        waiter.release();
    }
    let calls = waiter.calls();

    let guard = locks.lock(NAME).acquire().await.unwrap();
    waiter.want();
    until_queued(&locks).await;
    // The claim has just been queued: what its process does about that comes to an end first.
    tokio::time::sleep(HOLD).await;
    let before = wakings(waiter.id());
    tokio::time::sleep(watch).await;
    let wakings = wakings(waiter.id()) - before;
    guard.release().await.unwrap();
    waiter.granted();
    waiter.release();
    let after = waiter.calls();
    // The last fetch, if there was one, belongs to the grant.
    let touches = after[1] - calls[1];
    Report { rounds, handoff, calls, watch, touches, wakings }
}

/// Asks the store until somebody waits in it.
async fn until_queued(locks: &Locks) {
    let query = Query::new(Kind::Waiters, NAME);
    while locks.provider().list(&query).await.unwrap().entries.is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How often a thread of process `id` has gone to sleep and was woken.
fn wakings(id: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let count = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or_default()
    };
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).map(count).sum()
}

impl Report {
    fn print(&self, markdown: bool) {
        let ms = |quantile| self.handoff.value_at_quantile(quantile) as f64 / 1e6;
        let per = |calls: u64| calls as f64 / self.rounds as f64;
        let verdict = if ms(0.5) <= 2.0 { "met" } else { "MISSED" };
        let [claims, keeps, ends] = self.calls.map(per);
        let rows = [
            [
                format!("release here → grant there, p50 of {} rounds", self.rounds),
                format!("{:.3} ms", ms(0.5)),
                format!("≤ 2 ms: {verdict}"),
            ],
            ["p99".to_owned(), format!("{:.3} ms", ms(0.99)), String::new()],
            [
                "steps of the waiting process for each round: claim, keep, end".to_owned(),
                format!("{claims:.2}, {keeps:.2}, {ends:.2}"),
                String::new(),
            ],
            [
                format!(
                    "steps in one wait of {:.1} s: touches and the final fetch",
                    self.watch.as_secs_f64()
                ),
                self.touches.to_string(),
                "one a second".to_owned(),
            ],
            [
                "wakings of all its threads in that wait".to_owned(),
                self.wakings.to_string(),
                "a poll every 10 ms would be 500".to_owned(),
            ],
        ];
        if markdown {
            println!("| from process to process, `file:` | | |\n|---|---|---|");
        }
        for [what, figure, remark] in rows {
            if markdown {
                println!("| {what} | {figure} | {remark} |");
            } else {
                println!("{what:<70} {figure:<20} {remark}");
            }
        }
    }
}
