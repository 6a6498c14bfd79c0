//! Wallets in Redis, each of its own keys; every change is a script.
//!
//! | key | what |
//! |---|---|
//! | `{prefix}:balance:{userId}` | the balance, a string with an integer |
//! | `{prefix}:withdrawals:{userId}` | a list of withdrawals, the newest first, at most 1,000 |
//! | `{prefix}:adjustments:{userId}` | a list of balances that were set, the same |
//! | `{prefix}:wallet:{userId}` | a hash of `version` and `fence` |
//! | `{prefix}:idempotency:{key}` | what was answered under a key, for a day |
//!
//! The first two are those of clients that know nothing of the rest: a balance that such a one has set is a wallet of version 0 on.
//! Entries of the lists are JSON. What Redis loses in a crash is lost: it is as durable as its `appendfsync`.

use redis::{Script, ScriptInvocation};
use serde::Deserialize;
use tenure::{Error, FencingToken, Result};
use tenure_server::redis::Link;

use super::{Change, Condition, HISTORY, Order, Refusal, UserId, Wallet, Wallets};
use crate::ledger::{EventKind, Fut, IdempotencyKey, Stale, Timestamp};

const OPEN: &str = include_str!("open.lua");
const WITHDRAW: &str = concat!(include_str!("once.lua"), include_str!("withdraw.lua"));
const ADJUST: &str = concat!(include_str!("once.lua"), include_str!("adjust.lua"));

/// Wallets in Redis.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    prefix: String,
    open: Script,
    withdraw: Script,
    adjust: Script,
}

impl Redis {
    /// The wallets below `prefix` at the server of `url`, `redis:`, `rediss:` or `redis+unix:`. Connects with the first question, and again
    /// whenever that is needed.
    ///
    /// # Errors
    /// `InvalidInput` when the URL is none.
    pub fn open(url: &str, prefix: impl Into<String>) -> Result<Self> {
        Ok(Redis {
            link: Link::open(url)?,
            prefix: prefix.into(),
            open: Script::new(OPEN),
            withdraw: Script::new(WITHDRAW),
            adjust: Script::new(ADJUST),
        })
    }

    fn key(&self, what: &str, of: &str) -> String {
        format!("{}:{what}:{of}", self.prefix)
    }

    /// A call of a script that changes a wallet and tells it in a list.
    fn change<'a>(
        &self,
        script: &'a Script,
        list: &str,
        user: &UserId,
        key: Option<&IdempotencyKey>,
    ) -> ScriptInvocation<'a> {
        let mut call = script.key(self.key("balance", user.as_str()));
        call.key(self.key(list, user.as_str())).key(self.key("wallet", user.as_str()));
        if let Some(key) = key {
            call.key(self.key("idempotency", &key.key));
        }
        call
    }

    /// Runs a script that changes a wallet, and answers with the number it gives.
    async fn carry_out(&self, call: ScriptInvocation<'_>) -> Result<Result<i64, Refusal>> {
        let (word, number): (String, String) =
            self.link.ask(async |link| call.invoke_async(link).await).await?;
        Ok(match word.as_str() {
            "done" => Ok(integer(&number)?),
            "missing" => Err(Refusal::Missing),
            "insufficient" => Err(Refusal::Insufficient),
            "conflict" => Err(Refusal::Conflict),
            "stale" => Err(Refusal::Stale),
            "reused" => Err(Refusal::KeyReused),
            _ => return Err(Error::internal("redis", "a script answers what it cannot")),
        })
    }

    async fn opened(
        &self,
        user: &UserId,
        token: Option<FencingToken>,
    ) -> Result<Result<Option<Wallet>, Stale>> {
        let mut call = self.open.key(self.key("balance", user.as_str()));
        call.key(self.key("wallet", user.as_str()))
            .arg(token.map(|token| token.to_string()).unwrap_or_default());
        let answer: Vec<String> = self.link.ask(async |link| call.invoke_async(link).await).await?;
        let words: Vec<&str> = answer.iter().map(String::as_str).collect();
        match *words {
            ["missing"] => Ok(Ok(None)),
            ["open", balance, version] => {
                Ok(Ok(Some(Wallet { balance: integer(balance)?, version: integer(version)? })))
            }
            ["stale", fence] => Ok(Err(Stale { fence: integer(fence)? })),
            _ => Err(Error::internal("redis", "a script answers what it cannot")),
        }
    }

    async fn changes(&self, user: &UserId) -> Result<Vec<Change>> {
        let last = isize::try_from(HISTORY).unwrap_or(isize::MAX) - 1;
        let mut lists = redis::pipe();
        for list in ["withdrawals", "adjustments"] {
            lists.lrange(self.key(list, user.as_str()), 0, last);
        }
        let (withdrawals, adjustments): (Vec<String>, Vec<String>) =
            self.link.ask(async |link| lists.query_async(link).await).await?;
        let entries = withdrawals.iter().chain(&adjustments).map(|entry| Entry::parse(entry));
        let mut changes = entries.collect::<Result<Vec<Change>>>()?;
        changes.sort_unstable_by_key(|change| std::cmp::Reverse(change.version));
        changes.truncate(HISTORY as usize);
        Ok(changes)
    }
}

/// An entry of a history, as the scripts write it.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Entry {
    Withdrawn { version: u64, before: i64, amount: i64, at: i64 },
    Adjusted { version: u64, balance: i64, at: i64 },
}

impl Entry {
    fn parse(text: &str) -> Result<Change> {
        let entry = serde_json::from_str(text)
            .map_err(|error| Error::internal("redis", "an entry of a history is none").with_source(error))?;
        let (version, kind, balance, at) = match entry {
            Entry::Withdrawn { version, before, amount, at } => {
                (version, EventKind::Withdrawn, before.wrapping_sub(amount), at)
            }
            Entry::Adjusted { version, balance, at } => (version, EventKind::Adjusted, balance, at),
        };
        Ok(Change { version, kind, balance, at: Timestamp(at) })
    }
}

fn integer<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::internal("redis", "what is there is no integer of 64 bits"))
}

impl Wallets for Redis {
    fn read<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Option<Wallet>>> {
        Box::pin(async move {
            let opened = self.opened(user, None).await?;
            opened.map_err(|_| Error::internal("redis", "a read without a token was refused"))
        })
    }

    fn open<'a>(
        &'a self,
        user: &'a UserId,
        token: FencingToken,
    ) -> Fut<'a, Result<Result<Option<Wallet>, Stale>>> {
        Box::pin(self.opened(user, Some(token)))
    }

    fn withdraw<'a>(&'a self, order: &'a Order, on: Condition) -> Fut<'a, Result<Result<i64, Refusal>>> {
        Box::pin(async move {
            let (version, token) = match on {
                Condition::None => (None, None),
                Condition::Version(version) => (Some(version), None),
                Condition::Held { version, token } => (Some(version), Some(token.get())),
            };
            let amount = order.amount.get();
            let mut call = self.change(&self.withdraw, "withdrawals", &order.user, order.key.as_ref());
            call.arg(amount).arg(Timestamp::now().0).arg(or_nothing(version)).arg(or_nothing(token));
            if let Some(key) = &order.key {
                call.arg(&*key.request);
            }
            let before = self.carry_out(call).await?;
            // Exact here, and not in Lua. The script has seen that the balance is the greater one.
            Ok(before.map(|before| before.saturating_sub(amount)))
        })
    }

    fn adjust<'a>(
        &'a self,
        user: &'a UserId,
        balance: i64,
        key: Option<&'a IdempotencyKey>,
    ) -> Fut<'a, Result<Result<i64, Refusal>>> {
        Box::pin(async move {
            let mut call = self.change(&self.adjust, "adjustments", user, key);
            call.arg(balance).arg(Timestamp::now().0);
            if let Some(key) = key {
                call.arg(&*key.request);
            }
            self.carry_out(call).await
        })
    }

    fn history<'a>(&'a self, user: &'a UserId) -> Fut<'a, Result<Vec<Change>>> {
        Box::pin(self.changes(user))
    }

    fn ping(&self) -> Fut<'_, Result<()>> {
        Box::pin(self.link.ask(async |link| redis::cmd("PING").exec_async(link).await))
    }

    fn store(&self) -> &'static str {
        "redis"
    }
}

fn or_nothing(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}
