//! The gate in front of the database: kernel locks that let one writer in at a time, without starving any.
//!
//! SQLite alone lets waiting writers try again by chance (with 16 processes one waited 1.9 s); a kernel lock wakes
//! them as the gate opens. Ordinary steps also pass a turnstile first, so that a renewal finds at most one of them at
//! the gate before it, however many processes wait for their turn.
//!
//! The locks are `flock` locks, which belong to the open file and not to the process. The files are never removed
//! while the directory is in use.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::fault::Fault;

/// The way in for one provider.
#[derive(Debug)]
pub(super) struct Gate {
    turnstile: File,
    gate: File,
}

/// Who is at the gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hurry {
    /// Waits for its turn.
    Ordinary,
    /// Has leases to renew, which would be lost by waiting.
    Renewal,
}

/// Being inside. Dropping it is leaving.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    gate: &'a Gate,
    turnstile: bool,
}

impl Gate {
    pub(super) fn open(directory: &Path) -> Result<Self, Fault> {
        Ok(Gate { turnstile: open(&directory.join("turnstile"))?, gate: open(&directory.join("gate"))? })
    }

    /// Blocks until nobody else is inside.
    pub(super) fn enter(&self, hurry: Hurry) -> Result<Passage<'_>, Fault> {
        let turnstile = hurry == Hurry::Ordinary;
        if turnstile {
            lock(&self.turnstile)?;
        }
        // From here on dropping the passage unlocks both; to unlock what is not locked does nothing.
        let passage = Passage { gate: self, turnstile };
        lock(&self.gate)?;
        Ok(passage)
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // Unlocking an open file does not fail; if it did, closing the file at the end would unlock it.
        let _ = self.gate.gate.unlock();
        if self.turnstile {
            let _ = self.gate.turnstile.unlock();
        }
    }
}

fn open(path: &Path) -> Result<File, Fault> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(Fault::io("the gate of the store could not be opened"))
}

fn lock(file: &File) -> Result<(), Fault> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(Fault::io("the gate of the store could not be locked")),
        }
    }
}
