//! Where the cached values come from: the books.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenure::Result;

use super::source::{Cached, Loaded, Source};
use crate::ledger::{Account, AccountKey, Event, Fut, Store, Summary};

/// How many of the last events of an account are cached: what its page of transactions shows first.
pub const RECENT_EVENTS: u32 = 50;

/// What a text or a number of a value takes beside itself, about.
const OVERHEAD: usize = 128;

/// The last events of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recent {
    /// The version of the account.
    pub version: u64,
    /// Its last events, the newest first, at most [`RECENT_EVENTS`].
    pub events: Vec<Event>,
}

impl Cached for Account {
    fn version(&self) -> u64 {
        self.version
    }

    fn bytes(&self) -> usize {
        OVERHEAD + self.key.id.len() + self.owner.as_deref().map_or(0, str::len)
    }
}

impl Cached for Summary {
    fn version(&self) -> u64 {
        self.version
    }

    fn bytes(&self) -> usize {
        2 * OVERHEAD + self.key.id.len() + self.owner.as_deref().map_or(0, str::len)
    }
}

impl Cached for Recent {
    fn version(&self) -> u64 {
        self.version
    }

    fn bytes(&self) -> usize {
        let texts = |event: &Event| event.key.id.len() + event.other.as_deref().map_or(0, str::len);
        self.events.iter().map(|event| 2 * OVERHEAD + texts(event)).sum()
    }
}

/// Accounts as they are.
#[derive(Debug)]
pub(super) struct Accounts(pub(super) Arc<dyn Store>);

/// Summaries of accounts.
#[derive(Debug)]
pub(super) struct Summaries(pub(super) Arc<dyn Store>);

/// The last events of accounts.
#[derive(Debug)]
pub(super) struct Events(pub(super) Arc<dyn Store>);

/// What there is, unless it is at hand.
fn compare<V: Cached>(wanted: &[(AccountKey, Option<u64>)], found: Vec<Option<V>>) -> Vec<Loaded<V>> {
    let compared = wanted.iter().zip(found).map(|((_, known), found)| match found {
        Some(value) if *known == Some(value.version()) => Loaded::Unchanged,
        Some(value) => Loaded::Changed(value),
        None => Loaded::Nothing,
    });
    compared.collect()
}

fn keys(wanted: &[(AccountKey, Option<u64>)]) -> Vec<AccountKey> {
    wanted.iter().map(|(key, _)| key.clone()).collect()
}

impl Source for Accounts {
    type Key = AccountKey;
    type Value = Account;

    fn load<'a>(&'a self, wanted: &'a [(AccountKey, Option<u64>)]) -> Fut<'a, Result<Vec<Loaded<Account>>>> {
        Box::pin(async move { Ok(compare(wanted, self.0.read(&keys(wanted)).await?)) })
    }
}

impl Source for Summaries {
    type Key = AccountKey;
    type Value = Summary;

    fn load<'a>(&'a self, wanted: &'a [(AccountKey, Option<u64>)]) -> Fut<'a, Result<Vec<Loaded<Summary>>>> {
        Box::pin(async move { Ok(compare(wanted, self.0.summaries(&keys(wanted)).await?)) })
    }
}

impl Source for Events {
    type Key = AccountKey;
    type Value = Recent;

    /// Reads the versions in one trip, and the events of those accounts that have others.
    fn load<'a>(&'a self, wanted: &'a [(AccountKey, Option<u64>)]) -> Fut<'a, Result<Vec<Loaded<Recent>>>> {
        Box::pin(async move {
            let accounts = self.0.read(&keys(wanted)).await?;
            let mut loaded = Vec::with_capacity(wanted.len());
            for ((key, known), account) in wanted.iter().zip(accounts) {
                loaded.push(match account {
                    None => Loaded::Nothing,
                    Some(account) if *known == Some(account.version) => Loaded::Unchanged,
                    Some(_) => {
                        let events = self.0.history(key, None, RECENT_EVENTS).await?;
                        // Those that came since the account was read are among them.
                        let version = events.first().map_or(0, |event| event.version);
                        Loaded::Changed(Recent { version, events })
                    }
                });
            }
            Ok(loaded)
        })
    }
}
