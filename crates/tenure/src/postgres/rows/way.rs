//! The way to the database: a connection for steps, which may lead through a pool, and one that hears what is pushed.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::shared::Shared;
use super::words::Listener;
use crate::error::{Error, Result};
use crate::postgres::link::{Link, failed};
use crate::postgres::schema;
use crate::postgres::url::{Mode, Target};

/// A setting that only a connection of our own has: a pool refuses it, or does not pass it on.
const PROBE: &str = "tenure.direct";

/// Open connections. They are closed when the value is dropped.
#[derive(Debug)]
pub(super) struct Way {
    /// For steps.
    pub(super) link: Arc<Link>,
    /// For what is pushed, where it is another.
    _ear: Option<Link>,
    /// Whom the store can tell something: below zero nobody.
    pub(super) listener: Listener,
    /// Resolves when a connection is lost.
    gone: Vec<oneshot::Receiver<()>>,
}

impl Way {
    /// Connects as `shared` wants it. What is pushed from then on is heard.
    ///
    /// # Errors
    /// As [`Link::open`] and [`schema::prepare`].
    pub(super) async fn open(shared: &Arc<Shared>) -> Result<Self> {
        let target = &shared.target;
        let (link, gone, is_direct) = open(shared, target).await?;
        schema::prepare(&link, Some(Mode::Rows)).await?;
        let mut gone = vec![gone];
        let mut ear = None;
        let mut listener = shared.listener;
        if is_direct {
            attend(&link, listener).await?;
        } else if let Some(target) = &target.listen {
            let (direct, lost, is_direct) = open(shared, target).await?;
            if !is_direct {
                return Err(Error::invalid(
                    "url",
                    "listen leads through a pool too; it has to be the server itself",
                ));
            }
            attend(&direct, listener).await?;
            gone.push(lost);
            ear = Some(direct);
        } else {
            listener = -listener;
        }
        Ok(Way { link: Arc::new(link), _ear: ear, listener, gone })
    }

    /// How many connections it has.
    pub(super) fn connections(&self) -> u32 {
        1 + u32::from(self._ear.is_some())
    }

    /// Waits until a connection is lost.
    pub(super) async fn lost(&mut self) {
        let gone = self.gone.iter_mut().map(|gone| Box::pin(async move { drop(gone.await) }));
        futures_util::future::select_all(gone).await;
    }
}

/// A connection, what resolves when it is lost, and whether it leads to the server itself.
async fn open(shared: &Arc<Shared>, target: &Target) -> Result<(Link, oneshot::Receiver<()>, bool)> {
    let options = target.config.get_options().unwrap_or_default();
    let mut probing = target.clone();
    probing.config.options(format!("{options} -c {PROBE}=on"));
    let (link, gone) = match connect(shared, &probing).await {
        // A pool that does not take the setting.
        Err(error) if error.what().contains("startup parameter") => connect(shared, target).await?,
        opened => opened?,
    };
    let query = format!("select current_setting('{PROBE}', true) = 'on'");
    let rows = link.within(target.timeout, link.client.query_typed(&query, &[])).await?;
    let is_direct: Option<bool> = rows.first().and_then(|row| row.get(0));
    Ok((link, gone, is_direct == Some(true)))
}

async fn connect(shared: &Arc<Shared>, target: &Target) -> Result<(Link, oneshot::Receiver<()>)> {
    let (alive, gone) = oneshot::channel::<()>();
    let desk = Arc::downgrade(shared);
    let ear = move |_: &str, message: &str| {
        // The connection has this until it is lost.
        let _ = &alive;
        if let Some(shared) = desk.upgrade() {
            shared.desk.hear(message);
        }
    };
    Ok((Link::open(target, Box::new(ear)).await?, gone))
}

/// Ends what is left of the session that heard for this process before, so that nothing of it comes late, and hears from now
/// on: first the lock that says so, then the channel.
async fn attend(link: &Link, listener: Listener) -> Result<()> {
    let attend = format!(
        "select pg_terminate_backend(l.pid) from pg_locks l join pg_database d on d.oid = l.database
            where l.locktype = 'advisory' and l.granted and l.mode = 'ExclusiveLock' and l.objsubid = 1
                and d.datname = current_database() and l.pid <> pg_backend_pid()
                and (l.classid::bigint << 32 | l.objid::bigint) = {listener};
        set lock_timeout = '3s'; select pg_advisory_lock({listener}); reset lock_timeout;
        listen tenure_{listener}"
    );
    link.client.batch_execute(&attend).await.map_err(|error| failed("connect", &error))
}
