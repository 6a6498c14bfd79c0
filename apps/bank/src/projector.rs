//! The summaries of accounts, kept up by what the outbox delivers.

use std::sync::Arc;

use tenure::{Error, ErrorKind, Result};

use crate::ledger::{AccountKey, Fut, Message, Next, Notice, Store, Summary, UnknownWord};
use crate::outbox::{Handler, Undelivered};

/// How often a summary is tried to be written when others are faster.
const TRIES: u32 = 8;
/// How many events are read at a time to make a summary of a stream.
const PAGE: u32 = 500;

/// Follows the accounts of a store. It takes each notice as often as it comes: what is known already changes nothing, and what is
/// missing is read from the stream.
#[derive(Clone, Debug)]
pub struct Projector {
    store: Arc<dyn Store>,
}

impl Projector {
    /// A projector of the summaries of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Projector { store }
    }

    /// Takes a notice in.
    ///
    /// # Errors
    /// `InvalidInput` when the notice says what nobody knows, which will not get better; `Unavailable` when the store cannot be
    /// asked.
    ///
    /// # Cancel safety
    /// May be dropped at any time and be asked again.
    pub async fn take(&self, notice: &Notice) -> Result<()> {
        let unknown = |word: UnknownWord| Error::invalid("notice", word.to_string());
        let key = notice.key().map_err(unknown)?;
        for _ in 0..TRIES {
            let known = self.known(&key).await?;
            let summary = match Summary::next(known.as_ref(), notice).map_err(unknown)? {
                Next::Known => return Ok(()),
                Next::Changed(summary) => summary,
                Next::Gap => return self.rebuild(&key).await.map(|_| ()),
            };
            let version = known.map_or(0, |known| known.version);
            if self.store.replace_summary(summary, version).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable("summary", "others are faster again and again"))
    }

    /// Makes the summary of an account anew, of all its events; `None` when there is no such account.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    ///
    /// # Cancel safety
    /// As [`take`](Self::take).
    pub async fn rebuild(&self, key: &AccountKey) -> Result<Option<Summary>> {
        for _ in 0..TRIES {
            let version = self.known(key).await?.map_or(0, |known| known.version);
            let (mut summary, mut before) = (None, None);
            loop {
                let events = self.store.history(key, before, PAGE).await?;
                summary = Summary::add_events(summary, &events);
                match events.last() {
                    Some(last) if last.version > 1 => before = Some(last.version),
                    _ => break,
                }
            }
            let Some(made) = summary else { return Ok(None) };
            if self.store.replace_summary(made.clone(), version).await? {
                return Ok(Some(made));
            }
        }
        Err(Error::unavailable("summary", "others are faster again and again"))
    }

    async fn known(&self, key: &AccountKey) -> Result<Option<Summary>> {
        Ok(self.store.summaries(std::slice::from_ref(key)).await?.pop().flatten())
    }
}

impl Handler for Projector {
    fn deliver<'a>(&'a self, _: &'a Message, notice: &'a Notice) -> Fut<'a, Result<(), Undelivered>> {
        Box::pin(async move {
            self.take(notice).await.map_err(|error| match error.kind() {
                ErrorKind::InvalidInput => Undelivered::Never(error.to_string()),
                _ => error.into(),
            })
        })
    }
}
