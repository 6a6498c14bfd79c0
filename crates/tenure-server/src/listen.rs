//! `POST /v1/listen`: what happens to a process's claims and leases, pushed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tenure::LeaseId;
use tenure::lease::Why;
use tenure::provider::Event;
use tenure_wire::{ListenRequest, Problem, Told};

use crate::asked::lease_id;
use crate::desk::Desk;
use crate::ears::Hearing;
use crate::extract::Json;
use crate::problem::Failure;
use crate::shape;

/// How often a silent stream says that it lives, so that its reader notices when it does not.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

struct Listener {
    desk: Arc<Desk>,
    name: LeaseId,
    hearing: Hearing,
    begun: bool,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.desk.ears.leave(self.name, self.hearing.serial);
    }
}

/// Be told what happens to your claims and leases.
///
/// Server-sent events for claims that name this `listener` when they acquire, and for the `leases` given here: `granted` (a
/// `Granted`: an offer, to be renewed within its `ttl_ms`), `contended` (others began to wait), `revoked` (somebody
/// asked for the lease back) and `lost`, each a `Told`. `resync` comes first and whenever events may have been missed: ask
/// again for what waits. Every event only saves asking. A second stream of a listener ends its first.
#[utoipa::path(post, path = "/v1/listen", tag = "leases", request_body = ListenRequest, responses(
    (status = 200, description = "A stream of events.", body = Told, content_type = "text/event-stream"),
    (status = 400, description = "Malformed or invalid, with the field.", body = Problem),
    (status = 408, description = "The body took too long.", body = Problem),
    (status = 413, description = "The body is too large.", body = Problem),
    (status = 415, description = "The body is not application/json.", body = Problem),
    (status = 429, description = "Too many listen. See Retry-After.", body = Problem),
    (status = 503, description = "The server is shutting down. See Retry-After.", body = Problem),
))]
pub(crate) async fn listen(
    State(desk): State<Arc<Desk>>,
    Json(ask): Json<ListenRequest>,
) -> Result<Response, Failure> {
    let name = lease_id(&ask.listener).map_err(|failure| failure.with_field("listener"))?;
    let leases = ask.leases.iter().map(lease_id).collect::<Result<Vec<LeaseId>, Failure>>();
    let leases = leases.map_err(|failure| failure.with_field("leases"))?;
    if desk.config.shutdown.begun.is_cancelled() {
        return Err(Failure::unavailable("the server is shutting down"));
    }
    let hearing = desk.ears.listen(name, &leases);
    let hearing = hearing.ok_or_else(|| Failure::too_many("max_listeners", "too many processes listen"))?;
    let stream = stream::unfold(Listener { desk, name, hearing, begun: false }, next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

async fn next(mut listener: Listener) -> Option<(Result<Frame, Infallible>, Listener)> {
    if !listener.begun {
        listener.begun = true;
        return Some((Ok(frame("resync", "{}")), listener));
    }
    loop {
        let event = tokio::select! {
            // A server that ends must not be held up by a stream that always has something to say.
            biased;
            () = listener.desk.config.shutdown.begun.cancelled() => return None,
            event = listener.hearing.events.recv() => event?,
        };
        if let Some(frame) = listener.frame(event) {
            return Some((Ok(frame), listener));
        }
    }
}

impl Listener {
    fn frame(&self, event: Event) -> Option<Frame> {
        let told = |lease: LeaseId, why: Option<Why>| {
            let why = why.map(|why| why.word().to_owned());
            serde_json::to_string(&Told { lease: shape::lease_text(lease), why }).ok()
        };
        Some(match event {
            Event::Granted(lease, Some(grant)) => {
                let now = self.desk.clock.now();
                let offer = shape::granted(lease, &grant, now, tenure::limits::OFFER);
                frame("granted", &serde_json::to_string(&offer).ok()?)
            }
            Event::Contended(lease) => frame("contended", &told(lease, None)?),
            Event::Revoked(lease) => frame("revoked", &told(lease, None)?),
            Event::Lost(lease, why) => frame("lost", &told(lease, Some(why))?),
            // A grant that is not known here has to be asked for.
            _ => frame("resync", "{}"),
        })
    }
}

fn frame(word: &str, data: &str) -> Frame {
    Frame::default().event(word).data(data)
}
