//! A connection to the server: how it is made, watched and given up, and what its errors mean.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Connection};

use super::tls::Maker;
use super::url::Target;
use crate::error::{Error, Result};
use crate::provider::Fut;

/// What takes the notifications of a connection: channel and payload. Called in the task of the connection; must be quick.
pub(super) type Ear = Box<dyn FnMut(&str, &str) + Send>;

/// A connection. It is closed when the value is dropped, and the server ends its session.
pub(super) struct Link {
    pub(super) client: Client,
    maker: Maker,
    task: AbortHandle,
    closed: watch::Receiver<()>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("is_closed", &self.client.is_closed()).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects and logs in. `ear` takes what is notified on it.
    ///
    /// # Errors
    /// `InvalidInput` when the login or the database is of no use and stays so; `Unavailable` when it may work later.
    pub(super) async fn open(target: &Target, ear: Ear) -> Result<Self> {
        let maker = Maker::new(&target.tls)?;
        let within = target.connect_timeout;
        let connected = tokio::time::timeout(within, target.config.connect(maker.clone())).await;
        let late = || Error::unavailable("connect", format!("the server did not answer within={within:?}"));
        let (client, connection) =
            connected.map_err(|_| late())?.map_err(|error| failed("connect", &error))?;
        let (alive, closed) = watch::channel(());
        let task = tokio::spawn(drive(connection, ear, alive)).abort_handle();
        Ok(Link { client, maker, task, closed })
    }

    /// Resolves when the connection has ended, by whomever.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.closed.clone();
        async move { while closed.changed().await.is_ok() {} }
    }

    /// Ends the connection at once.
    pub(super) fn close(&self) {
        self.task.abort();
    }

    /// Has the server end the statement that is under way. It may have been done all the same.
    pub(super) fn cancel(&self) -> Fut<'static, ()> {
        let (token, maker): (CancelToken, Maker) = (self.client.cancel_token(), self.maker.clone());
        Box::pin(async move {
            if let Err(error) = token.cancel_query(maker).await {
                tracing::debug!(%error, "a statement could not be cancelled");
            }
        })
    }

    /// The answer of a statement, or that there is none `within` the time: then the connection is closed, for what it did
    /// is unknown.
    pub(super) async fn within<T>(
        &self,
        within: Duration,
        answer: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(within, answer).await {
            Ok(answer) => answer.map_err(|error| failed("postgres", &error)),
            Err(_) => {
                self.task.abort();
                Err(Error::unavailable("postgres", format!("the server did not answer within={within:?}")))
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Moves what is sent and received until the connection ends.
async fn drive<S, T>(mut connection: Connection<S, T>, mut ear: Ear, _alive: watch::Sender<()>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(told))) => ear(told.channel(), told.payload()),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection to postgres is lost");
                return;
            }
            None => return,
        }
    }
}

/// What an error of the server or of the way to it means. Its text has no secret: the server repeats no password.
pub(super) fn failed(operation: &'static str, error: &tokio_postgres::Error) -> Error {
    let Some(said) = error.as_db_error() else {
        let why = std::error::Error::source(error)
            .map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
        return Error::unavailable(operation, format!("the server cannot be reached: {why}"));
    };
    let (code, what) = (said.code(), said.message());
    if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code) {
        return Error::invalid("url", format!("the server does not take this login: {what}"));
    }
    if *code == SqlState::INVALID_CATALOG_NAME {
        return Error::invalid("url", format!("the server has no such database: {what}"));
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        let what = format!("the user may not do what locks need; docs/postgres.md lists it: {what}");
        return Error::invalid("url", what);
    }
    if *code == SqlState::OUT_OF_MEMORY {
        let what = "the server has no room for more locks; raise max_locks_per_transaction";
        return Error::unavailable(operation, what);
    }
    Error::unavailable(operation, format!("the server refused: {what} code={}", code.code()))
}
