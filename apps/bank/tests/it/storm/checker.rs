//! What the answers of a storm and the books after it must have in common. It shares nothing with the bank but the events' shape.

use std::collections::{BTreeMap, HashMap};

use bank::ledger::{Account, Event, EventKind};
use uuid::Uuid;

/// What was asked and carried out, as its client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// A withdrawal from a wallet, and the balance that it left.
    Withdrawal { wallet: String, amount: i64, left: i64 },
    /// A transfer, and both balances as of it, in hundredths.
    Transfer { from: String, to: String, amount: i64, from_left: i64, to_left: i64 },
    /// Something paid into an account or out of it, and the balance that it left, in hundredths.
    Change { account: String, kind: EventKind, amount: i64, left: i64 },
}

/// The books after a storm.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) accounts: Vec<Account>,
    /// The events of all accounts, each account's in order.
    pub(crate) events: Vec<Event>,
    /// What wallets have.
    pub(crate) wallets: BTreeMap<String, i64>,
}

/// What is wrong. `opened` has what wallets and accounts had at the start.
pub(crate) fn judge(
    opened: &BTreeMap<String, i64>,
    wallets: &BTreeMap<String, i64>,
    done: &[Done],
    books: &Books,
) -> Vec<String> {
    let mut wrong = Vec::new();
    chains_of_wallets(wallets, done, books, &mut wrong);
    streams(books, &mut wrong);
    transfers(done, books, &mut wrong);
    changes(done, books, &mut wrong);
    money(opened, done, books, &mut wrong);
    wrong
}

/// Each withdrawal took its amount from what another one left: one deduction each, and each with a balance of its own.
fn chains_of_wallets(opened: &BTreeMap<String, i64>, done: &[Done], books: &Books, wrong: &mut Vec<String>) {
    for (wallet, start) in opened {
        let mut taken: Vec<(i64, i64)> = done
            .iter()
            .filter_map(|done| match done {
                Done::Withdrawal { wallet: of, amount, left } if of == wallet => Some((*left, *amount)),
                _ => None,
            })
            .collect();
        taken.sort_unstable_by(|a, b| b.cmp(a));
        let mut balance = *start;
        for (left, amount) in taken {
            balance -= amount;
            if balance != left {
                wrong.push(format!("wallet {wallet}: {amount} left {left}, and {balance} was due"));
                balance = left;
            }
        }
        match books.wallets.get(wallet) {
            Some(now) if *now == balance && balance >= 0 => {}
            now => {
                wrong.push(format!("wallet {wallet}: the last withdrawal left {balance}, and it has {now:?}"))
            }
        }
    }
}

/// Streams without gaps, whose balances add up to the accounts', and are never below zero.
fn streams(books: &Books, wrong: &mut Vec<String>) {
    let mut heads: HashMap<&str, (u64, i64)> = HashMap::new();
    for event in &books.events {
        let head = heads.entry(&event.key.id).or_default();
        *head = (head.0 + 1, head.1 + event.change);
        if *head != (event.version, event.balance) || event.balance < 0 {
            wrong.push(format!("account {}: {event:?} where {head:?} was due", event.key.id));
        }
    }
    for account in &books.accounts {
        if heads.get(&*account.key.id) != Some(&(account.version, account.balance)) {
            wrong.push(format!("account {}: {account:?} is not what its events say", account.key.id));
        }
    }
}

/// Each transfer that was told is in the books once, as it was told, and no other.
fn transfers(done: &[Done], books: &Books, wrong: &mut Vec<String>) {
    let mut halves: HashMap<Uuid, (Option<&Event>, Option<&Event>)> = HashMap::new();
    for event in &books.events {
        match event.kind {
            EventKind::Sent => halves.entry(event.operation).or_default().0 = Some(event),
            EventKind::Received => halves.entry(event.operation).or_default().1 = Some(event),
            _ => {}
        }
    }
    let mut written: HashMap<(String, String, i64, i64, i64), i64> = HashMap::new();
    for (operation, halves) in halves {
        let (Some(sent), Some(received)) = halves else {
            wrong.push(format!("half a transfer: {operation} {halves:?}"));
            continue;
        };
        if sent.change != -received.change {
            wrong.push(format!("transfer {operation}: {} left and {} came", sent.change, received.change));
        }
        let (from, to) = (sent.key.id.to_string(), received.key.id.to_string());
        *written.entry((from, to, received.change, sent.balance, received.balance)).or_default() += 1;
    }
    for done in done {
        if let Done::Transfer { from, to, amount, from_left, to_left } = done {
            *written.entry((from.clone(), to.clone(), *amount, *from_left, *to_left)).or_default() -= 1;
        }
    }
    let odd = written.into_iter().filter(|(_, count)| *count != 0);
    wrong.extend(
        odd.map(|(transfer, count)| format!("transfer {transfer:?}: {count} more in the books than told")),
    );
}

/// Each other change that was told is in the books once, and no other.
fn changes(done: &[Done], books: &Books, wrong: &mut Vec<String>) {
    let mut counts: HashMap<(&str, EventKind, i64, i64), i64> = HashMap::new();
    for event in &books.events {
        if matches!(event.kind, EventKind::Deposited | EventKind::Withdrawn) {
            *counts.entry((&event.key.id, event.kind, event.change.abs(), event.balance)).or_default() += 1;
        }
    }
    for done in done {
        if let Done::Change { account, kind, amount, left } = done {
            *counts.entry((account, *kind, *amount, *left)).or_default() -= 1;
        }
    }
    let odd = counts.into_iter().filter(|(_, count)| *count != 0);
    wrong
        .extend(odd.map(|(change, count)| format!("change {change:?}: {count} more in the books than told")));
}

/// Together the accounts have what they had, and what came and went.
fn money(opened: &BTreeMap<String, i64>, done: &[Done], books: &Books, wrong: &mut Vec<String>) {
    let came: i128 = done
        .iter()
        .map(|done| match done {
            Done::Change { kind: EventKind::Deposited, amount, .. } => i128::from(*amount),
            Done::Change { amount, .. } => -i128::from(*amount),
            _ => 0,
        })
        .sum();
    let due = came + opened.values().map(|balance| i128::from(*balance)).sum::<i128>();
    let there: i128 = books.accounts.iter().map(|account| i128::from(account.balance)).sum();
    if there != due {
        wrong.push(format!("the accounts have {there} together, and {due} was due"));
    }
}

#[cfg(test)]
mod tests {
    use bank::ledger::{AccountKey, Timestamp};

    use super::*;

    fn event(id: &str, version: u64, kind: EventKind, change: i64, balance: i64, operation: u128) -> Event {
        let (key, operation) = (AccountKey::account(id), Uuid::from_u128(operation));
        Event { key, version, kind, change, balance, other: None, operation, at: Timestamp(0) }
    }

    fn account(id: &str, balance: i64, version: u64) -> Account {
        let (opened_at, changed_at) = (Timestamp(0), Timestamp(0));
        Account {
            key: AccountKey::account(id),
            owner: None,
            is_open: true,
            balance,
            version,
            fence: 0,
            opened_at,
            changed_at,
        }
    }

    /// A good history: a has 10, sends 4 to b, and gets 1; the wallet w has 9, of which 2 and 3 are taken.
    fn good() -> (Vec<Done>, Books) {
        let transfer =
            Done::Transfer { from: "a".into(), to: "b".into(), amount: 4, from_left: 6, to_left: 4 };
        let deposit = Done::Change { account: "a".into(), kind: EventKind::Deposited, amount: 1, left: 7 };
        let taken = |amount, left| Done::Withdrawal { wallet: "w".into(), amount, left };
        let events = vec![
            event("a", 1, EventKind::Opened, 10, 10, 1),
            event("a", 2, EventKind::Sent, -4, 6, 3),
            event("a", 3, EventKind::Deposited, 1, 7, 4),
            event("b", 1, EventKind::Opened, 0, 0, 2),
            event("b", 2, EventKind::Received, 4, 4, 3),
        ];
        let wallets = BTreeMap::from([("w".to_owned(), 4)]);
        let books = Books { accounts: vec![account("a", 7, 3), account("b", 4, 2)], events, wallets };
        (vec![transfer, deposit, taken(3, 4), taken(2, 7)], books)
    }

    fn verdict(done: &[Done], books: &Books) -> usize {
        let opened = BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 0)]);
        judge(&opened, &BTreeMap::from([("w".to_owned(), 9)]), done, books).len()
    }

    #[test]
    fn a_good_history_passes_and_each_fault_is_found() {
        let (done, books) = good();
        assert_eq!(verdict(&done, &books), 0);
        for lost in 0..done.len() {
            let mut untold = done.clone();
            untold.remove(lost);
            assert!(verdict(&untold, &books) > 0, "untold {lost}");
            let mut twice = done.clone();
            twice.push(done[lost].clone());
            assert!(verdict(&twice, &books) > 0, "told twice {lost}");
        }
        for lost in 0..books.events.len() {
            let mut fewer = books.clone();
            fewer.events.remove(lost);
            assert!(verdict(&done, &fewer) > 0, "event {lost} is not there");
            let mut changed = books.clone();
            changed.events[lost].balance += 1;
            assert!(verdict(&done, &changed) > 0, "event {lost} has another balance");
        }
        for lost in 0..books.accounts.len() {
            let mut changed = books.clone();
            changed.accounts[lost].balance -= 1;
            assert!(verdict(&done, &changed) > 0, "account {lost} has another balance");
        }
        let mut poorer = books.clone();
        poorer.wallets.insert("w".to_owned(), 3);
        assert!(verdict(&done, &poorer) > 0);
        let negative = Done::Withdrawal { wallet: "w".into(), amount: 5, left: -1 };
        poorer.wallets.insert("w".to_owned(), -1);
        assert!(verdict(&[done, vec![negative]].concat(), &poorer) > 0, "below zero");
    }
}
