//! A connection that is cut when its client is too slow to ask or to listen.
//!
//! hyper's own header timer also runs while a connection is idle, so it bounds that; here the head of a request has
//! its own, shorter time from its first byte on, and so has a write that the client does not take.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// How many requests of a connection have begun and ended; shared with the service.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Requests {
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A TCP stream with a time limit on heads and writes.
#[derive(Debug)]
pub(crate) struct Timed {
    stream: TcpStream,
    requests: Arc<Requests>,
    /// How many requests had begun when the head that is awaited did.
    seen: usize,
    head: Timer,
    write: Timer,
}

/// A time limit that is started and stopped.
#[derive(Debug)]
struct Timer {
    limit: Duration,
    sleep: Pin<Box<Sleep>>,
    running: bool,
}

impl Timer {
    fn new(limit: Duration, running: bool) -> Self {
        Timer { limit, sleep: Box::pin(tokio::time::sleep(limit)), running }
    }

    fn start(&mut self) {
        if !self.running {
            self.sleep.as_mut().reset(Instant::now() + self.limit);
            self.running = true;
        }
    }

    /// Pending becomes an error when the limit is over.
    fn check<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.running && self.sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl Timed {
    /// A new connection, whose first request is awaited.
    pub(crate) fn new(stream: TcpStream, requests: Arc<Requests>, head: Duration, write: Duration) -> Self {
        Timed { stream, requests, seen: 0, head: Timer::new(head, true), write: Timer::new(write, false) }
    }

    fn awaited<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.write.running = false;
            return write;
        }
        self.write.start();
        self.write.check(cx)
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let begun = this.requests.begun.load(Ordering::Relaxed);
        if begun > this.seen {
            this.seen = begun;
            this.head.running = false;
        }
        let idle = begun == this.requests.ended.load(Ordering::Relaxed);
        match read {
            Poll::Ready(read) => {
                if idle && buffer.filled().len() > before {
                    this.head.start();
                }
                Poll::Ready(read)
            }
            Poll::Pending => this.head.check(cx),
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.awaited(cx, write)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.awaited(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
