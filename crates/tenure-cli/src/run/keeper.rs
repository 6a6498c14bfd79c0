//! The keeper: owns the lease, starts the command under it and gives it back.
//!
//! It talks to the front over the socket that is its stdin. Its main thread starts the command, because a parent-death
//! signal is bound to the thread that forked.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use rustix::process::{Pid, getppid};
use tenure::{Clock, Error, ErrorKind, Guard, Locks, Mode, Settings};
use tokio::runtime;

use super::command::Command;
use super::line::Line;
use super::link::{Link, ToFront, ToKeeper, fitting};
use super::supervise::{Ended, Supervisor};
use super::{signals, tree};
use crate::args::{self, Cli, RunArgs};
use crate::exit::Code;
use crate::holder::holder;
use crate::{row, store};

/// After so long a wait is worth a word.
const WAITS_AFTER: Duration = Duration::from_millis(200);

/// Is the keeper for the front that started it with `again`, the arguments of a `tenure run`.
pub(crate) fn keep(again: Vec<OsString>) -> anyhow::Result<Code> {
    let not_by_hand = || Error::invalid("keeper", "a keeper is started by `tenure run`, and never by hand");
    let again = [OsString::from("tenure")].into_iter().chain(again);
    let cli = Cli::try_parse_from(again).map_err(|_| not_by_hand())?;
    let url = cli.url();
    let args::Command::Run(args) = cli.command else {
        return Err(not_by_hand().into());
    };
    let front = getppid().ok_or_else(not_by_hand)?;
    signals::hear_children().context("cannot unblock SIGCHLD")?;
    tree::adopt_orphans().context("cannot become a subreaper")?;
    let link = Link::from_stdin().context("cannot reach the front")?;
    let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let code = runtime.block_on(async {
        let line = Line::new(link)?;
        let Some((ToKeeper::Start, stdio)) = line.receive().await else {
            return Err(not_by_hand().into());
        };
        let keeper = Keeper { line: &line, args: &args, front };
        let Ended { code, say } = keeper.serve(url.as_deref(), stdio).await.unwrap_or_else(Ended::by_failure);
        line.send(&ToFront::Done { code: code.0, say: fitting(&say) });
        Ok(code)
    });
    // A store that hangs in a system call is not waited for: everything that matters has been.
    runtime.shutdown_background();
    code
}

#[derive(Debug)]
struct Keeper<'a> {
    line: &'a Line,
    args: &'a RunArgs,
    front: Pid,
}

impl Keeper<'_> {
    async fn serve(&self, url: Option<&str>, stdio: Vec<OwnedFd>) -> anyhow::Result<Ended> {
        let mut settings = Settings::default();
        settings.holder =
            holder(self.front, self.args.command.first().map_or(OsStr::new(""), OsString::as_os_str))?;
        let locks = store::connect(url, settings).await?;
        let ended = self.run_under_lock(&locks, stdio).await;
        locks.close(store::CLOSE_WITHIN).await;
        ended
    }

    async fn run_under_lock(&self, locks: &Locks, stdio: Vec<OwnedFd>) -> anyhow::Result<Ended> {
        let guard = tokio::select! {
            // First the end: who was told to stop waiting does not begin.
            biased;
            code = self.told_to_stop() => return Ok(code.into()),
            guard = self.acquire(locks) => guard?,
        };
        let Some(guard) = guard else {
            self.explain(|| "busy".to_owned());
            return Ok(Code(self.args.busy_code).into());
        };
        self.explain(|| format!("acquired token={} lease={}", guard.token(), guard.lease()));
        let life = locks.provider().lifeline();
        self.line.held(safe_until(&guard), life.as_deref());
        let ended = match Command::start(self.args, self.front, &guard, stdio, life.as_deref()) {
            Ok(command) => Supervisor::new(self.line, locks, &guard, command)?.supervise().await,
            Err(error) => {
                Ended { code: Code::CANNOT_EXECUTE, say: format!("cannot start the command: {error}") }
            }
        };
        self.line.send(&ToFront::Ended);
        self.give_back(guard).await;
        Ok(ended)
    }

    async fn acquire(&self, locks: &Locks) -> tenure::Result<Option<Guard>> {
        let args = self.args;
        let mode = match args.permits {
            Some(of) => Mode::Permits { take: 1, of },
            None if args.shared => Mode::Shared,
            None => Mode::Exclusive,
        };
        let request = locks.lock_all(&args.names).mode(mode).ttl(args.ttl);
        let request = request.hold_at_least(args.hold_at_least.unwrap_or_default());
        let mut acquired = pin!(async {
            match args.wait {
                _ if args.once => request.try_acquire().await,
                Some(patience) => request.try_acquire_for(patience).await,
                None => request.acquire().await.map(Some),
            }
        });
        if args.verbose {
            tokio::select! {
                // A lock that is free is not waited for.
                biased;
                acquired = &mut acquired => return acquired,
                () = tokio::time::sleep(WAITS_AFTER) => {}
            }
            let held = row::in_the_way(locks.provider().as_ref(), &args.names).await;
            self.line.say(&format!("waiting{held}"));
        }
        acquired.await
    }

    /// Resolves when a signal asks to end the wait, or the front has ended.
    async fn told_to_stop(&self) -> Code {
        loop {
            match self.line.receive().await {
                None => return Code::INTERNAL,
                Some((ToKeeper::Signal { number, .. }, _)) if signals::ends_a_wait(number) => {
                    return Code::of_signal(number);
                }
                Some(_) => {}
            }
        }
    }

    async fn give_back(&self, guard: Guard) {
        let what = match tokio::time::timeout(store::CLOSE_WITHIN, guard.release()).await {
            Ok(Ok(())) => return self.explain(|| "released".to_owned()),
            Ok(Err(error)) if error.kind() == ErrorKind::Lost => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        self.line.say(&format!("could not release the lease, which ends with its ttl: {what}"));
    }

    fn explain(&self, what: impl FnOnce() -> String) {
        if self.args.verbose {
            self.line.say(&what());
        }
    }
}

/// Until when a lease is safe, for the front, which has the same clock.
pub(super) fn safe_until(guard: &Guard) -> u64 {
    (Clock::system().now() + guard.safe_remaining()).as_nanos()
}
