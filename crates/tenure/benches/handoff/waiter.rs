//! The other process: the parent's side of it, and its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use tenure::{Clock, Guard, Locks, Settings};
use tenure_testkit::{Relay, Step};

use crate::{NAME, now};

/// The other process, as the parent commands it: a line in, a line out.
pub struct Waiter {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Waiter {
    pub fn start(url: &str) -> Waiter {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--child", url]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Waiter { child, orders, answers }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to acquire the lock; it goes on by itself.
    pub fn want(&mut self) {
        writeln!(self.orders, "want").unwrap();
    }

    /// Waits until it has the lock; when that was.
    pub fn granted(&mut self) -> u64 {
        self.answer().parse().unwrap()
    }

    /// Tells it to release, and waits for that.
    pub fn release(&mut self) {
        writeln!(self.orders, "release").unwrap();
        self.answer();
    }

    /// Its calls so far: claims, keeps, ends.
    pub fn calls(&mut self) -> [u64; 3] {
        writeln!(self.orders, "calls").unwrap();
        let line = self.answer();
        let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
        std::array::from_fn(|_| numbers.next().unwrap())
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the other process ended");
        line.trim().to_owned()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Its input may be closed already, by its own end.
        let _ = writeln!(self.orders, "end");
        let _ = self.child.wait();
    }
}

/// What the other process does: obeys until its input ends.
pub fn run(url: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Locks::connect(url).await.unwrap();
        let (provider, wire) = Relay::over(Arc::clone(store.provider()), Clock::system());
        let locks = Locks::over(provider, Settings::default());
        let mut held: Option<Guard> = None;
        // Reading blocks this thread, and nothing else is to be done here between two orders.
        for order in std::io::stdin().lock().lines() {
            match order.unwrap().as_str() {
                "want" => {
                    held = Some(locks.lock(NAME).acquire().await.unwrap());
                    println!("{}", now());
                }
                "release" => {
                    held.take().unwrap().release().await.unwrap();
                    println!("released");
                }
                "calls" => {
                    let [claims, keeps, ends] =
                        [Step::Claim, Step::Keep, Step::End].map(|step| wire.trips(step));
                    println!("{claims} {keeps} {ends}");
                }
                _ => break,
            }
        }
    });
}
