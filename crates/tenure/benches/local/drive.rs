//! Runs a job on a number of threads for a while.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::contender::Batches;
use crate::jobs::{Job, World};
use crate::usage::cpu;

/// How tasks and threads go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flavour {
    /// So many threads, each with a runtime of its own and one task.
    Own(usize),
    /// One runtime of so many threads, with as many tasks.
    Shared(usize),
}

impl Flavour {
    pub const ALL: [Flavour; 4] = [Flavour::Own(1), Flavour::Own(2), Flavour::Shared(1), Flavour::Shared(2)];

    pub fn threads(self) -> usize {
        match self {
            Flavour::Own(threads) | Flavour::Shared(threads) => threads,
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flavour::Own(threads) => write!(f, "{threads} × current-thread"),
            Flavour::Shared(threads) => write!(f, "multi-thread, {threads}"),
        }
    }
}

pub fn shared(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

pub fn own() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Brings memory, entries and caches to where they stay.
pub fn warm<C: Batches>(who: &'static C, world: &'static World, job: Job) {
    rate(who, world, job, Flavour::Shared(2), Duration::from_millis(20));
}

/// Operations a second of all workers together.
pub fn rate<C: Batches>(
    who: &'static C,
    world: &'static World,
    job: Job,
    flavour: Flavour,
    slice: Duration,
) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Arc::new(Barrier::new(flavour.threads() + 1));
    let (arrived, arrivals) = mpsc::channel();
    let work = |worker: usize| {
        let (stop, start, arrived) = (Arc::clone(&stop), Arc::clone(&start), arrived.clone());
        async move {
            // Blocks the worker thread on purpose: all begin together, and nothing else runs here.
            arrived.send(()).unwrap();
            start.wait();
            let began = Instant::now();
            let done = job.work(who, world, worker, &stop).await;
            done as f64 / began.elapsed().as_secs_f64()
        }
    };
    let clock = || {
        start.wait();
        thread::sleep(slice);
        stop.store(true, Ordering::Relaxed);
    };
    match flavour {
        Flavour::Own(threads) => thread::scope(|scope| {
            let workers: Vec<_> =
                (0..threads).map(|worker| scope.spawn(move || own().block_on(work(worker)))).collect();
            clock();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        }),
        Flavour::Shared(threads) => {
            let runtime = shared(threads);
            // One by one: two that a thread took together would be one too many for it, since it blocks in the first.
            let spawn = |worker| {
                let handle = runtime.spawn(work(worker));
                arrivals.recv().unwrap();
                handle
            };
            let workers: Vec<_> = (0..threads).map(spawn).collect();
            clock();
            runtime.block_on(async {
                let mut sum = 0.0;
                for worker in workers {
                    sum += worker.await.unwrap();
                }
                sum
            })
        }
    }
}

/// How many cores two busy threads get at this moment: less than two, and a figure for two threads says little.
pub fn cores() -> f64 {
    let (began, spent) = (Instant::now(), cpu());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while began.elapsed() < Duration::from_millis(20) {
                    std::hint::spin_loop();
                }
            });
        }
    });
    (cpu() - spent).as_secs_f64() / began.elapsed().as_secs_f64()
}
