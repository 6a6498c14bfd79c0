//! Four processes on one store, every way to move money at once, and everything that can die dying: no money is made or lost, no
//! answer is untrue. A short one in each run of the tests, and a long one in the optimised runs of `cargo xtask soak`.

mod checker;
mod operation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bank::Config;
use bank::ledger::{AccountKey, Action, Book, Entry, EventKind, IdempotencyKey, Refusal, Step};
use bank::names::account_lock;
use bank::wallets::UserId;
use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::process::Signal;
use tenure_testkit::{Ground, Instance, Setup};

use self::checker::{Books, Done, judge};
use self::operation::Operation;
use crate::stores::Served;

/// Operations of a storm, each of them up to ten changes.
const OPERATIONS: usize = if cfg!(debug_assertions) { 400 } else { 102_400 };
const INSTANCES: usize = 4;
const CLIENTS: usize = 32;
const ACCOUNTS: usize = 12;
const WALLETS: usize = 3;
/// What an account has at the start, in hundredths; and a wallet.
const BALANCE: i64 = 1_000_000;
/// Locks of a second: a stop of one and a half outlasts them.
const SETTINGS: &str = "lock_ttl_ms = 1000\nlock_wait_ms = 2000";
const STOP: Duration = Duration::from_millis(1_500);
/// Between two looks at what does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// What those who take part in a storm share.
#[derive(Debug, Default)]
struct Storm {
    /// Where the instances listen now.
    urls: RwLock<Vec<String>>,
    begun: AtomicUsize,
    done: Mutex<Vec<Done>>,
    /// Writes of a stalled holder that were refused.
    refused: AtomicU64,
}

impl Storm {
    /// Whether enough has happened, a refused write among it.
    fn is_over(&self) -> bool {
        self.begun.load(Ordering::Relaxed) >= OPERATIONS && self.refused.load(Ordering::Relaxed) > 0
    }
}

/// What is served.
const PROGRAM: &str = env!("CARGO_BIN_EXE_bank");

/// One storm at a time: each has four processes.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn storm(setup: Setup) {
    let _turn = TURN.lock().await;
    let mut ground = tokio::task::spawn_blocking(move || Ground::of_its_own(setup)).await.unwrap();
    let mut random = StdRng::seed_from_u64(tenure_testkit::seed());
    let mut instances: Vec<Instance> =
        (0..INSTANCES).map(|_| Instance::start(PROGRAM, &ground, SETTINGS)).collect();
    let storm = Arc::<Storm>::default();
    storm.urls.write().extend(instances.iter().map(|instance| instance.url.clone()));
    let witness = Served::on(&ground, Config::default()).await;
    let (accounts, wallets) = prepare(&witness).await;

    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(client(StdRng::seed_from_u64(random.random()), Arc::clone(&storm))))
        .collect();
    let stalling = tokio::spawn(stalled_holder(witness, Arc::clone(&storm)));
    let (mut kills, mut stops) = (0, 0);
    while !storm.is_over() {
        let victim = random.random_range(0..INSTANCES);
        match random.random_range(0..5) {
            0 | 1 => {
                instances[victim] = Instance::start(PROGRAM, &ground, SETTINGS);
                storm.urls.write()[victim].clone_from(&instances[victim].url);
                kills += 1;
            }
            2 | 3 => {
                instances[victim].signal(Signal::STOP);
                tokio::time::sleep(STOP).await;
                instances[victim].signal(Signal::CONT);
                stops += 1;
            }
            _ => ground = tokio::task::spawn_blocking(move || ground.restart_a_store()).await.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(100..400))).await;
    }
    for client in clients {
        client.await.unwrap();
    }
    stalling.await.unwrap();
    let after = Served::on(&ground, Config::default()).await;
    let books = read(&after).await;
    let done = std::mem::take(&mut *storm.done.lock());
    let wrong = judge(&accounts, &wallets, &done, &books);
    assert!(
        wrong.is_empty(),
        "{setup:?}: {} faults, the first: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    let refused = storm.refused.load(Ordering::Relaxed);
    println!(
        "{setup:?}: {} carried out, {kills} kills, {stops} stops, {refused} late writes refused",
        done.len()
    );
    assert!(done.len() > OPERATIONS / 4, "{setup:?}: {} of {OPERATIONS} were carried out", done.len());
}

/// Opens the accounts and wallets, and tells what is on them.
async fn prepare(bank: &Served) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
    let (mut accounts, mut wallets) = (BTreeMap::new(), BTreeMap::new());
    for id in 0..ACCOUNTS {
        let body = format!(r#"{{"id":"{id}","initial_balance":{}}}"#, BALANCE / 100);
        assert_eq!(bank.post("/accounts", &body).await.status, 201);
        accounts.insert(id.to_string(), BALANCE);
    }
    for id in 0..WALLETS {
        let opened = bank.post(&format!("/init?userId={id}&balance={BALANCE}"), "").await;
        assert_eq!(opened.status, 200);
        wallets.insert(id.to_string(), BALANCE);
    }
    (accounts, wallets)
}

/// Asks one thing after another, each again and again until it is known what became of it.
async fn client(mut random: StdRng, storm: Arc<Storm>) {
    // A stopped instance answers when it goes on: somebody else is asked before that.
    let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).build().unwrap();
    while !storm.is_over() {
        storm.begun.fetch_add(1, Ordering::Relaxed);
        let operation = Operation::random(&mut random, ACCOUNTS, WALLETS);
        let key = format!("{:032x}", random.random::<u128>());
        let carried_out = loop {
            let url = {
                let urls = storm.urls.read();
                urls[random.random_range(0..urls.len())].clone()
            };
            if let Some(answer) = operation.ask(&client, &url, &key).await {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(5..50))).await;
        };
        storm.done.lock().extend(carried_out);
    }
}

/// A holder that stalls: it takes a lease that nobody renews, sleeps until it is over, and writes then. Whenever somebody else
/// has worked on the account meanwhile, which in a storm is always, the write has to be refused.
async fn stalled_holder(witness: Served, storm: Arc<Storm>) {
    let (bank, id) = (&witness.bank, "0");
    while !storm.is_over() {
        tokio::time::sleep(PAUSE).await;
        let request = bank.locks.lock(account_lock(id)).ttl(Duration::from_secs(1));
        let Ok(Some(guard)) = request.try_acquire_for(Duration::from_secs(2)).await else { continue };
        let token = guard.token();
        // The end of the lease, as a stall would have let it come; others go on.
        let _ = guard.release().await;
        tokio::time::sleep(STOP).await;
        let late = Entry::new(AccountKey::account(id), Action::Withdraw(1)).under(token);
        let key = IdempotencyKey { key: format!("late {token}").into(), request: "1".into() };
        let step = Step::new(vec![late]).once(Some(key));
        let answers = loop {
            match bank.store.apply(vec![step.clone()]).await {
                Ok(answers) => break answers,
                // Whether it was carried out is unknown: asked for again with its key.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        match &answers[0] {
            Err(said) if matches!(said.why, Refusal::Stale { .. }) => {
                storm.refused.fetch_add(1, Ordering::Relaxed);
            }
            // Nobody was here since, so the token is the newest still.
            Ok(posted) => {
                let (account, left) = (id.to_owned(), posted.balances[0].balance);
                storm.done.lock().push(Done::Change { account, kind: EventKind::Withdrawn, amount: 1, left });
            }
            Err(_) => {}
        }
    }
}

async fn read(bank: &Served) -> Books {
    let store = &bank.bank.store;
    let accounts = store.list(Book::Accounts, None, 1_000).await.unwrap();
    let mut books = Books { accounts: Vec::new(), events: Vec::new(), wallets: BTreeMap::new() };
    for account in accounts {
        let mut events = store.history(&account.key, None, u32::MAX).await.unwrap();
        events.reverse();
        books.events.extend(events);
        books.accounts.push(account);
    }
    for id in 0..WALLETS {
        let user = UserId::new(id.to_string()).unwrap();
        let wallet = bank.bank.teller.wallets().read(&user).await.unwrap().unwrap();
        books.wallets.insert(id.to_string(), wallet.balance);
    }
    books
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_conserved_whatever_dies_over_files() {
    storm(Setup::Files).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_conserved_whatever_dies_over_postgresql() {
    storm(Setup::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_conserved_whatever_dies_over_postgresql_and_redis() {
    storm(Setup::PostgresAndRedis).await;
}
