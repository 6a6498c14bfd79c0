//! What clients of a storm ask for, and what an answer means.

use bank::Cents;
use bank::ledger::EventKind;
use rand::Rng as _;
use rand::rngs::StdRng;
use reqwest::Client;
use serde::Deserialize;

use super::checker::Done;

/// A request that moves money.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Transfer { from: String, to: String, amount: i64 },
    Withdrawal { route: &'static str, wallet: String, amount: i64 },
    Change(Change),
    Batch(Vec<Change>),
}

/// Something paid into an account, or out of it.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    account: String,
    kind: EventKind,
    amount: i64,
}

impl Change {
    fn random(random: &mut StdRng, accounts: usize) -> Self {
        let kind = if random.random() { EventKind::Deposited } else { EventKind::Withdrawn };
        let account = random.random_range(0..accounts).to_string();
        Change { account, kind, amount: random.random_range(1..300) }
    }

    fn verb(&self) -> &'static str {
        if self.kind == EventKind::Deposited { "deposit" } else { "withdraw" }
    }

    fn done(self, left: Cents) -> Done {
        Done::Change { account: self.account, kind: self.kind, amount: self.amount, left: left.0 }
    }
}

/// A change that was made.
#[derive(Deserialize)]
struct Changed {
    balance: Cents,
}

/// What became of the changes of a batch.
#[derive(Deserialize)]
struct Outcomes {
    results: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    balance: Option<Cents>,
    error: Option<String>,
}

/// A transfer that was made.
#[derive(Deserialize)]
struct Transferred {
    from_account_balance: Cents,
    to_account_balance: Cents,
}

/// A withdrawal that was answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ended {
    status: String,
    new_balance: Option<i64>,
}

impl Operation {
    pub(crate) fn random(random: &mut StdRng, accounts: usize, wallets: usize) -> Self {
        let amount = random.random_range(1..300);
        match random.random_range(0..6) {
            0 | 1 => {
                let from = random.random_range(0..accounts);
                let to = (from + random.random_range(1..accounts)) % accounts;
                Operation::Transfer { from: from.to_string(), to: to.to_string(), amount }
            }
            2 | 3 => {
                let routes = ["withdraw_watch", "withdraw_lock_lua", "withdraw_medallion_distributed_lock"];
                let route = routes[random.random_range(0..routes.len())];
                let wallet = random.random_range(0..wallets).to_string();
                Operation::Withdrawal { route, wallet, amount }
            }
            4 => Operation::Change(Change::random(random, accounts)),
            _ => {
                let changes = random.random_range(1..=10);
                Operation::Batch((0..changes).map(|_| Change::random(random, accounts)).collect())
            }
        }
    }

    /// Asks a bank for it. `None` when it is not known what became of it, or when it was refused only for now: it is to be asked
    /// for again with the same key, of whichever instance.
    pub(crate) async fn ask(&self, client: &Client, url: &str, key: &str) -> Option<Vec<Done>> {
        let request = match self {
            Operation::Transfer { from, to, amount } => {
                let amount = Cents(*amount);
                let body =
                    format!(r#"{{"from_account_id":"{from}","to_account_id":"{to}","amount":{amount}}}"#);
                client.post(format!("{url}/transactions")).body(body)
            }
            Operation::Withdrawal { route, wallet, amount } => {
                client.post(format!("{url}/{route}?userId={wallet}&amount={amount}"))
            }
            Operation::Change(change) => {
                let body = format!(r#"{{"amount":{}}}"#, Cents(change.amount));
                client
                    .post(format!("{url}/api/cqrs/accounts/{}/{}", change.account, change.verb()))
                    .body(body)
            }
            Operation::Batch(changes) => {
                let operations = changes.iter().map(|change| {
                    let (id, verb, amount) = (&change.account, change.verb(), Cents(change.amount));
                    format!(r#"{{"account_id":"{id}","kind":"{verb}","amount":{amount}}}"#)
                });
                let operations = operations.collect::<Vec<_>>().join(",");
                client
                    .post(format!("{url}/api/cqrs/operations/batch"))
                    .body(format!(r#"{{"operations":[{operations}]}}"#))
            }
        };
        let answer = request.header("idempotency-key", key).send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        match status {
            409 | 503 => None,
            200 => self.done(&text),
            400 if text.contains("INSUFFICIENT_FUNDS") => Some(Vec::new()),
            422 if text.contains("insufficient-funds") => Some(Vec::new()),
            _ => panic!("{self:?} was answered {status} {text}"),
        }
    }

    fn done(&self, text: &str) -> Option<Vec<Done>> {
        match self.clone() {
            Operation::Transfer { from, to, amount } => {
                let made: Transferred = serde_json::from_str(text).unwrap();
                let (from_left, to_left) = (made.from_account_balance.0, made.to_account_balance.0);
                Some(vec![Done::Transfer { from, to, amount, from_left, to_left }])
            }
            Operation::Withdrawal { wallet, amount, .. } => {
                let ended: Ended = serde_json::from_str(text).unwrap();
                match (ended.status.as_str(), ended.new_balance) {
                    ("ok", Some(left)) => Some(vec![Done::Withdrawal { wallet, amount, left }]),
                    ("insufficient", _) => Some(Vec::new()),
                    ("lock_busy" | "conflict", _) => None,
                    _ => panic!("{self:?} was answered {text}"),
                }
            }
            Operation::Change(change) => {
                let changed: Changed = serde_json::from_str(text).unwrap();
                Some(vec![change.done(changed.balance)])
            }
            Operation::Batch(changes) => {
                let outcomes: Outcomes = serde_json::from_str(text).unwrap();
                assert_eq!(outcomes.results.len(), changes.len(), "{text}");
                let mut done = Vec::new();
                for (change, outcome) in changes.into_iter().zip(outcomes.results) {
                    match (outcome.balance, outcome.error.as_deref()) {
                        (Some(left), None) => done.push(change.done(left)),
                        (None, Some("insufficient-funds")) => {}
                        // The whole is asked for again: what was carried out is answered as it was.
                        (None, Some("busy" | "conflict" | "unavailable")) => return None,
                        _ => panic!("{self:?} was answered {text}"),
                    }
                }
                Some(done)
            }
        }
    }
}
