//! What 100,000 held locks cost: their bytes, and their idle time.
//!
//! Each figure comes from a process of its own, which is this program with `--child`: what an earlier contender
//! freed would be taken again by a later one, and cost it nothing.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenure::{Clock, Locks, Memory, Settings};
use tenure_testkit::{Relay, Step};

use crate::Effort;
use crate::contender::Contender;
use crate::contenders::{Dashed, Pool, Tenure};
use crate::drive;
use crate::grid;
use crate::usage::{cpu, resident};

/// Whether this process is a child; it has then done its work.
pub fn is_child(words: &[String]) -> bool {
    let Some(at) = words.iter().position(|word| word == "--child") else {
        return false;
    };
    let number = |index: usize| words[at + index].parse::<usize>().unwrap();
    match words[at + 1].as_str() {
        "tenure" => println!("{}", bytes(Tenure::make(), number(2))),
        "dashed" => println!("{}", bytes(Dashed::make(), number(2))),
        "pool" => println!("{}", bytes(Pool::make(), number(2))),
        _ => idle(number(2), Duration::from_millis(number(3) as u64)),
    }
    true
}

/// Runs the children and prints what they found.
pub fn print(markdown: bool, effort: Effort) {
    let held = effort.held.to_string();
    let row = |who: &str, child: &str, bar: &str| {
        [who.to_owned(), ask(&[child, &held]).trim().to_owned(), bar.to_owned()]
    };
    let rows =
        [row("tenure", "tenure", "≤ 200"), row("dashmap + tokio", "dashed", ""), row("lockable", "pool", "")];
    let head =
        [format!("{held} names held"), "resident bytes each, guard and name included".into(), "bar".into()];
    grid::print(markdown, &head, &rows);

    let idle = ask(&["idle", &held, &effort.idle.as_millis().to_string()]);
    let cells: Vec<String> = idle.trim().split(' ').map(str::to_owned).collect();
    let head = [
        "held idle, over a provider that must be renewed",
        "of a core",
        "calls of keep",
        "renewals",
        "other calls",
    ];
    let seconds = effort.idle.as_secs();
    let row = [
        format!("{held} guards, {seconds} s, ttl 30 s"),
        cells[0].clone() + " %",
        cells[1].clone(),
        cells[2].clone(),
        cells[3].clone(),
    ];
    grid::print(markdown, &head.map(str::to_owned), &[row]);
}

fn ask(words: &[&str]) -> String {
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg("--child").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("order:process:{number:05}")).collect()
}

/// Resident bytes by which the process grew for each lock that it holds.
fn bytes<C: Contender>(who: &'static C, count: usize) -> i64 {
    let names = names(count);
    drive::own().block_on(async {
        let mut guards = Vec::with_capacity(count);
        let before = resident();
        for name in &names {
            guards.push(who.lock(name).await);
        }
        let after = resident();
        assert_eq!(guards.len(), count);
        (after - before) / i64::try_from(count).unwrap()
    })
}

/// Holds `count` guards over a store that must be asked to keep them, and prints what that costs.
fn idle(count: usize, span: Duration) {
    let clock = Clock::system();
    let (provider, wire) = Relay::over(Arc::new(Memory::new(clock)), clock);
    drive::own().block_on(async {
        let locks = Locks::over(provider, Settings::default());
        let mut guards = Vec::with_capacity(count);
        for name in names(count) {
            guards.push(locks.lock(&name).acquire().await.unwrap());
        }
        let count = || (wire.all_trips(), wire.trips(Step::Keep), wire.elements(Step::Keep));
        let (before, spent, began) = (count(), cpu(), Instant::now());
        tokio::time::sleep(span).await;
        let used = (cpu() - spent).as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
        let after = count();
        assert!(guards.iter().all(|guard| !guard.is_lost()), "a lock was lost");
        let (calls, keeps, renewals) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
        println!("{used:.2} {keeps} {renewals} {}", calls - keeps);
    });
}
