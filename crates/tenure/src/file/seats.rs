//! The files by which processes see each other: whether one lives, and where it is told of events.
//!
//! A process's life is a named pipe that it holds open. The kernel knows whether anybody has the pipe open for
//! writing, however the process ends, and tells those who read it when the last one is gone. So a look costs three
//! system calls, and a death is pushed to those who wait for it. A child that inherits the descriptor holds the pipe
//! open too.
//!
//! A seat's files are made, and removed, inside the gate. A label is never used twice.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat};
use uuid::Uuid;

use super::fault::Fault;

const LIVE: &str = "live";
const WAKE: &str = "wake";

/// The directory of the seats' files.
#[derive(Debug)]
pub(super) struct Seats {
    directory: OwnedFd,
    path: PathBuf,
}

/// What a process holds while it has a seat.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) label: String,
    pub(super) live: OwnedFd,
    pub(super) socket: UnixDatagram,
}

/// The reading end of another process's life.
#[derive(Debug)]
pub(super) enum Life {
    /// It lives; the pipe hangs up when it dies.
    Lives(OwnedFd),
    /// It is dead.
    Over,
}

impl Seats {
    pub(super) fn open(directory: &Path) -> Result<Self, Fault> {
        let path = directory.join("seats");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&path, flags, Mode::empty()).map_err(io::Error::from);
        Ok(Seats {
            directory: opened.map_err(Fault::io("the directory of seats could not be opened"))?,
            path,
        })
    }

    /// Makes the files of a new seat and holds them. The seat is not in the database yet.
    pub(super) fn take(&self) -> Result<Seat, Fault> {
        let label = Uuid::new_v4().simple().to_string();
        let live =
            self.hold(&file(&label, LIVE)).map_err(Fault::io("the life of the process could not be made"))?;
        let socket = self.bind(&label).map_err(Fault::io("the socket of the process could not be made"))?;
        Ok(Seat { label, live, socket })
    }

    fn hold(&self, name: &str) -> io::Result<OwnedFd> {
        rustix::fs::mknodat(&self.directory, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Open for both, since to open for writing alone waits for a reader.
        Ok(openat(&self.directory, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn bind(&self, label: &str) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::bind(self.address(label))?;
        rustix::fs::chmodat(&self.directory, file(label, WAKE), Mode::RUSR | Mode::WUSR, AtFlags::empty())?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    /// The path of a seat's socket, short enough for a socket's address wherever the directory is.
    pub(super) fn address(&self, label: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{}", self.directory.as_raw_fd(), file(label, WAKE)))
    }

    /// Looks whether the process of a seat lives.
    pub(super) fn look(&self, label: &str) -> Result<Life, Fault> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let pipe = match openat(&self.directory, file(label, LIVE), flags, Mode::empty()) {
            Ok(pipe) => pipe,
            Err(rustix::io::Errno::NOENT) => return Ok(Life::Over),
            Err(error) => {
                return Err(Fault::io("the life of a process could not be looked at")(error.into()));
            }
        };
        // Nobody ever writes: with a writer there is nothing to read, without one the pipe is at its end.
        match rustix::io::read(&pipe, &mut [0_u8; 1]) {
            Ok(0) => Ok(Life::Over),
            _ => Ok(Life::Lives(pipe)),
        }
    }

    /// Removes the files of a seat that is not in the database any more.
    pub(super) fn clear(&self, label: &str) {
        for kind in [LIVE, WAKE] {
            // What is left is found and removed by the next who opens the store.
            let _ = rustix::fs::unlinkat(&self.directory, file(label, kind), AtFlags::empty());
        }
    }

    /// The labels of all files, also of seats that never came into the database.
    pub(super) fn labels(&self) -> Result<Vec<String>, Fault> {
        let entries =
            std::fs::read_dir(&self.path).map_err(Fault::io("the directory of seats could not be read"))?;
        let stem = |name: &OsStr| Path::new(name).file_stem().and_then(OsStr::to_str).map(str::to_owned);
        let mut labels: Vec<String> = entries.filter_map(|entry| stem(&entry.ok()?.file_name())).collect();
        labels.sort_unstable();
        labels.dedup();
        Ok(labels)
    }
}

fn file(label: &str, kind: &str) -> String {
    format!("{label}.{kind}")
}
