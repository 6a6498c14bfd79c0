//! The store and the table, driven by the same random steps.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};

use super::File;
use super::tests::{Heard, claim_on, end, in_boot, token};
use crate::claim::{Claim, LeaseId, Meta, Mode, Origin, Pick, ProcessId};
use crate::clock::Clock;
use crate::lease::{Kind, Query};
use crate::memory::TokenSource;
use crate::memory::table::Table;
use crate::name::{Name, Names};
use crate::provider::{Force, Keep, Listener, Provider};
use crate::token::Epoch;

/// A random question, and the answers of both stores in words.
struct Twins {
    random: StdRng,
    files: Vec<File>,
    table: Table,
    clock: Clock,
    leases: Vec<LeaseId>,
}

impl Twins {
    fn claim(&mut self) -> Claim {
        const POOL: [&str; 6] = ["a", "b", "c", "s", "p", "q"];
        let count = *[1, 1, 1, 2, 3].choose(&mut self.random).unwrap();
        let names =
            POOL.iter().choose_multiple(&mut self.random, count).into_iter().map(|n| Name::new(n).unwrap());
        let mut claim = Claim::new(ProcessId::from_number(1), Names::ranked(names).unwrap());
        claim.mode = match self.random.random_range(0..10) {
            0..5 => Mode::Exclusive,
            5..8 => Mode::Shared,
            _ => Mode::Permits { take: self.random.random_range(1..=2), of: 3 },
        };
        if self.random.random_bool(0.3) {
            claim.pick = Pick::Any { count: self.random.random_range(1..=u32::try_from(count).unwrap()) };
        }
        claim.ttl = Duration::from_millis(self.random.random_range(100..8_000));
        claim.wait = self.random.random_bool(0.8);
        claim.tokens = NonZeroU32::new(self.random.random_range(1..5)).unwrap();
        claim.origin = if self.random.random_bool(0.5) { Origin::Local } else { Origin::Remote };
        if self.random.random_bool(0.1) {
            claim.linger = Duration::from_millis(self.random.random_range(1..3_000));
        }
        if self.random.random_bool(0.1) {
            claim.replaces.extend(self.leases.choose(&mut self.random));
        }
        if self.random.random_bool(0.1) {
            claim.lease = self.lease();
        }
        claim.meta =
            self.random.random_bool(0.2).then(|| Arc::new(Meta::new([("k", "v"), ("l", "")]).unwrap()));
        self.leases.push(claim.lease);
        claim
    }

    fn lease(&mut self) -> LeaseId {
        let recent = self.leases.len().saturating_sub(24);
        self.leases[recent..].choose(&mut self.random).copied().unwrap_or_else(LeaseId::random)
    }

    async fn step(&mut self) -> (String, String, String) {
        let file = self.files.choose(&mut self.random).unwrap().clone();
        let now = self.clock.now();
        match self.random.random_range(0..20) {
            0..8 => {
                let asked: Vec<Claim> =
                    (0..*[1, 1, 1, 4].choose(&mut self.random).unwrap()).map(|_| self.claim()).collect();
                let one = file.claim(&asked).await;
                let other: Vec<_> = asked.iter().map(|claim| self.table.claim(now, claim)).collect();
                (format!("{asked:?}"), format!("{one:?}"), format!("{other:?}"))
            }
            8..12 => {
                let ttl = Duration::from_millis(self.random.random_range(100..8_000));
                let keep = Keep { lease: self.lease(), ttl, tokens: self.random.random_range(0..3) };
                let (one, other) = (file.keep(&[keep]).await.remove(0).unwrap(), self.table.keep(now, &keep));
                (format!("{keep:?}"), format!("{one:?}"), format!("{other:?}"))
            }
            12..16 => {
                let lease = self.lease();
                let (one, other) = (end(&file, lease).await, self.table.end(now, &lease));
                (format!("end {lease:?}"), format!("{one:?}"), format!("{other:?}"))
            }
            16 => {
                let how = if self.random.random_bool(0.5) { Force::Revoke } else { Force::Now };
                let lease = self.lease().digest();
                let (one, other) = (file.force(lease, how).await.unwrap(), self.table.force(now, lease, how));
                (format!("force {lease} {how:?}"), format!("{one:?}"), format!("{other:?}"))
            }
            17 => {
                let kind = if self.random.random_bool(0.5) { Kind::Leases } else { Kind::Waiters };
                let query = Query::new(kind, *["", "a", "s"].choose(&mut self.random).unwrap());
                let (one, other) = (file.list(&query).await.unwrap(), self.table.list(now, &query));
                (format!("{query:?}"), format!("{one:?}"), format!("{other:?}"))
            }
            _ => {
                let most = *[2, 50, 1_000, 4_000].choose(&mut self.random).unwrap();
                let span = Duration::from_millis(self.random.random_range(1..=most));
                tokio::time::advance(span).await;
                (format!("advance {span:?}"), String::new(), String::new())
            }
        }
    }
}

/// Drives the same random steps through the table and through `stores` providers of one directory, and compares each
/// answer and (with one provider) each event.
async fn compare(seed: u64, stores: usize, steps: usize) {
    let directory = tempfile::tempdir().unwrap();
    let clock = Clock::tokio();
    let mut files = Vec::new();
    for _ in 0..stores {
        files.push(in_boot(&directory, clock, "boot").await);
    }
    let heard = Arc::new(Heard::default());
    files[0].listen(Arc::clone(&heard) as Arc<dyn Listener>);
    let table = Table::new(Arc::new(TokenSource::new(Epoch::new(7).unwrap())), true);
    let mut twins = Twins { random: StdRng::seed_from_u64(seed), files, table, clock, leases: Vec::new() };
    // The first token tells the epoch, which is not the table's.
    let first = claim_on(&["first"]);
    let epoch = format!("{}.", token(&twins.files[0], &first).await >> 32);
    twins.table.claim(clock.now(), &first).unwrap();
    let mut log = Vec::new();
    for step in 0..steps {
        let (asked, one, other) = twins.step().await;
        let one = one.replace(&epoch, "7.");
        log.push(format!("{asked} -> {other}"));
        let recent = log.iter().rev().take(30).rev().map(String::as_str).collect::<Vec<_>>().join("\n");
        assert_eq!(one, other, "seed={seed} step={step}\n{recent}");
        let told = format!("{:?}", std::mem::take(&mut *heard.0.lock())).replace(&epoch, "7.");
        let expected = twins.table.take_events();
        if stores == 1 {
            assert_eq!(told, format!("{expected:?}"), "seed={seed} step={step}\n{recent}");
        }
    }
}

// Goal: the store decides as the executable specification does. Method: random steps through both, on a clock that
// only the test moves.
#[tokio::test(start_paused = true)]
async fn random_steps_are_answered_as_the_table_answers_them() {
    for seed in 0..12 {
        compare(seed, 1, 250).await;
    }
}

// As above through three providers by turns, so that each finds what another wrote.
#[tokio::test(start_paused = true)]
async fn several_providers_of_a_directory_answer_as_one_table() {
    for seed in 100..112 {
        compare(seed, 3, 250).await;
    }
}
