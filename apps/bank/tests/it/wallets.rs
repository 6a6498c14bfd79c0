//! Wallets and the three ways to withdraw, on every store: what is exact, what excludes what, and what is refused.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use bank::ledger::{EventKind, Fut, IdempotencyKey, Stale};
use bank::wallets::{
    Amount, Books, Change, Condition, Counts, Order, Outcome, Redis, Refusal, Teller, UserId, Wallet,
    Wallets, Withdrawal,
};
use tempfile::TempDir;
use tenure::lease::{Kind, Query};
use tenure::provider::{Force, Provider};
use tenure::{FencingToken, Locks, Memory, Settings};
use tenure_testkit::RedisServer;
use tokio::sync::Semaphore;

use crate::meddling::Meddling;
use crate::stores;

const TRIES: u32 = 20;

/// The Redis server that these tests share, each below a prefix of its own.
fn server() -> &'static RedisServer {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::start)
}

/// Fresh wallets in Redis, and their prefix.
async fn in_redis() -> (Arc<dyn Wallets>, String) {
    let prefix = uuid::Uuid::new_v4().to_string();
    let url = tokio::task::spawn_blocking(|| server().url()).await.unwrap();
    (Arc::new(Redis::open(&url, prefix.as_str()).unwrap()), prefix)
}

/// Fresh wallets of each kind. A file lives as long as its directory.
async fn all() -> (Vec<Arc<dyn Wallets>>, TempDir) {
    let (books, dir) = stores::all().await;
    let mut wallets: Vec<Arc<dyn Wallets>> = Vec::new();
    wallets.extend(books.into_iter().map(|store| Arc::new(Books::new(store)) as Arc<dyn Wallets>));
    wallets.push(in_redis().await.0);
    (wallets, dir)
}

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn order(id: &str, amount: i64) -> Order {
    Order { user: user(id), amount: Amount::new(amount).unwrap(), key: None }
}

fn keyed(id: &str, amount: i64, key: &str) -> Order {
    let key = IdempotencyKey { key: key.into(), request: format!("{id} {amount}\n").into() };
    Order { key: Some(key), ..order(id, amount) }
}

fn token(number: u64) -> FencingToken {
    FencingToken::new(number).unwrap()
}

/// A teller of a process of its own, with locks at `provider`.
fn teller(wallets: &Arc<dyn Wallets>, provider: &Arc<dyn Provider>) -> Arc<Teller> {
    let locks = Locks::over(Arc::clone(provider), Settings::default());
    Arc::new(Teller::new(Arc::clone(wallets), locks, TRIES))
}

fn provider() -> Arc<dyn Provider> {
    Arc::new(Memory::new(Settings::default().clock))
}

/// The ways by number.
async fn withdraw(teller: &Teller, way: usize, order: &Order) -> Outcome {
    let done = match way {
        0 => teller.atomic(order).await,
        1 => teller.optimistic(order).await,
        _ => teller.locked(order).await,
    };
    done.unwrap().outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_are_exact_over_all_64_bits_on_every_way() {
    let (stores, _dir) = all().await;
    for wallets in &stores {
        let teller = teller(wallets, &provider());
        let above = (1 << 53) + 1;
        let cases = [
            (i64::MAX, 1, Outcome::Done { balance: i64::MAX - 1 }),
            (i64::MAX, i64::MAX, Outcome::Done { balance: 0 }),
            (i64::MAX - 1, i64::MAX, Outcome::Insufficient),
            (above, above - 1, Outcome::Done { balance: 1 }),
            (above, above, Outcome::Done { balance: 0 }),
            (above, above + 1, Outcome::Insufficient),
            (above + 1, above, Outcome::Done { balance: 1 }),
            (0, 1, Outcome::Insufficient),
            (9, 10, Outcome::Insufficient),
            (10, 9, Outcome::Done { balance: 1 }),
            (-1, 1, Outcome::Insufficient),
            (-100, 1, Outcome::Insufficient),
            (i64::MIN, i64::MAX, Outcome::Insufficient),
        ];
        for (number, (balance, amount, wanted)) in cases.into_iter().enumerate() {
            for way in 0..3 {
                let id = format!("{number} {way}");
                assert_eq!(teller.init(&user(&id), balance, None).await.unwrap(), Some(balance));
                let done = withdraw(&teller, way, &order(&id, amount)).await;
                assert_eq!(done, wanted, "{} way {way}: {amount} of {balance}", wallets.store());
                let left = match wanted {
                    Outcome::Done { balance } => balance,
                    _ => balance,
                };
                assert_eq!(teller.balance(&user(&id)).await.unwrap(), Some(left));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_user_is_called_the_wallet_is_theirs_alone() {
    let (stores, _dir) = all().await;
    let long = "ü'{}\"\\ %\n".repeat(100);
    let ids = ["", " ", "a", "A", "a:b", "{a}", "a\r\nb", "%", "*", "ü", "-- ';drop table account", &long];
    for wallets in &stores {
        let provider = provider();
        let teller = teller(wallets, &provider);
        for (number, id) in (1..).zip(ids) {
            for way in 0..3 {
                assert_eq!(withdraw(&teller, way, &order(id, 1)).await, Outcome::Missing, "{id:?}");
            }
            assert_eq!(teller.balance(&user(id)).await.unwrap(), None, "{id:?}");
            teller.init(&user(id), number, None).await.unwrap();
        }
        for (number, id) in (1..).zip(ids) {
            for way in 0..3 {
                let empty = withdraw(&teller, way, &order(id, number + 1)).await;
                assert_eq!(empty, Outcome::Insufficient, "{id:?}");
            }
            assert_eq!(
                withdraw(&teller, 2, &order(id, number)).await,
                Outcome::Done { balance: 0 },
                "{id:?}"
            );
        }
        assert!(provider.list(&Query::new(Kind::Leases, "")).await.unwrap().entries.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ways_at_once_in_two_processes_take_what_is_there_and_each_leaves_its_own_balance() {
    let (stores, _dir) = all().await;
    for wallets in &stores {
        let provider = provider();
        let tellers = [teller(wallets, &provider), teller(wallets, &provider)];
        let id = user("u");
        tellers[0].init(&id, 100, None).await.unwrap();
        let asked = (0..60).map(|number| {
            let teller = Arc::clone(&tellers[number % 2]);
            tokio::spawn(async move { withdraw(&teller, number % 3, &order("u", 3)).await })
        });
        let mut left = Vec::new();
        for outcome in futures_util::future::join_all(asked).await {
            match outcome.unwrap() {
                Outcome::Done { balance } => left.push(balance),
                Outcome::Insufficient | Outcome::Busy | Outcome::Conflict => {}
                other => panic!("{}: {other:?}", wallets.store()),
            }
        }
        left.sort_unstable_by_key(|balance| std::cmp::Reverse(*balance));
        let wanted: Vec<i64> = (1..).map(|number| 100 - 3 * number).take(left.len()).collect();
        assert_eq!(left, wanted, "{}: each has a balance of its own", wallets.store());
        let kept = tellers[0].balance(&id).await.unwrap().unwrap();
        assert_eq!(kept, 100 - 3 * left.len() as i64);
        // Nobody keeps the twenty of the atomic way from it.
        assert!((1..=40).contains(&kept), "{}: {kept}", wallets.store());
        compare_history(&**wallets, &id, &left).await;
    }
}

/// The history has the balance that was set, and each withdrawal by the balance that it left.
async fn compare_history(wallets: &dyn Wallets, id: &UserId, left: &[i64]) {
    let history: Vec<Change> = wallets.history(id).await.unwrap();
    let told: Vec<(u64, EventKind, i64)> =
        history.iter().rev().map(|change| (change.version, change.kind, change.balance)).collect();
    let mut wanted = vec![(1, EventKind::Adjusted, 100)];
    wanted.extend((2..).zip(left).map(|(version, balance)| (version, EventKind::Withdrawn, *balance)));
    assert_eq!(told, wanted, "{}", wallets.store());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_withdraws_once_whichever_way_it_is_asked_again_also_when_nothing_is_left() {
    let (stores, _dir) = all().await;
    for wallets in &stores {
        let teller = teller(wallets, &provider());
        for first in 0..3 {
            let id = format!("u{first}");
            let key = format!("k{first}");
            assert_eq!(withdraw(&teller, first, &keyed(&id, 10, &key)).await, Outcome::Missing);
            teller.init(&user(&id), 10, None).await.unwrap();
            for way in [first, 0, 1, 2] {
                let done = withdraw(&teller, way, &keyed(&id, 10, &key)).await;
                assert_eq!(done, Outcome::Done { balance: 0 }, "{} {first} then {way}", wallets.store());
                assert_eq!(withdraw(&teller, way, &keyed(&id, 9, &key)).await, Outcome::KeyReused);
                assert_eq!(withdraw(&teller, way, &keyed("none", 10, &key)).await, Outcome::KeyReused);
            }
            assert_eq!(wallets.history(&user(&id)).await.unwrap().len(), 2);
        }
        let again = IdempotencyKey { key: "init".into(), request: "1".into() };
        let other = IdempotencyKey { key: "init".into(), request: "2".into() };
        assert_eq!(teller.init(&user("i"), 5, Some(&again)).await.unwrap(), Some(5));
        teller.init(&user("i"), 7, None).await.unwrap();
        assert_eq!(teller.init(&user("i"), 5, Some(&again)).await.unwrap(), Some(5));
        assert_eq!(teller.init(&user("i"), 5, Some(&other)).await.unwrap(), None);
        assert_eq!(teller.balance(&user("i")).await.unwrap(), Some(7), "{}", wallets.store());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_is_by_version_and_by_token_and_the_token_comes_first() {
    let (stores, _dir) = all().await;
    for wallets in &stores {
        let id = user("u");
        let take = async |on| wallets.withdraw(&order("u", 1), on).await.unwrap();
        assert_eq!(wallets.open(&id, token(5)).await.unwrap(), Ok(None));
        wallets.adjust(&id, 10, None).await.unwrap().unwrap();
        // Back to the same value: a compare by value would be deceived.
        wallets.adjust(&id, 9, None).await.unwrap().unwrap();
        wallets.adjust(&id, 10, None).await.unwrap().unwrap();
        let wallet = Wallet { balance: 10, version: 3 };
        assert_eq!(wallets.read(&id).await.unwrap(), Some(wallet));
        assert_eq!(take(Condition::Version(1)).await, Err(Refusal::Conflict), "{}", wallets.store());
        assert_eq!(take(Condition::Version(3)).await, Ok(9));
        // Tokens as long locks give them: above 2^53, and with one digit more.
        let (old, new) = (999_999_999_999_999_999, 1_000_000_000_000_000_001);
        assert_eq!(wallets.open(&id, token(new)).await.unwrap(), Ok(Some(Wallet { balance: 9, version: 4 })));
        assert_eq!(wallets.open(&id, token(old)).await.unwrap(), Err(Stale { fence: new }));
        let held = |version, number| Condition::Held { version, token: token(number) };
        assert_eq!(take(held(4, old)).await, Err(Refusal::Stale));
        assert_eq!(take(held(4, new - 1)).await, Err(Refusal::Stale));
        assert_eq!(take(held(3, old)).await, Err(Refusal::Stale));
        assert_eq!(take(held(3, new)).await, Err(Refusal::Conflict));
        assert_eq!(take(held(4, new + 1)).await, Ok(8));
        assert_eq!(take(held(5, new)).await, Err(Refusal::Stale), "a write raises the fence too");
        assert_eq!(wallets.read(&id).await.unwrap(), Some(Wallet { balance: 8, version: 5 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_stalls_past_its_lease_cannot_write_and_is_counted() {
    let (stores, _dir) = all().await;
    for inner in &stores {
        let provider = provider();
        // Taken by each write that comes, and needed by it to go on.
        let gate = Arc::new((Semaphore::new(0), Semaphore::new(0)));
        let wait = {
            let gate = Arc::clone(&gate);
            move || -> Fut<'static, ()> {
                let gate = Arc::clone(&gate);
                Box::pin(async move {
                    gate.0.add_permits(1);
                    gate.1.acquire().await.unwrap().forget();
                })
            }
        };
        let slow = teller(&Meddling::with(inner, wait), &provider);
        let quick = teller(inner, &provider);
        quick.init(&user("u"), 100, None).await.unwrap();
        let late = tokio::spawn({
            let slow = Arc::clone(&slow);
            async move { slow.locked(&order("u", 30)).await.unwrap() }
        });
        gate.0.acquire().await.unwrap().forget();
        assert_eq!(withdraw(&quick, 2, &order("u", 1)).await, Outcome::Busy, "the lock is held");
        let held = provider.list(&Query::new(Kind::Leases, "")).await.unwrap().entries.remove(0);
        assert_eq!(held.names.to_string(), "wallet:withdraw:u");
        provider.force(held.lease, Force::Now).await.unwrap();
        assert_eq!(withdraw(&quick, 2, &order("u", 70)).await, Outcome::Done { balance: 30 });
        gate.1.add_permits(1);
        let refused = Withdrawal { outcome: Outcome::Busy, attempts: 1 };
        assert_eq!(late.await.unwrap(), refused, "{}", inner.store());
        assert_eq!(quick.balance(&user("u")).await.unwrap(), Some(30));
        assert_eq!(slow.counts(), Counts { stale_refusals: 1, ..Counts::default() });
        assert_eq!(quick.counts(), Counts { locks_busy: 1, ..Counts::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn one_process_s_optimists_do_not_get_into_each_other_s_way() {
    // Whoever has read lets everybody else go on before it writes. Nobody is ever idle, so no turn comes too late.
    let wait = || -> Fut<'static, ()> { Box::pin(tokio::task::yield_now()) };
    let inner: Arc<dyn Wallets> = Arc::new(Books::new(Arc::new(bank::ledger::Memory::default())));
    let teller = teller(&Meddling::with(&inner, wait), &provider());
    teller.init(&user("u"), 40, None).await.unwrap();
    let asked = (0..40).map(|_| {
        let teller = Arc::clone(&teller);
        tokio::spawn(async move { teller.optimistic(&order("u", 1)).await.unwrap() })
    });
    let mut left = HashSet::new();
    for done in futures_util::future::join_all(asked).await {
        let Withdrawal { outcome: Outcome::Done { balance }, attempts: 1 } = done.unwrap() else {
            panic!("somebody was in the way");
        };
        left.insert(balance);
    }
    assert_eq!(left.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_keeps_its_last_thousand_entries_and_redis_no_more() {
    let (wallets, prefix) = in_redis().await;
    let teller = teller(&wallets, &provider());
    for _ in 0..1_005 {
        teller.init(&user("u"), 2_000, None).await.unwrap();
    }
    for number in 0..1_005 {
        withdraw(&teller, number % 3, &order("u", 1)).await;
    }
    let history = wallets.history(&user("u")).await.unwrap();
    let told: Vec<(u64, i64)> = history.iter().map(|change| (change.version, change.balance)).collect();
    let wanted: Vec<(u64, i64)> = (0..1_000).map(|number| (2_010 - number, 995 + number as i64)).collect();
    assert_eq!(told, wanted);
    let lengths = tokio::task::spawn_blocking(move || {
        ["withdrawals", "adjustments"]
            .map(|list| server().command::<u64>(&["LLEN", &format!("{prefix}:{list}:u")]))
    });
    assert_eq!(lengths.await.unwrap(), [1_000, 1_000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_that_another_client_has_set_is_a_wallet_and_what_is_no_number_is_left_alone() {
    let (wallets, prefix) = in_redis().await;
    let teller = teller(&wallets, &provider());
    let key = |what: &str| format!("{prefix}:{what}:u");
    let command = |words: Vec<String>| {
        tokio::task::spawn_blocking(move || {
            server().command::<()>(&words.iter().map(String::as_str).collect::<Vec<_>>());
        })
    };
    for way in 0..3 {
        command(vec!["SET".into(), key("balance"), "10".into()]).await.unwrap();
        assert_eq!(withdraw(&teller, way, &order("u", 4)).await, Outcome::Done { balance: 6 });
    }
    for garbage in ["abcdef", "9e9", "007", " 100", "1.50", "9223372036854775808"] {
        command(vec!["SET".into(), key("balance"), garbage.into()]).await.unwrap();
        let told = teller.atomic(&order("u", 1)).await.unwrap_err();
        assert_eq!(told.kind(), tenure::ErrorKind::Internal, "{garbage}: {told}");
        assert_eq!(wallets.history(&user("u")).await.unwrap().len(), 3, "{garbage}");
    }
    command(vec!["SET".into(), key("balance"), "5".into()]).await.unwrap();
    command(vec!["DEL".into(), key("withdrawals")]).await.unwrap();
    command(vec!["SET".into(), key("withdrawals"), "x".into()]).await.unwrap();
    assert!(teller.atomic(&order("u", 1)).await.is_err());
    assert_eq!(teller.balance(&user("u")).await.unwrap(), Some(5), "nothing is taken that cannot be told");
}
