//! A shard under shuttle: random interleavings of threads that take names and give them back with others that make them fat.
//!
//! `cargo test -p tenure --features shuttle --lib shuttle`

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::lane::Lane;
use super::shard::{Given, Known};
use super::tokens::TokenSource;
use crate::name::Names;
use crate::sync::Mutex;
use crate::token::{Epoch, FencingToken};

/// Interleavings that are tried.
const SCHEDULES: usize = 5_000;

/// A lane, and a table that knows the holders of the fat name `x` alone.
struct World {
    lane: Lane,
    tokens: Arc<TokenSource>,
    table: Mutex<Vec<FencingToken>>,
    x: Resource,
    y: Resource,
}

/// What a name protects.
#[derive(Default)]
struct Resource {
    inside: AtomicUsize,
    last: AtomicU64,
}

impl Resource {
    fn enter(&self, token: FencingToken) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two holders");
        assert!(self.last.swap(token.get(), Ordering::SeqCst) < token.get(), "the tokens do not rise");
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl World {
    fn new() -> Self {
        let tokens = Arc::new(TokenSource::new(Epoch::new(1).unwrap()));
        World {
            lane: Lane::new(Arc::clone(&tokens)),
            tokens,
            table: Mutex::new(Vec::new()),
            x: Resource::default(),
            y: Resource::default(),
        }
    }

    fn work(&self, names: &Names, token: FencingToken) {
        let used = || names.iter().map(|name| if name.as_str() == "x" { &self.x } else { &self.y });
        used().for_each(|resource| resource.enter(token));
        shuttle::thread::yield_now();
        used().for_each(Resource::leave);
    }

    /// Takes the names by the lane if they are free, and gives them back to whomever has them then.
    fn quick(&self, names: &str) {
        let names = Names::parse(names.split(' ')).unwrap();
        let Some(ticket) = self.lane.take(&names, None) else { return };
        self.work(&names, ticket.token);
        let given = self.lane.give_few(&names, ticket);
        for name in names.iter().skip(given) {
            match self.lane.give(name, ticket.token) {
                Given::Done => {}
                Given::NotHeld => panic!("nobody took it from its holder"),
                Given::Fat => {
                    let mut table = self.table.lock();
                    let at = table.iter().position(|held| *held == ticket.token);
                    table.remove(at.expect("who makes a name fat moves its holder to the table"));
                    self.lane.slim(name);
                }
            }
        }
    }

    /// Makes `x` fat; takes it at the table if nobody held it, else leaves it to its holder.
    fn slow(&self) {
        let x = Names::parse(["x"]).unwrap();
        let mut table = self.table.lock();
        match self.lane.fatten(x.first()) {
            Some(thin) => table.push(thin.token),
            None if table.is_empty() => {
                self.work(&x, self.tokens.reserve(NonZeroU32::MIN).first());
                self.lane.slim(x.first());
            }
            None => assert!(matches!(self.lane.find(x.first()), Known::Fat)),
        }
    }
}

/// Whatever the interleaving, and whether or not two names share a shard: one holder at a time, tokens that rise, no holder
/// who is forgotten or known twice, and free names in the end.
#[test]
fn shuttle_finds_no_interleaving_that_breaks_a_shard() {
    shuttle::check_random(
        || {
            let world = Arc::new(World::new());
            let visits: [fn(&World); 3] = [
                |world| ["x", "y", "x"].into_iter().for_each(|names| world.quick(names)),
                |world| ["x y", "x", "y"].into_iter().for_each(|names| world.quick(names)),
                |world| (0..3).for_each(|_| world.slow()),
            ];
            let threads = visits.map(|visit| {
                let world = Arc::clone(&world);
                shuttle::thread::spawn(move || visit(&world))
            });
            for thread in threads {
                thread.join().unwrap();
            }
            for name in &Names::parse(["x", "y"]).unwrap() {
                assert!(matches!(world.lane.find(name), Known::Free), "something is left of a name");
            }
        },
        SCHEDULES,
    );
}
