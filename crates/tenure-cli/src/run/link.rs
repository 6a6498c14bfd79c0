//! What the front and its keeper say to each other, over a pair of sockets that keeps messages apart.
//!
//! That the other end closed is a message of its own: whoever held it has ended, by SIGKILL too.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message: what is said for people is cut to fit.
const MAX_MESSAGE: usize = 16 * 1024;

/// From the front to the keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToKeeper {
    /// Begin. With the descriptors of the command's stdin and stdout.
    Start,
    /// A signal came.
    Signal {
        /// Its number.
        number: i32,
        /// Whether the command has it already, from the terminal.
        from_terminal: bool,
    },
    /// Until when is the lease safe?
    Ask,
}

/// From the keeper to the front.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToFront {
    /// The lease is held until the instant, in nanoseconds of the clock, if it is not renewed; the command begins. With
    /// the descriptor that is the keeper's life for the store, where there is one.
    Held(u64),
    /// The answer to `Ask`.
    Safe(u64),
    /// The command and its descendants have ended; the lease is given up now.
    Ended,
    /// Something for stderr.
    Say(String),
    /// The end.
    Done {
        /// What to exit with.
        code: u8,
        /// Something for stderr, or nothing.
        say: String,
    },
}

/// A message with its descriptors.
pub(super) type Letter<M> = (M, Vec<OwnedFd>);

/// One end.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// The two ends of a new one. Neither is inherited.
    pub(super) fn pair() -> io::Result<(Link, Link)> {
        let (a, b) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Link(a), Link(b)))
    }

    /// The end that this process was given as its stdin.
    pub(super) fn from_stdin() -> io::Result<Link> {
        Ok(Link(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// The end as a descriptor, to be given away.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Sends a message, with descriptors. Never blocks; `WouldBlock` when the other end does not read.
    pub(super) fn send<M: Serialize>(&self, message: &M, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, flags)?;
        Ok(())
    }

    /// Receives a message. Never blocks; `WouldBlock` when there is none, `Ok(None)` when the other end has closed.
    pub(super) fn receive<M: DeserializeOwned>(&self) -> io::Result<Option<Letter<M>>> {
        let mut text = vec![0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let length = match recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, flags) {
            Ok(received) => received.bytes,
            Err(Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds = fds.flatten().collect();
        Ok(Some((serde_json::from_slice(text.get(..length).unwrap_or_default())?, fds)))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl std::os::fd::AsRawFd for Link {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

/// `text`, cut to what surely fits into a message.
pub(super) fn fitting(text: &str) -> String {
    text.chars().take(MAX_MESSAGE / 16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors_and_the_end_of_the_other_side_is_seen() {
        let (a, b) = Link::pair().unwrap();
        assert_eq!(b.receive::<ToKeeper>().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        a.send(&ToKeeper::Start, &[a.as_fd(), b.as_fd()]).unwrap();
        a.send(&ToKeeper::Signal { number: 15, from_terminal: true }, &[]).unwrap();
        let (first, fds) = b.receive::<ToKeeper>().unwrap().unwrap();
        assert!(matches!(first, ToKeeper::Start) && fds.len() == 2);
        drop(fds);
        let (second, fds) = b.receive::<ToKeeper>().unwrap().unwrap();
        assert!(matches!(second, ToKeeper::Signal { number: 15, from_terminal: true }) && fds.is_empty());
        drop(a);
        assert!(b.receive::<ToKeeper>().unwrap().is_none());
    }

    #[test]
    fn the_longest_saying_fits() {
        let (a, b) = Link::pair().unwrap();
        a.send(&ToFront::Say(fitting(&"\u{1}".repeat(1_000_000))), &[]).unwrap();
        assert!(b.receive::<ToFront>().unwrap().is_some());
    }
}
