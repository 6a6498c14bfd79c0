//! What is done with the locks.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::contender::Batches;
use crate::drive::Flavour;
use crate::random::Random;

/// Names, and the accounts that the bank's locks guard.
#[derive(Debug)]
pub struct World {
    names: Vec<String>,
    own: Vec<String>,
    hot: String,
    accounts: Vec<String>,
    balances: Vec<AtomicI64>,
}

impl World {
    pub fn new() -> &'static World {
        let mut accounts: Vec<_> = (0..1_000).map(|number| format!("account:{number}")).collect();
        accounts.sort_unstable();
        Box::leak(Box::new(World {
            names: (0..100_000).map(|number| format!("order:process:{number:05}")).collect(),
            own: (0..64).map(|worker| format!("own:{worker}")).collect(),
            hot: "order:process:hot".to_owned(),
            balances: accounts.iter().map(|_| AtomicI64::new(1_000)).collect(),
            accounts,
        }))
    }
}

/// A job, done again and again by every worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// One of 100,000 names, at random.
    Random,
    /// The worker's own name.
    Own,
    /// The same name for all workers, held for no time.
    Hot,
    /// Money from one of 1,000 accounts to another, under both locks.
    Bank,
    /// 100 names, in one go.
    Batch,
}

impl Job {
    pub const ALL: [Job; 5] = [Job::Random, Job::Own, Job::Hot, Job::Bank, Job::Batch];

    pub fn title(self) -> &'static str {
        match self {
            Job::Random => "U random name of 100,000",
            Job::Own => "A own name, again and again",
            Job::Hot => "L2 one hot name, hold 0",
            Job::Bank => "bank transfer, two locks",
            Job::Batch => "batch of 100 names",
        }
    }

    /// The ratio to dashmap + tokio that the project asks of itself.
    pub fn bar(self, flavour: Flavour) -> Option<f64> {
        if flavour.threads() < 2 {
            return None;
        }
        match self {
            Job::Random => Some(1.5),
            Job::Own | Job::Bank => Some(1.0),
            // Two tasks of a tokio mutex on one runtime take turns on one of its threads: nothing contends there.
            Job::Hot => matches!(flavour, Flavour::Own(_)).then_some(5.0),
            Job::Batch => None,
        }
    }

    /// Does the job until `stop`; how often it was done.
    pub async fn work<C: Batches>(
        self,
        who: &'static C,
        world: &'static World,
        worker: usize,
        stop: &AtomicBool,
    ) -> u64 {
        let mut random = Random::of(worker);
        let mut done = 0;
        while !stop.load(Ordering::Relaxed) {
            match self {
                Job::Random => drop(who.lock(&world.names[random.below(world.names.len())]).await),
                Job::Own => drop(who.lock(&world.own[worker]).await),
                Job::Hot => drop(who.lock(&world.hot).await),
                Job::Bank => transfer(who, world, &mut random).await,
                Job::Batch => {
                    let first = random.below(world.names.len() - 100);
                    drop(who.lock_all(&world.names[first..first + 100]).await);
                }
            }
            done += 1;
        }
        done
    }
}

async fn transfer<C: Batches>(who: &'static C, world: &'static World, random: &mut Random) {
    let from = random.below(world.accounts.len() - 1);
    let to = from + 1 + random.below(world.accounts.len() - from - 1);
    let both = [world.accounts[from].clone(), world.accounts[to].clone()];
    let guards = who.lock_all(&both).await;
    // Two loads and two stores: only the locks make them a transfer.
    let (debit, credit) = (&world.balances[from], &world.balances[to]);
    debit.store(debit.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    credit.store(credit.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    drop(guards);
}
