//! The keeper's end of the link, awaited.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net;

use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::link::{Letter, Link, ToFront, ToKeeper, fitting};

/// The keeper's end of the link.
#[derive(Debug)]
pub(super) struct Line {
    link: Link,
    /// The same socket, as the runtime knows it.
    ready: UnixDatagram,
}

impl Line {
    /// The line over `link`. Called within a runtime.
    pub(super) fn new(link: Link) -> io::Result<Line> {
        let socket = net::UnixDatagram::from(link.as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        Ok(Line { link, ready: UnixDatagram::from_std(socket)? })
    }

    /// The next message; `None` when the front has ended.
    ///
    /// # Cancel safety
    /// No message is lost.
    pub(super) async fn receive(&self) -> Option<Letter<ToKeeper>> {
        loop {
            self.ready.readable().await.ok()?;
            match self.ready.try_io(Interest::READABLE, || self.link.receive()) {
                Ok(letter) => return letter,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// Tells the front. One that has ended is not told, and one that was stopped is not waited for: it asks little, so
    /// that what waits for it always fits.
    pub(super) fn send(&self, message: &ToFront) {
        let _ = self.link.send(message, &[]);
    }

    /// Tells the front something for stderr.
    pub(super) fn say(&self, text: &str) {
        self.send(&ToFront::Say(fitting(text)));
    }

    /// Tells the front that the lease is held, and gives it a share in the life of this process.
    pub(super) fn held(&self, until: u64, life: Option<&OwnedFd>) {
        let life: Vec<_> = life.into_iter().map(|life| life.as_fd()).collect();
        let _ = self.link.send(&ToFront::Held(until), &life);
    }
}
