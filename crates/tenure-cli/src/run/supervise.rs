//! While the command runs: one loop over the lease, the children, the front and the time, until nothing of it is left.

use std::io;
use std::time::Duration;

use rustix::process::{Signal, WaitStatus};
use tenure::clock::Instant;
use tenure::lease::{Kind, Why};
use tenure::{Clock, Guard, Locks};
use tokio::signal::unix::{self, SignalKind};

use super::command::Command;
use super::keeper::safe_until;
use super::line::Line;
use super::link::{ToFront, ToKeeper};
use super::plan::{Plan, Step};
use super::tree;
use crate::exit::Code;
use crate::row;

/// How long descendants may go on after the command has ended: the last of a log written by `tee`, and the like.
const SETTLE: Duration = Duration::from_millis(500);

/// How long the store may take to say whether a lease that was forced is still there.
const ASK_WITHIN: Duration = Duration::from_millis(200);

/// Between two sweeps at the most, while something cannot be killed (another user's, or stuck in the kernel).
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// What the front exits with, and what it says.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Code,
    pub(super) say: String,
}

impl Ended {
    /// What an error says.
    pub(super) fn by_failure(failure: anyhow::Error) -> Ended {
        Ended { code: Code::of_failure(&failure), say: format!("{failure:#}") }
    }
}

impl From<Code> for Ended {
    fn from(code: Code) -> Self {
        Ended { code, say: String::new() }
    }
}

/// How far the end of the command has come. It only goes on, never back.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The command runs.
    Running,
    /// It has ended; what is left of it may end by itself until then.
    Settling(Instant),
    /// All of it was asked to end, and is killed then.
    Asked(Instant),
    /// It is being killed; the pause before the next sweep.
    Killing(Duration),
}

/// The keeper while the command runs.
#[derive(Debug)]
pub(super) struct Supervisor<'a> {
    line: &'a Line,
    locks: &'a Locks,
    guard: &'a Guard,
    /// Made for the longest remaining time that was seen: a lease that was waited for begins with a short one.
    plan: Plan,
    longest: Duration,
    command: Command,
    children: unix::Signal,
    clock: Clock,
    phase: Phase,
    /// The command's own end.
    code: Option<Code>,
    /// The store or an administrator took the lease.
    lost: Option<Why>,
    /// Until when the store still keeps the lease for us; it does not tell once the lease is lost.
    ours_until: Instant,
    /// The command was ended because of the lease.
    because_of_lease: bool,
    front_ended: bool,
}

impl<'a> Supervisor<'a> {
    /// The supervisor of a command that was just started.
    pub(super) fn new(
        line: &'a Line,
        locks: &'a Locks,
        guard: &'a Guard,
        command: Command,
    ) -> io::Result<Self> {
        let clock = Clock::system();
        Ok(Supervisor {
            line,
            locks,
            guard,
            plan: Plan::new(Duration::ZERO),
            longest: Duration::ZERO,
            command,
            children: unix::signal(SignalKind::child())?,
            clock,
            phase: Phase::Running,
            code: None,
            lost: None,
            ours_until: clock.now() + guard.safe_remaining(),
            because_of_lease: false,
            front_ended: false,
        })
    }

    /// Resolves when neither the command nor a descendant of it is left.
    pub(super) async fn supervise(mut self) -> Ended {
        while self.reap() {
            self.look_at_lease();
            self.move_on();
            self.wait().await;
        }
        if !self.because_of_lease {
            return self.code.unwrap_or(Code::INTERNAL).into();
        }
        let why = self.lost.map_or("it could not be renewed", Why::word);
        Ended { code: Code::LOST, say: format!("lease lost: {why}; the command was ended") }
    }

    /// Reaps whoever ended: whether anybody is left.
    fn reap(&mut self) -> bool {
        loop {
            match tree::reap() {
                Ok(Some(reaped)) if self.command.is(reaped.pid) => {
                    self.code = Some(code_of(reaped.status));
                    if let Phase::Running = self.phase {
                        self.phase = Phase::Settling(self.clock.now() + SETTLE);
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(tree::NoChildren) => return false,
            }
        }
    }

    /// Ends the command while the lease still protects it.
    fn look_at_lease(&mut self) {
        let now = self.clock.now();
        if self.lost.is_none() {
            let remaining = self.guard.safe_remaining();
            self.ours_until = now + remaining;
            if remaining > self.longest {
                self.longest = remaining;
                self.plan = Plan::new(remaining);
            }
        }
        let step = self.plan.step(now.until(self.ours_until));
        let step = if self.lost.is_some() { step.max(Step::Term) } else { step };
        match (step, self.phase) {
            (Step::Let, _) | (Step::Term, Phase::Asked(_)) | (_, Phase::Killing(_)) => return,
            (Step::Term, _) => self.ask_all(),
            (Step::Kill, _) => self.phase = Phase::Killing(Duration::ZERO),
        }
        self.because_of_lease = true;
    }

    /// Does what the phase's time has come for.
    fn move_on(&mut self) {
        let now = self.clock.now();
        match self.phase {
            Phase::Settling(until) if now >= until => self.ask_all(),
            Phase::Asked(until) if now >= until => self.phase = Phase::Killing(Duration::ZERO),
            _ => {}
        }
        if let Phase::Killing(pause) = &mut self.phase {
            tree::signal_all(Signal::KILL, &[]);
            *pause = (*pause * 2).clamp(Duration::from_millis(1), MAX_PAUSE);
        }
    }

    fn ask_all(&mut self) {
        tree::signal_all(Signal::TERM, &[]);
        // Who was stopped by Ctrl-Z would not hear it.
        tree::signal_all(Signal::CONT, &[]);
        self.phase = Phase::Asked(self.clock.now() + self.plan.grace());
    }

    /// Waits until something may have changed.
    async fn wait(&mut self) {
        let now = self.clock.now();
        let next_look = self.plan.next_look(now.until(self.ours_until));
        let pause = match self.phase {
            Phase::Running => next_look,
            Phase::Settling(until) | Phase::Asked(until) => {
                next_look.min(now.until(until) + Duration::from_millis(1))
            }
            Phase::Killing(pause) => pause,
        };
        tokio::select! {
            _ = self.children.recv() => {}
            why = self.guard.lost(), if self.lost.is_none() => self.lose(why).await,
            letter = self.line.receive(), if !self.front_ended => match letter {
                Some((message, _)) => self.hear(message),
                None => {
                    self.front_ended = true;
                    self.phase = Phase::Killing(Duration::ZERO);
                }
            },
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// The lease is lost. Only one that was asked back is still ours, for what remains of it.
    async fn lose(&mut self, why: Why) {
        self.lost = Some(why);
        if why != Why::Forced || !self.is_still_listed().await {
            self.ours_until = self.clock.now();
        }
    }

    /// Whether the store still has the lease. A store that does not say so at once is taken for one that has not.
    async fn is_still_listed(&self) -> bool {
        let name = self.guard.names().first().as_str();
        let listed = row::all(self.locks.provider().as_ref(), Kind::Leases, name);
        let listed = tokio::time::timeout(ASK_WITHIN, listed).await;
        listed.is_ok_and(|found| {
            found.is_ok_and(|all| all.iter().any(|entry| entry.lease == self.guard.lease()))
        })
    }

    fn hear(&self, message: ToKeeper) {
        match message {
            ToKeeper::Signal { number, from_terminal: false } if self.code.is_none() => {
                self.command.signal(number)
            }
            ToKeeper::Ask => self.line.send(&ToFront::Safe(safe_until(self.guard))),
            ToKeeper::Signal { .. } | ToKeeper::Start => {}
        }
    }
}

fn code_of(status: WaitStatus) -> Code {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Code(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => Code::of_signal(signal),
        (None, None) => Code::INTERNAL,
    }
}
