//! The file provider: one process alone, many tasks, and the hand-off between two processes.
//!
//! `cargo bench -p tenure --bench file`

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure here fails the run")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tenure::claim::ProcessId;
use tenure::clock::Instant;
use tenure::file::File;
use tenure::lease::Claimed;
use tenure::provider::{Event, Listener};
use tenure::{Claim, Clock, LeaseId, Names, Provider};
use tokio::sync::mpsc;

const DIRECTORY: &str = "TENURE_BENCH_DIRECTORY";
const ROUNDS: usize = 400;

struct Granted(mpsc::UnboundedSender<(LeaseId, Instant)>);

impl Listener for Granted {
    fn on(&self, event: Event) {
        if let Event::Granted(lease, _) = event {
            let _ = self.0.send((lease, Clock::system().now()));
        }
    }
}

fn claim_on(name: &str) -> Claim {
    let mut claim = Claim::new(ProcessId::random(), Names::parse([name]).unwrap());
    claim.wait = true;
    claim
}

async fn once(file: &File, name: &str) {
    let claim = claim_on(name);
    let granted = file.claim(std::slice::from_ref(&claim)).await.remove(0).unwrap();
    assert!(matches!(granted, Claimed::Granted(_)));
    file.end(&[claim.lease]).await.remove(0).unwrap();
}

async fn alone(directory: &Path) {
    let clock = Clock::system();
    let file = File::open(directory, clock).await.unwrap();
    for tasks in [1, 16, 64] {
        let (began, each) = (clock.now(), 6_000 / tasks);
        let running: Vec<_> = (0..tasks)
            .map(|task| {
                let file = file.clone();
                tokio::spawn(async move {
                    for round in 0..each {
                        once(&file, &format!("order:process:{}", task * 10_000 + round)).await;
                    }
                })
            })
            .collect();
        for task in running {
            task.await.unwrap();
        }
        let rate = f64::from(each * tasks) / began.until(clock.now()).as_secs_f64();
        println!("uncontended tasks={tasks} claim_and_end_per_s={rate:.0}");
    }
    file.close().await;
}

/// Takes turns with the other process on one name: waits for it, notes when it was granted, gives it back.
async fn take_turns(directory: &Path, mut note: impl FnMut(&str)) {
    let clock = Clock::system();
    let file = File::open(directory, clock).await.unwrap();
    let (sender, mut granted) = mpsc::unbounded_channel();
    file.listen(Arc::new(Granted(sender)));
    let mut held: Option<LeaseId> = None;
    for _ in 0..ROUNDS {
        let next = claim_on("turn");
        let answer = file.claim(std::slice::from_ref(&next)).await.remove(0).unwrap();
        if let Some(held) = held.take() {
            // Long enough for the other process to be asleep, waiting.
            tokio::time::sleep(Duration::from_millis(2)).await;
            note(&format!("ended {}", clock.now().as_nanos()));
            file.end(&[held]).await.remove(0).unwrap();
        }
        if let Claimed::Queued(_) = answer {
            let (_, at) = granted.recv().await.unwrap();
            note(&format!("granted {}", at.as_nanos()));
        }
        held = Some(next.lease);
    }
    file.close().await;
}

async fn hand_off(directory: &Path) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut other = command.env(DIRECTORY, directory).stdout(Stdio::piped()).spawn().unwrap();
    let mut notes: Vec<(u64, bool)> = Vec::new();
    let mut add = |note: &str| {
        let (what, at) = note.split_once(' ').unwrap();
        notes.push((at.parse().unwrap(), what == "granted"));
    };
    take_turns(directory, &mut add).await;
    for line in BufReader::new(other.stdout.take().unwrap()).lines() {
        add(&line.unwrap());
    }
    other.wait().unwrap();
    notes.sort_unstable();
    let mut spans: Vec<u64> = notes
        .windows(2)
        .filter(|pair| !pair[0].1 && pair[1].1)
        .map(|pair| (pair[1].0 - pair[0].0) / 1_000)
        .collect();
    spans.sort_unstable();
    let at = |share: usize| spans[spans.len() * share / 100];
    println!(
        "hand-off between processes rounds={} p50_us={} p90_us={} p99_us={}",
        spans.len(),
        at(50),
        at(90),
        at(99)
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    if let Ok(directory) = std::env::var(DIRECTORY) {
        let mut out = std::io::stdout().lock();
        let mut lines = String::new();
        take_turns(directory.as_ref(), |note| lines.push_str(&format!("{note}\n"))).await;
        return out.write_all(lines.as_bytes()).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    alone(&directory.path().join("alone")).await;
    hand_off(&directory.path().join("pair")).await;
}
