//! The bank as a whole: its books, its locks, and the services over them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenure::{Locks, Result, Settings};
use tenure_server::stores::{self, Stores};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::ledger::{Postgres, Sqlite, Store};
use crate::outbox::{self, Delivery, Jobs, Journal};
use crate::transfers::{Chain, Transfers};
use crate::wallets::{Books, Redis, Teller, Wallets};

/// How long an ending bank waits for the store of its locks.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Everything that the routes stand on.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bank {
    /// The books.
    pub store: Arc<dyn Store>,
    /// The locks.
    pub locks: Locks,
    /// Transfers between accounts.
    pub transfers: Transfers,
    /// Withdrawals from wallets.
    pub teller: Teller,
    /// The delivery of what the books tell.
    pub delivery: Arc<Delivery>,
    /// What is done once in a while.
    pub jobs: Arc<Jobs>,
    /// What was set.
    pub config: Config,
}

impl Bank {
    /// Opens the bank over what the environment names: the books in PostgreSQL, else in a file in `data`; the wallets in Redis, else in
    /// the books; the locks as [`Stores::connect`] says.
    ///
    /// # Errors
    /// `Unavailable` when a store cannot be reached, `InvalidInput` when a URL is none.
    pub async fn open(stores: &Stores, data: &Path, config: Config) -> Result<Self> {
        let books: Arc<dyn Store> = match &stores.database {
            Some(url) => Arc::new(Postgres::connect(url).await?),
            None => {
                stores::make(data)?;
                Arc::new(Sqlite::open(&data.join("bank.db"))?)
            }
        };
        tracing::info!(store = books.store(), "the books are open");
        let mut settings = Settings::default();
        settings.ttl = Duration::from_millis(config.lock_ttl_ms);
        let locks = stores.connect(&data.join("locks"), settings).await?;
        let bank = Bank::over(books, locks, config);
        let Some(url) = &stores.redis else { return Ok(bank) };
        let wallets = Redis::open(url, bank.config.key_prefix.as_str())?;
        Ok(bank.with_wallets(Arc::new(wallets)))
    }

    /// A bank over these books and locks, with the wallets in the books.
    pub fn over(store: Arc<dyn Store>, locks: Locks, config: Config) -> Self {
        let chain = Chain::new(config.fees);
        let transfers =
            Transfers::new(Arc::clone(&store), locks.clone(), chain, config.lock_wait(), &config.fee_account);
        let wallets = Arc::new(Books::new(Arc::clone(&store)));
        let teller = Teller::new(wallets, locks.clone(), config.max_retries);
        let delivery = Delivery::new(
            Arc::clone(&store),
            locks.clone(),
            vec![Arc::new(Journal)],
            outbox::Settings::default(),
        );
        let jobs = Jobs::new(Arc::clone(&store), locks.clone());
        Bank { store, locks, transfers, teller, delivery: Arc::new(delivery), jobs: Arc::new(jobs), config }
    }

    /// With its wallets elsewhere.
    #[must_use]
    pub fn with_wallets(self, wallets: Arc<dyn Wallets>) -> Self {
        let teller = Teller::new(wallets, self.locks.clone(), self.config.max_retries);
        Bank { teller, ..self }
    }

    /// Begins what goes on beside requests: deliveries and jobs.
    pub fn start(&self) -> Work {
        let mut work = Work { end: CancellationToken::new(), tasks: JoinSet::new() };
        let (delivery, end) = (Arc::clone(&self.delivery), work.end.clone());
        work.tasks.spawn(async move { delivery.run(end).await });
        let (jobs, end) = (Arc::clone(&self.jobs), work.end.clone());
        work.tasks.spawn(async move { jobs.run(end).await });
        work
    }

    /// Gives back what is held.
    pub async fn close(&self) {
        self.locks.close(CLOSE_WITHIN).await;
    }
}

/// What goes on beside requests. Dropped, it is cut where it stands.
#[derive(Debug)]
pub struct Work {
    end: CancellationToken,
    tasks: JoinSet<()>,
}

impl Work {
    /// Ends it, and waits for what it has in hand.
    ///
    /// # Cancel safety
    /// Dropped, the rest is cut where it stands.
    pub async fn stop(mut self) {
        self.end.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
