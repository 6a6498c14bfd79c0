//! All contenders at one store, and what runs with each of them in turn.

use tokio::runtime::{Builder, Runtime};

use crate::contenders::{Distributed, Rslock, Tenure, tenure};
use crate::raw::Raw;

/// The contenders that lock through the store, each over connections of its own.
pub struct Field {
    /// Plain, dropped and sticky. `None` where the library has no provider for Redis.
    pub tenure: Option<[&'static Tenure; 3]>,
    pub raw: &'static Raw,
    pub rslock: &'static Rslock,
    pub distributed: &'static Distributed,
}

impl Field {
    pub async fn make(url: &str) -> Field {
        Field {
            tenure: tenure(url).await,
            raw: Raw::make(url).await,
            rslock: Rslock::make(url),
            distributed: Distributed::make(url).await,
        }
    }
}

/// Where contenders run.
pub struct Stage {
    pub runtime: Runtime,
    pub field: Field,
}

/// One task runs on a runtime of one thread, where it and its connection need no other to wake them: the shortest way, and
/// the hardest reference. More of them share two threads.
pub struct Stages([Stage; 2]);

impl Stages {
    pub fn make(url: &str) -> Stages {
        let one = Builder::new_current_thread().enable_all().build().unwrap();
        Stages([one, crate::runtime(2)].map(|runtime| {
            let field = runtime.block_on(Field::make(url));
            Stage { runtime, field }
        }))
    }

    pub fn of(&self, tasks: usize) -> &Stage {
        &self.0[usize::from(tasks > 1)]
    }
}

/// What each of `N` contenders did in each round; not a number for one that was left out.
#[derive(Debug)]
pub struct Rounds<const N: usize>(pub Vec<[f64; N]>);

impl<const N: usize> Rounds<N> {
    pub fn median(&self, who: usize) -> f64 {
        crate::grid::median(self.0.iter().map(|round| round[who]))
    }

    /// The median of the ratios of single rounds: what slows a whole round down does not count. `reference` says what
    /// stands below the line in a round.
    pub fn ratio(&self, who: usize, reference: impl Fn(&[f64; N]) -> f64) -> f64 {
        crate::grid::median(self.0.iter().map(|round| round[who] / reference(round)))
    }
}

/// In which order `N` contenders run in a round: each round begins with another one, so that none always runs on the
/// warmest machine.
pub fn order<const N: usize>(round: usize) -> impl Iterator<Item = usize> {
    (0..N).map(move |turn| (round + turn) % N)
}

/// A figure, or a dash for a contender that was left out.
pub fn shown(value: f64, show: impl Fn(f64) -> String) -> String {
    if value.is_nan() { "–".to_owned() } else { show(value) }
}

/// A bar with whether it is met.
pub fn bar(what: &str, value: f64, met: impl Fn(f64) -> bool) -> String {
    if value.is_nan() {
        format!("{what}: –")
    } else {
        format!("{what}: {}", crate::grid::verdict(met(value)))
    }
}
