//! The processes of a command: finding all of its descendants, signalling and reaping them.
//!
//! The process that does so is their subreaper: whoever loses its parent, by a double fork too, becomes its child. So
//! the tree is empty when, and only when, it has no children left. A new session or process group hides nobody.

use std::collections::HashMap;
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{self, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

/// Makes this process the parent of all descendants whose own parent ends.
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(process::set_child_subreaper(Some(process::getpid()))?)
}

/// A process in `/proc`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    pid: Pid,
    parent: i32,
    /// In ticks since the boot: with the pid, it names a process once and for all.
    started: u64,
    zombie: bool,
}

/// A child that was reaped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    /// Which.
    pub(super) pid: Pid,
    /// How it ended.
    pub(super) status: WaitStatus,
}

/// The next child that ended, or `None`. `Err` when there are no children at all.
pub(super) fn reap() -> Result<Option<Reaped>, NoChildren> {
    loop {
        match process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Ok(Some(Reaped { pid, status })),
            Ok(None) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(_) => return Err(NoChildren),
        }
    }
}

/// Reaps all children that ended: whether there are others.
pub(super) fn reap_all() -> bool {
    loop {
        match reap() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(NoChildren) => return false,
        }
    }
}

/// This process has no children: the tree is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoChildren;

/// Sends `signal` to every living descendant of this process but those in `spared`, and to theirs.
///
/// A process that is being born meanwhile may be missed: to kill all, repeat until [`reap`] finds no children. Who may not
/// be signalled (another user's, behind `sudo`) is left alone.
pub(super) fn signal_all(signal: Signal, spared: &[Pid]) {
    for entry in descendants(process::getpid(), spared) {
        // The pid may have passed to a stranger since the look: the descriptor is one process's, and the start time tells
        // whose. Without a descriptor (an old kernel, too many open) a signal to the pid is better than none.
        let handle = process::pidfd_open(entry.pid, PidfdFlags::empty());
        if read(entry.pid).is_none_or(|now| now.started != entry.started) {
            continue;
        }
        let _ = match handle {
            Ok(handle) => process::pidfd_send_signal(&handle, signal),
            Err(Errno::SRCH) => Ok(()),
            Err(_) => process::kill_process(entry.pid, signal),
        };
    }
}

/// The children of this process, by their pids. Looks at all processes only when there are any.
pub(super) fn children() -> Vec<Pid> {
    let none_ended_is_fine = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if matches!(process::waitid(WaitId::All, none_ended_is_fine), Err(Errno::CHILD)) {
        return Vec::new();
    }
    let me = process::getpid().as_raw_nonzero().get();
    processes().into_iter().filter(|entry| entry.parent == me).map(|entry| entry.pid).collect()
}

/// The living descendants of `root`, parents before their children.
fn descendants(root: Pid, spared: &[Pid]) -> Vec<Entry> {
    let mut families: HashMap<i32, Vec<Entry>> = HashMap::new();
    for entry in processes().into_iter().filter(|entry| !spared.contains(&entry.pid)) {
        families.entry(entry.parent).or_default().push(entry);
    }
    let mut found = Vec::new();
    let mut parents = vec![root.as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        // Taken out, so that a pid that came round during the look cannot lead in a circle.
        for entry in families.remove(&parent).unwrap_or_default() {
            parents.push(entry.pid.as_raw_nonzero().get());
            found.push(entry);
        }
    }
    found.retain(|entry| !entry.zombie);
    found
}

fn processes() -> Vec<Entry> {
    let Ok(dir) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = dir.flatten().filter_map(|file| Pid::from_raw(file.file_name().to_str()?.parse().ok()?));
    pids.filter_map(read).collect()
}

fn read(pid: Pid) -> Option<Entry> {
    parse(pid, &fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// Reads `pid (comm) state ppid … starttime`, proc_pid_stat(5). The command's name may have anything in it, a `)` too.
fn parse(pid: Pid, stat: &[u8]) -> Option<Entry> {
    let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = std::str::from_utf8(stat.get(after..)?).ok()?.split_ascii_whitespace();
    let zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Entry { pid, parent, started, zombie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_full_of_parentheses_does_not_confuse_the_parser() {
        let stat = b"42 (a) R 1 (b) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 2\n";
        let entry = parse(Pid::from_raw(42).unwrap(), stat).unwrap();
        assert_eq!((entry.parent, entry.started, entry.zombie), (7, 987_654, false));
    }

    #[test]
    fn this_process_is_found_with_its_parent() {
        let me = read(process::getpid()).unwrap();
        assert_eq!(Pid::from_raw(me.parent), process::getppid());
        assert!(me.started > 0 && !me.zombie);
    }
}
