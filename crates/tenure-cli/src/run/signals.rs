//! The signals that `tenure run` passes on: held back in the front, read from a descriptor, let go again before the command.

use std::fs;
use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What the front passes on.
const RELAYED: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// Held back, and not passed on. SIGTTOU and SIGTTIN: the front writes to its terminal from the background too, and the
/// keeper lives there. SIGCHLD: read from the descriptor like the rest.
const HELD: [Signal; 3] = [Signal::SIGTTOU, Signal::SIGTTIN, Signal::SIGCHLD];

/// Who sent a signal: a terminal's reaches the command by itself, since it is in the same process group.
const SENT_BY_KERNEL: i32 = 0x80;

/// The signals of the front, as a descriptor.
#[derive(Debug)]
pub(super) struct Signals(SignalFd);

/// A signal that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Came {
    /// Its number.
    pub(super) number: i32,
    /// Whether the kernel sent it to the whole process group: a key of the terminal, its size or its end.
    pub(super) from_terminal: bool,
}

impl Signals {
    /// Holds the signals back from this thread, and all that it starts, and reads them from a descriptor instead.
    ///
    /// What was ignored before (`nohup`) stays so, for the command too.
    pub(super) fn take() -> io::Result<Signals> {
        let ignored = ignored();
        let mut set = held();
        for signal in RELAYED.into_iter().filter(|&signal| ignored & (1 << (signal as u64 - 1)) == 0) {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal to pass on, if one came.
    pub(super) fn next(&self) -> Option<Came> {
        loop {
            let info = self.0.read_signal().ok().flatten()?;
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            if number != Signal::SIGCHLD as i32 {
                return Some(Came { number, from_terminal: info.ssi_code == SENT_BY_KERNEL });
            }
        }
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// In the keeper: hears of its children again, and of nothing else.
pub(super) fn hear_children() -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    Ok(set.thread_unblock()?)
}

/// Before the command: nothing is held back any more.
pub(super) fn let_go() -> io::Result<()> {
    let mut set = held();
    set.extend(RELAYED);
    Ok(set.thread_unblock()?)
}

/// Whether the signal ends a program that does not care for it, and so a `tenure run` that waits for its lock.
pub(super) fn ends_a_wait(number: i32) -> bool {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT]
        .iter()
        .any(|&signal| signal as i32 == number)
}

fn held() -> SigSet {
    HELD.into_iter().collect()
}

/// The signals that whoever started us had set to be ignored, as the bits of `SigIgn`. There is no safe way to ask
/// sigaction(2).
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bits = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}
