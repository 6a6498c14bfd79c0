//! What the server tells without being asked, over one stream of events for all claims and leases of a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use tenure_wire::{Granted, ListenRequest, Told};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::line::Line;
use super::words;
use crate::claim::{Claim, LeaseId, Origin};
use crate::clock::Instant;
use crate::error::Result;
use crate::limits;
use crate::provider::{Event, Listener};

/// A stream that says nothing for so long is dead: the server says every five seconds that it lives.
const SILENCE: Duration = Duration::from_secs(16);

/// The pause before a stream that ended is opened again, doubled up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How long a claim that waits is held up at most for a stream that is not open yet.
const OPENING: Duration = Duration::from_millis(250);

/// Leases that are named when a stream begins: what fits into one body. Others are learnt of by asking.
const MOST_NAMED: usize = 5_000;

/// Bytes of one event at the most: a grant of 256 names fits.
const MOST_BYTES: usize = 256 * 1024;

/// The client's claims and leases, and the task that listens for them.
pub(super) struct Ear {
    /// The secret by which the server knows which claims are meant.
    pub(super) listener: LeaseId,
    line: Arc<Line>,
    known: Mutex<HashMap<LeaseId, Known>>,
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
    task: Mutex<Option<AbortHandle>>,
    /// Whether a stream is open: what happens from now on is told.
    open: watch::Sender<bool>,
}

/// A claim or lease of this client.
#[derive(Debug, Clone, Copy)]
struct Known {
    origin: Origin,
    ttl: Duration,
    /// When the last request was sent that found it waiting, or that has no answer yet: no grant that is pushed is older.
    asked: Instant,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ear").field("known", &self.known.lock().len()).finish_non_exhaustive()
    }
}

impl Ear {
    pub(super) fn new(line: Arc<Line>) -> Arc<Self> {
        Arc::new(Ear {
            listener: LeaseId::random(),
            line,
            known: Mutex::default(),
            listeners: RwLock::default(),
            task: Mutex::default(),
            open: watch::Sender::new(false),
        })
    }

    pub(super) fn listen(&self, listener: Arc<dyn Listener>) {
        self.listeners.write().push(listener);
    }

    /// Starts to listen on the caller's runtime, unless it does already.
    pub(super) fn start(self: &Arc<Self>) {
        let mut task = self.task.lock();
        if task.as_ref().is_none_or(AbortHandle::is_finished) {
            *task = Some(tokio::spawn(run(Arc::clone(self))).abort_handle());
        }
    }

    /// Waits for a moment until a stream is open, so that nothing that happens to the claim that is sent next is missed. Without
    /// one it is learnt of by asking.
    pub(super) async fn listening(&self) {
        let mut open = self.open.subscribe();
        let _ = tokio::time::timeout(OPENING, open.wait_for(|open| *open)).await;
    }

    /// Ends the listening. Whoever holds the ear last does it, since the task holds it too.
    pub(super) fn stop(&self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }

    /// A claim is about to be sent at `sent`.
    pub(super) fn expect(&self, claim: &Claim, sent: Instant) {
        let known = Known { origin: claim.origin, ttl: claim.ttl, asked: sent };
        self.known.lock().entry(claim.lease).or_insert(known);
    }

    /// A request that was sent at `sent` found the claim waiting.
    pub(super) fn still_waits(&self, lease: LeaseId, sent: Instant) {
        if let Some(known) = self.known.lock().get_mut(&lease) {
            known.asked = known.asked.max(sent);
        }
    }

    pub(super) fn forget(&self, lease: LeaseId) {
        self.known.lock().remove(&lease);
    }

    /// Forgets everything: what there was that ends with the process.
    pub(super) fn clear(&self) -> Vec<LeaseId> {
        let known = std::mem::take(&mut *self.known.lock());
        known.into_iter().filter(|(_, known)| known.origin == Origin::Local).map(|(lease, _)| lease).collect()
    }

    fn tell(&self, event: &Event) {
        for listener in self.listeners.read().iter() {
            listener.on(event.clone());
        }
    }

    /// Turns a frame of the stream into an event.
    fn hear(&self, word: &str, data: &str) -> Result<()> {
        let told = || -> Result<(LeaseId, Told)> {
            let told: Told = read(data)?;
            Ok((told.lease.0.parse().map_err(words::strange)?, told))
        };
        match word {
            "granted" => {
                let granted: Granted = read(data)?;
                let lease: LeaseId = granted.lease.0.parse().map_err(words::strange)?;
                let Some(known) = self.known.lock().get(&lease).copied() else {
                    return Ok(());
                };
                let mut grant = words::grant(&granted, known.asked)?;
                // It is an offer: no request of ours precedes it but the last that found the claim waiting.
                let offer = Duration::from_millis(granted.ttl_ms).min(known.ttl).min(limits::OFFER);
                grant.deadline = known.asked + offer - limits::drift(known.ttl);
                self.tell(&Event::Granted(lease, Some(Box::new(grant))));
            }
            "contended" => self.tell(&Event::Contended(told()?.0)),
            "revoked" => self.tell(&Event::Revoked(told()?.0)),
            "lost" => {
                let (lease, told) = told()?;
                self.forget(lease);
                self.tell(&Event::Lost(lease, words::why(told.why.as_deref())));
            }
            "resync" => {
                self.open.send_replace(true);
                self.tell(&Event::Resync);
            }
            // A newer server may have more to say.
            _ => {}
        }
        Ok(())
    }
}

fn read<T: DeserializeOwned>(data: &str) -> Result<T> {
    serde_json::from_str(data).map_err(words::strange)
}

async fn run(ear: Arc<Ear>) {
    let mut pause = PAUSE.0;
    loop {
        if stream(&ear, &mut pause).await.is_err() {
            tracing::debug!("the stream of events failed");
        }
        ear.open.send_replace(false);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// One stream, until it ends. Its beginning is a `resync`, since events may have been missed.
async fn stream(ear: &Ear, pause: &mut Duration) -> Result<()> {
    let leases = ear.known.lock().keys().take(MOST_NAMED).copied().map(words::lease_text).collect();
    let body = ListenRequest { listener: words::lease_text(ear.listener), leases };
    let mut response = ear.line.open("v1/listen", &body).await?;
    *pause = PAUSE.0;
    let mut frames = Frames::default();
    loop {
        let chunk = tokio::time::timeout(SILENCE, response.chunk()).await.map_err(words::strange)?;
        let Some(chunk) = chunk.map_err(|error| words::strange(error.without_url()))? else {
            return Ok(());
        };
        frames.push(&chunk)?;
        while let Some((word, data)) = frames.next()? {
            ear.hear(&word, &data)?;
        }
    }
}

/// The frames of a stream of server-sent events, as far as our server uses them: a word and a line of data.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn push(&mut self, chunk: &[u8]) -> Result<()> {
        if self.0.len() + chunk.len() > MOST_BYTES * 2 {
            return Err(words::strange("an event without an end"));
        }
        self.0.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole frame; comments are passed over.
    fn next(&mut self) -> Result<Option<(String, String)>> {
        loop {
            let Some(end) = self.0.windows(2).position(|pair| pair == b"\n\n") else {
                return Ok(None);
            };
            let frame: Vec<u8> = self.0.drain(..end + 2).collect();
            let text = String::from_utf8(frame).map_err(words::strange)?;
            let field =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
            if let (Some(word), Some(data)) = (field("event:"), field("data:")) {
                return Ok(Some((word.to_owned(), data.to_owned())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let text = b": hello\n\nevent: resync\ndata: {}\n\nevent:lost\ndata:{\"a\":1}\n\n";
        for size in 1..text.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for chunk in text.chunks(size) {
                frames.push(chunk).unwrap();
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame);
                }
            }
            assert_eq!(
                found,
                [("resync".into(), "{}".into()), ("lost".into(), "{\"a\":1}".into())],
                "{size}"
            );
        }
    }

    #[test]
    fn an_event_without_an_end_is_an_error() {
        let mut frames = Frames::default();
        frames.push(&vec![b'x'; MOST_BYTES * 2]).unwrap();
        assert!(frames.push(b"x").is_err());
    }
}
