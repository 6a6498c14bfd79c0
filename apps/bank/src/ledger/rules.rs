//! What a step does: pure, and the same for every store.

use std::collections::HashMap;

use uuid::Uuid;

use super::step::{Action, Balance, Posted, Refusal, Refused, Step};
use super::{Account, AccountKey, Event, EventKind, Timestamp, is_text};

/// What a store has loaded for a step, or for several in turn.
pub(super) type Loaded = HashMap<AccountKey, Account>;

/// Decides a step. `accounts` has all accounts of the step that exist; those that it changes are written back there, and
/// what happened is told in `events`. A step that is refused changes neither.
pub(super) fn decide(
    accounts: &mut Loaded,
    events: &mut Vec<Event>,
    step: &Step,
    at: Timestamp,
) -> Result<Posted, Refused> {
    let told = events.len();
    let mut before: Vec<(AccountKey, Option<Account>)> = Vec::with_capacity(step.entries.len());
    let mut balances = Vec::with_capacity(step.entries.len());
    for (number, entry) in step.entries.iter().enumerate() {
        let known = accounts.get(&entry.account);
        let account = match changed(known, entry, at) {
            Ok(account) => account,
            Err(why) => {
                events.truncate(told);
                restore(accounts, before);
                return Err(Refused { entry: number, why });
            }
        };
        balances.push(Balance { balance: account.balance, version: account.version });
        events.push(event(&entry.action, step.operation, known, &account, at));
        let key = entry.account.clone();
        before.push((key.clone(), accounts.insert(key, account)));
    }
    Ok(Posted { operation: step.operation, balances, is_repeated: false })
}

/// Puts back what was there, the last change first.
fn restore(accounts: &mut Loaded, before: Vec<(AccountKey, Option<Account>)>) {
    for (key, account) in before.into_iter().rev() {
        match account {
            Some(account) => accounts.insert(key, account),
            None => accounts.remove(&key),
        };
    }
}

/// The account as the entry leaves it.
fn changed(known: Option<&Account>, entry: &super::Entry, at: Timestamp) -> Result<Account, Refusal> {
    let fence = entry.token.map_or(0, |token| token.get());
    if let Some(account) = known {
        // The fence comes first: who has lost the lock is told so, whatever else has changed.
        if fence != 0 && fence < account.fence {
            return Err(Refusal::Stale { fence: account.fence });
        }
        if matches!(entry.action, Action::Open { .. }) {
            return Err(Refusal::Exists);
        }
        if !account.is_open {
            return Err(Refusal::Closed);
        }
        if entry.expected.is_some_and(|version| version != account.version) {
            return Err(Refusal::Conflict { version: account.version });
        }
    } else if entry.expected.is_some_and(|version| version != 0) {
        return Err(Refusal::Unknown);
    }
    let account = match (known, &entry.action) {
        (Some(account), _) => account.clone(),
        (None, Action::Open { .. } | Action::Adjust(_) | Action::TakeFee { .. }) => unopened(entry, at)?,
        (None, _) => return Err(Refusal::Unknown),
    };
    let balance = balance(account.balance, &entry.action)?;
    let is_open = entry.action != Action::Close;
    let (version, fence) = (account.version + 1, account.fence.max(fence));
    Ok(Account { balance, is_open, version, fence, changed_at: at, ..account })
}

fn unopened(entry: &super::Entry, at: Timestamp) -> Result<Account, Refusal> {
    let owner = match &entry.action {
        Action::Open { owner, .. } => owner.clone(),
        _ => None,
    };
    let key = entry.account.clone();
    if !is_text(&key.id) || owner.as_deref().is_some_and(|owner| !is_text(owner)) {
        return Err(Refusal::Unwritable);
    }
    Ok(Account { key, owner, is_open: true, balance: 0, version: 0, fence: 0, opened_at: at, changed_at: at })
}

fn balance(now: i64, action: &Action) -> Result<i64, Refusal> {
    match action {
        Action::Open { balance, .. } | Action::Adjust(balance) => Ok(*balance),
        Action::Deposit(amount) | Action::Receive { amount, .. } | Action::TakeFee { amount, .. } => {
            now.checked_add(*amount).ok_or(Refusal::Overflow)
        }
        Action::Withdraw(amount) | Action::Send { amount, .. } if now >= *amount => Ok(now - amount),
        Action::Withdraw(_) | Action::Send { .. } => Err(Refusal::Insufficient),
        Action::Close => Ok(now),
    }
}

fn event(
    action: &Action,
    operation: Uuid,
    before: Option<&Account>,
    account: &Account,
    at: Timestamp,
) -> Event {
    let (kind, other) = match action {
        Action::Open { owner, .. } => (EventKind::Opened, owner.clone()),
        Action::Deposit(_) => (EventKind::Deposited, None),
        Action::Withdraw(_) => (EventKind::Withdrawn, None),
        Action::Send { to, .. } => (EventKind::Sent, Some(to.clone())),
        Action::Receive { from, .. } => (EventKind::Received, Some(from.clone())),
        Action::TakeFee { from, .. } => (EventKind::FeeTaken, Some(from.clone())),
        Action::Adjust(_) => (EventKind::Adjusted, None),
        Action::Close => (EventKind::Closed, None),
    };
    // A balance that is set may be further from the last one than an i64 reaches: the change wraps, and adding it wraps back.
    let change = account.balance.wrapping_sub(before.map_or(0, |account| account.balance));
    let (key, version, balance) = (account.key.clone(), account.version, account.balance);
    Event { key, version, kind, change, balance, other, operation, at }
}
