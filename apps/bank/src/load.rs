//! `bank load`: requests to a bank that is served somewhere, as many at a time as asked, and how they went.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Client;
use tenure::Clock;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Transfers between random accounts.
    Transfers,
    /// Withdrawals from one wallet, optimistic.
    WithdrawWatch,
    /// Withdrawals from one wallet, one atomic step each.
    WithdrawLua,
    /// Withdrawals from one wallet, under a lock.
    WithdrawLock,
    /// Reads of random accounts, from the books.
    Reads,
    /// Reads of random accounts, without locks from the caches.
    CachedReads,
    /// Payments into random accounts.
    Deposits,
    /// A hundred payments into random accounts at once.
    Batches,
}

/// How many operations a batch has: as many as a bank takes by default.
const BATCH: u64 = 100;

/// Puts load on a bank and reports how it went; exits with 1 when an answer was none that the scenario expects.
#[derive(Debug, Args)]
pub struct Load {
    /// What is asked
    scenario: Scenario,
    /// The bank
    #[arg(long, default_value = "http://127.0.0.1:5298")]
    url: String,
    /// Requests at a time
    #[arg(long, default_value_t = 64)]
    tasks: u64,
    /// For how long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Among how many accounts
    #[arg(long, default_value_t = 1_000)]
    accounts: u64,
    /// The wallet of the withdrawals
    #[arg(long, env = "USER_ID", default_value = "123")]
    user: String,
    /// What the wallet has at the start; without it, it is left as it is
    #[arg(long, env = "INIT_BALANCE")]
    balance: Option<i64>,
    /// How much a withdrawal takes
    #[arg(long, env = "WITHDRAW_AMOUNT", default_value_t = 3)]
    amount: i64,
    /// By how much that varies at most, at random
    #[arg(long, env = "AMOUNT_JITTER", default_value_t = 0)]
    jitter: i64,
}

/// How it went.
#[derive(Debug)]
struct Report {
    /// How often what was answered.
    answers: BTreeMap<String, u64>,
    times: Histogram<u64>,
    took: Duration,
    failed: u64,
}

impl Report {
    fn new() -> Result<Self> {
        let times = Histogram::new(3)?;
        Ok(Report { answers: BTreeMap::new(), times, took: Duration::ZERO, failed: 0 })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.times.len() as f64 / self.took.as_secs_f64();
        let sent = self.times.len().max(1) as f64;
        let success = 100.0 * (1.0 - self.failed as f64 / sent);
        let millis = |quantile| self.times.value_at_quantile(quantile) as f64 / 1e3;
        writeln!(
            f,
            "{rate:.0} operations/s, {success:.2} % of {} requests answered as expected",
            self.times.len()
        )?;
        writeln!(f, "p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", millis(0.5), millis(0.99), millis(1.0))?;
        for (answer, count) in &self.answers {
            writeln!(f, "{count:>10}  {answer}")?;
        }
        Ok(())
    }
}

/// Runs a load, and prints how it went.
///
/// # Errors
/// When the bank cannot be asked, or an answer was none that the scenario expects.
pub async fn run(load: Load) -> Result<()> {
    let client = Client::new();
    prepare(&client, &load).await?;
    let load = Arc::new(load);
    let clock = Clock::system();
    let (began, seeds) = (clock.now(), AtomicU64::new(1));
    let end = began + Duration::from_secs(load.seconds);
    let tasks = (0..load.tasks).map(|_| {
        let (client, load) = (client.clone(), Arc::clone(&load));
        let random = StdRng::seed_from_u64(seeds.fetch_add(1, Ordering::Relaxed));
        tokio::spawn(async move { one_after_another(&client, &load, random, clock, end).await })
    });
    let mut report = Report::new()?;
    for task in tasks.collect::<Vec<_>>() {
        let part = task.await.context("a task of the load panicked")??;
        report.times.add(part.times)?;
        report.failed += part.failed;
        for (answer, count) in part.answers {
            *report.answers.entry(answer).or_default() += count;
        }
    }
    report.took = began.until(clock.now());
    print!("{report}");
    if report.failed > 0 {
        bail!("{} answers were not expected", report.failed);
    }
    Ok(())
}

/// Opens what the scenario is about.
async fn prepare(client: &Client, load: &Load) -> Result<()> {
    match load.scenario {
        Scenario::Transfers
        | Scenario::Reads
        | Scenario::CachedReads
        | Scenario::Deposits
        | Scenario::Batches => {
            for id in 0..load.accounts {
                let body = format!(r#"{{"id":"load-{id}","initial_balance":1000000}}"#);
                let answer = client.post(format!("{}/accounts", load.url)).body(body).send().await?;
                if ![201, 409].contains(&answer.status().as_u16()) {
                    bail!("an account could not be opened status={}", answer.status());
                }
            }
        }
        Scenario::WithdrawWatch | Scenario::WithdrawLua | Scenario::WithdrawLock => {
            if let Some(balance) = load.balance {
                let url = format!("{}/init?userId={}&balance={balance}", load.url, load.user);
                client.post(url).send().await?.error_for_status()?;
            }
        }
    }
    Ok(())
}

async fn one_after_another(
    client: &Client,
    load: &Load,
    mut random: StdRng,
    clock: Clock,
    end: tenure::clock::Instant,
) -> Result<Report> {
    let mut report = Report::new()?;
    while clock.now() < end {
        let request = request(client, load, &mut random);
        let began = clock.now();
        let answered = request.send().await;
        let (word, is_expected) = match answered {
            Err(_) => ("no answer".to_owned(), false),
            Ok(answer) => {
                let status = answer.status().as_u16();
                let text = answer.text().await.unwrap_or_default();
                verdict(status, &text)
            }
        };
        let micros = u64::try_from(began.until(clock.now()).as_micros())?;
        report.times.record(micros)?;
        report.failed += u64::from(!is_expected);
        *report.answers.entry(word).or_default() += 1;
    }
    Ok(report)
}

fn request(client: &Client, load: &Load, random: &mut StdRng) -> reqwest::RequestBuilder {
    let account = |random: &mut StdRng| random.random_range(0..load.accounts);
    let withdrawal = |route: &str, random: &mut StdRng| {
        let amount = (load.amount + random.random_range(-load.jitter..=load.jitter)).max(1);
        client.post(format!("{}/{route}?userId={}&amount={amount}", load.url, load.user))
    };
    match load.scenario {
        Scenario::Transfers => {
            let from = account(random);
            let to = (from + random.random_range(1..load.accounts.max(2))) % load.accounts.max(2);
            let body =
                format!(r#"{{"from_account_id":"load-{from}","to_account_id":"load-{to}","amount":1}}"#);
            client.post(format!("{}/transactions", load.url)).body(body)
        }
        Scenario::Reads => client.get(format!("{}/accounts/load-{}", load.url, account(random))),
        Scenario::CachedReads => {
            client.get(format!("{}/api/cqrs/accounts/load-{}", load.url, account(random)))
        }
        Scenario::Deposits => {
            let url = format!("{}/api/cqrs/accounts/load-{}/deposit", load.url, account(random));
            client.post(url).body(r#"{"amount":1}"#)
        }
        Scenario::Batches => {
            let operations = (0..BATCH).map(|_| {
                format!(r#"{{"account_id":"load-{}","kind":"deposit","amount":1}}"#, account(random))
            });
            let operations = operations.collect::<Vec<_>>().join(",");
            let url = format!("{}/api/cqrs/operations/batch", load.url);
            client.post(url).body(format!(r#"{{"operations":[{operations}]}}"#))
        }
        Scenario::WithdrawWatch => withdrawal("withdraw_watch", random),
        Scenario::WithdrawLua => withdrawal("withdraw_lock_lua", random),
        Scenario::WithdrawLock => withdrawal("withdraw_medallion_distributed_lock", random),
    }
}

/// What an answer is called in the report, and whether it is one that load may have.
fn verdict(status: u16, text: &str) -> (String, bool) {
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let word = |field| body.get(field).and_then(serde_json::Value::as_str);
    let said = word("status").or(word("error")).or(word("type"));
    let has_failures = body.get("failed").and_then(serde_json::Value::as_u64) > Some(0);
    let said = if has_failures { Some("a batch with failures") } else { said };
    let gave_up = has_failures || said.is_some_and(|said| ["conflict", "lock_busy"].contains(&said));
    let is_expected = status == 200 && !gave_up || said == Some("INSUFFICIENT_FUNDS");
    (format!("{status} {}", said.unwrap_or_default()).trim_end().to_owned(), is_expected)
}
