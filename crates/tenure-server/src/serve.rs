//! The loop that accepts connections, and its end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tenure::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::config::Config;
use crate::io::{Requests, Timed};

/// The pause after an accept that failed for want of descriptors, so that the loop does not spin.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves `app` on `listener` until `shutdown` resolves, and then ends gracefully: no new connection, event streams and
/// long polls end, requests in flight are finished, all within [`Config::drain`]. Returns whether all of them were.
///
/// `app` is the [`router`](crate::router), or an application that it is mounted in; both are given the same `config`.
/// Its time and size limits hold for every route.
///
/// # Errors
/// `InvalidInput` when the listener is bound beyond loopback: there is no authentication yet, so whoever reaches the
/// server may take and force every lock.
///
/// # Cancel safety
/// Dropping it closes the listener and cuts all connections.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<bool> {
    let address = listener
        .local_addr()
        .map_err(|error| Error::unavailable("listen", "the listener has no address").with_source(error))?;
    if !address.ip().to_canonical().is_loopback() {
        let what = format!("without authentication only loopback is served address={address}");
        return Err(Error::invalid("listen", what));
    }
    let connections = accept(listener, &app, &config, shutdown).await;
    config.shutdown.begin();
    Ok(drain(connections, &config).await)
}

async fn accept(
    listener: TcpListener,
    app: &Router,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) -> JoinSet<()> {
    let slots = Arc::new(Semaphore::new(config.max_connections));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the slots are never closed");
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            // A server that is told to end does so also under a rush of connections.
            biased;
            () = &mut shutdown => return connections,
            next = next => next,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, app.clone(), config.clone(), slot));
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept connections");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(stream: TcpStream, app: Router, config: Config, slot: OwnedSemaphorePermit) {
    let _slot = slot;
    // An answer is one small write: it must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "a connection without nodelay");
    }
    let requests = Arc::new(Requests::default());
    let io = Timed::new(stream, Arc::clone(&requests), config.head_timeout, config.write_timeout);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        requests.begin();
        let (app, requests) = (app.clone(), Arc::clone(&requests));
        async move {
            let response = app.oneshot(request.map(Body::new)).await;
            requests.end();
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.idle_timeout)
        .max_header_size(config.max_head.max(8 * 1024))
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = config.shutdown.begun.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection ended");
    }
}

/// Waits for the connections and the tasks beside them, until the hard deadline.
async fn drain(mut connections: JoinSet<()>, config: &Config) -> bool {
    let rest = async {
        while connections.join_next().await.is_some() {}
        config.shutdown.tasks.wait().await;
    };
    let finished = tokio::time::timeout(config.drain, rest).await.is_ok();
    if !finished {
        let left = connections.len();
        tracing::warn!(left, "connections were cut at the end of the drain");
        connections.shutdown().await;
    }
    finished
}
