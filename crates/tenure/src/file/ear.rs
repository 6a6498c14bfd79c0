//! The thread that hears what other processes tell: events that they send, and that they died.
//!
//! It sleeps in one `poll` on the socket of the own seat, on the lives that are watched, and on a line by which the
//! provider wakes it. It is a thread and not a task, so that the provider is bound to no runtime. It ends when the
//! provider is dropped.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};

use super::fault::Fault;
use super::notice;
use super::seats::Life;
use crate::provider::Event;

/// Lives that are watched at most. Whoever is beyond is noticed by the touch of a waiter, within a second.
const MOST_WATCHED: usize = 256;

const FAILED: &str = "the thread that hears other processes could not be started";

type Watched = Arc<Mutex<BTreeMap<i64, Arc<OwnedFd>>>>;

/// Who acts on what is heard.
pub(super) trait Hears: Send + Sync {
    /// Another process sent this event.
    fn heard(&self, event: &Event);

    /// The process of this seat seems to be dead.
    fn died(self: Arc<Self>, seat: i64);
}

/// The provider's side of the thread.
#[derive(Debug)]
pub(super) struct Ear {
    line: UnixStream,
    watched: Watched,
}

impl Ear {
    /// An ear on `socket`, and the thread's side of it.
    pub(super) fn new(socket: Arc<UnixDatagram>) -> Result<(Self, Hearing), Fault> {
        let pair = UnixStream::pair().and_then(|(line, other)| {
            line.set_nonblocking(true)?;
            other.set_nonblocking(true)?;
            Ok((line, other))
        });
        let (line, other) = pair.map_err(Fault::io(FAILED))?;
        let watched = Watched::default();
        let hearing = Hearing { socket, line: other, watched: Arc::clone(&watched) };
        Ok((Ear { line, watched }, hearing))
    }

    /// Watches lives from now on.
    pub(super) fn watch(&self, lives: BTreeMap<i64, Life>) {
        let mut watched = self.watched.lock();
        let before = watched.len();
        for (seat, life) in lives {
            if let Life::Lives(pipe) = life
                && watched.len() < MOST_WATCHED
            {
                watched.entry(seat).or_insert_with(|| Arc::new(pipe));
            }
        }
        let more = watched.len() > before;
        drop(watched);
        if more {
            // A full line has a wake-up in it already.
            let _ = (&self.line).write(&[1]);
        }
    }
}

/// The thread's side of an [`Ear`].
#[derive(Debug)]
pub(super) struct Hearing {
    socket: Arc<UnixDatagram>,
    line: UnixStream,
    watched: Watched,
}

impl Hearing {
    /// Starts the thread, which tells `whom` until that is dropped.
    pub(super) fn start<H: Hears + 'static>(self, whom: Weak<H>) -> Result<(), Fault> {
        let thread = std::thread::Builder::new().name("tenure-file".into());
        thread.spawn(move || self.run(&whom)).map(drop).map_err(Fault::io(FAILED))
    }

    fn run<H: Hears>(self, whom: &Weak<H>) {
        let mut buffer = vec![0; notice::MOST];
        loop {
            let Ok(dead) = self.wait() else { return };
            if !self.is_wanted() {
                return;
            }
            let Some(whom) = whom.upgrade() else { return };
            while let Ok(length) = self.socket.recv(&mut buffer) {
                notice::read(buffer.get(..length).unwrap_or_default())
                    .iter()
                    .for_each(|event| whom.heard(event));
            }
            for seat in dead {
                self.watched.lock().remove(&seat);
                Arc::clone(&whom).died(seat);
            }
        }
    }

    /// Sleeps until there is something to hear: the seats whose lives are over.
    fn wait(&self) -> Result<Vec<i64>, io::Error> {
        let watched: Vec<(i64, Arc<OwnedFd>)> =
            self.watched.lock().iter().map(|(seat, pipe)| (*seat, Arc::clone(pipe))).collect();
        let heard =
            [self.socket.as_fd(), self.line.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let lives =
            watched.iter().map(|(_, pipe)| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::empty()));
        let mut all: Vec<PollFd<'_>> = heard.into_iter().chain(lives).collect();
        match poll(&mut all, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let over = |poll: &PollFd<'_>| poll.revents().contains(PollFlags::HUP);
        let lives = all.iter().skip(2).map(over);
        Ok(watched.iter().zip(lives).filter(|(_, over)| *over).map(|((seat, _), _)| *seat).collect())
    }

    /// Empties the line; false when the provider has let go of its end.
    fn is_wanted(&self) -> bool {
        loop {
            match (&self.line).read(&mut [0; 8]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}
