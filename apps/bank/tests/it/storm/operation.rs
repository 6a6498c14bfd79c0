//! What clients of a storm ask for, and what an answer means.

use bank::Cents;
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
        if random.random_bool(0.5) {
            let from = random.random_range(0..accounts);
            let to = (from + random.random_range(1..accounts)) % accounts;
            return Operation::Transfer { from: from.to_string(), to: to.to_string(), amount };
        }
        let routes = ["withdraw_watch", "withdraw_lock_lua", "withdraw_medallion_distributed_lock"];
        let route = routes[random.random_range(0..routes.len())];
        let wallet = random.random_range(0..wallets).to_string();
        Operation::Withdrawal { route, wallet, amount }
    }

    /// Asks a bank for it. `None` when it is not known what became of it, or when it was refused only for now: it is to be asked
    /// for again with the same key, of whichever instance.
    pub(crate) async fn ask(&self, client: &Client, url: &str, key: &str) -> Option<Option<Done>> {
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
        };
        let answer = request.header("idempotency-key", key).send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        match status {
            409 | 503 => None,
            200 => self.done(&text),
            400 if text.contains("INSUFFICIENT_FUNDS") => Some(None),
            _ => panic!("{self:?} was answered {status} {text}"),
        }
    }

    fn done(&self, text: &str) -> Option<Option<Done>> {
        match self.clone() {
            Operation::Transfer { from, to, amount } => {
                let made: Transferred = serde_json::from_str(text).unwrap();
                let (from_left, to_left) = (made.from_account_balance.0, made.to_account_balance.0);
                Some(Some(Done::Transfer { from, to, amount, from_left, to_left }))
            }
            Operation::Withdrawal { wallet, amount, .. } => {
                let ended: Ended = serde_json::from_str(text).unwrap();
                match (ended.status.as_str(), ended.new_balance) {
                    ("ok", Some(left)) => Some(Some(Done::Withdrawal { wallet, amount, left })),
                    ("insufficient", _) => Some(None),
                    ("lock_busy" | "conflict", _) => None,
                    _ => panic!("{self:?} was answered {text}"),
                }
            }
        }
    }
}
