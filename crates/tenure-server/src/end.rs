//! When a service is to end.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT and SIGTERM, heard from the moment it is made on: make it before anything is said to be served, so that one
/// that comes early is not missed.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Resolves when one came.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    pub async fn told(mut self) {
        // Either will do.
        tokio::select! {
            _ = self.interrupt.recv() => tracing::info!("SIGINT: ending"),
            _ = self.terminate.recv() => tracing::info!("SIGTERM: ending"),
        }
    }
}
