//! Summaries of accounts: they follow the outbox, whatever comes twice or is missing.

use bank::Config;
use bank::ledger::{AccountKey, Action, Entry, Notice, Step, Store, Summary};
use bank::projector::Projector;
use serde_json::{Value, json};
use tenure_testkit::{Ground, SETUPS};

use crate::stores::{self, Answer, Served};

fn key() -> AccountKey {
    AccountKey::account("a")
}

async fn notices(store: &dyn Store, actions: Vec<Action>) -> Vec<Notice> {
    let steps = actions.into_iter().map(|action| Step::new(vec![Entry::new(key(), action)]));
    store.apply(steps.collect()).await.unwrap();
    let mut events = store.history(&key(), None, 100).await.unwrap();
    events.reverse();
    events.iter().map(Notice::of).collect()
}

async fn summary(store: &dyn Store) -> Summary {
    store.summaries(&[AccountKey::account("x"), key()]).await.unwrap().pop().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_is_what_the_events_come_to_however_they_come() {
    let (books, _dir) = stores::all().await;
    for store in books {
        let projector = Projector::new(store.clone());
        let actions = vec![
            Action::Open { owner: Some("Ada".into()), balance: 10 },
            Action::Deposit(5),
            Action::Withdraw(3),
            Action::Adjust(i64::MAX),
            Action::Withdraw(i64::MAX),
            Action::Deposit(i64::MAX),
            Action::Close,
        ];
        let notices = notices(&*store, actions).await;
        // The first twice, then in order, an old one in between, and one missing.
        for place in [0, 0, 1, 2, 1, 3, 6, 5] {
            projector.take(&notices[place]).await.unwrap();
        }
        let followed = summary(&*store).await;
        let max = i128::from(i64::MAX);
        assert_eq!((followed.version, followed.balance, followed.is_open), (7, i64::MAX, false));
        assert_eq!((followed.paid_in.count, followed.paid_in.sum), (3, 15 + max), "{}", store.store());
        assert_eq!((followed.paid_out.count, followed.paid_out.sum), (2, 3 + max));
        assert_eq!(followed.owner.as_deref(), Some("Ada"));
        assert_eq!(projector.rebuild(&key()).await.unwrap(), Some(followed.clone()));
        assert_eq!(summary(&*store).await, followed);
        assert_eq!(projector.rebuild(&AccountKey::account("x")).await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_replaces_only_the_one_that_it_was_made_of() {
    let (books, _dir) = stores::all().await;
    for store in books {
        let projector = Projector::new(store.clone());
        let notices = notices(&*store, vec![Action::Open { owner: None, balance: 1 }]).await;
        projector.take(&notices[0]).await.unwrap();
        let first = summary(&*store).await;
        let second = Summary { version: 2, ..first.clone() };
        for (expected, is_replaced) in [(0, false), (2, false), (1, true), (1, false)] {
            let replaced = store.replace_summary(second.clone(), expected).await.unwrap();
            assert_eq!(replaced, is_replaced, "{} at {expected}", store.store());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_nobody_understands_is_refused_for_good() {
    let (books, _dir) = stores::all().await;
    let projector = Projector::new(books[0].clone());
    let mut wrong = notices(&*books[0], vec![Action::Adjust(1)]).await.remove(0);
    wrong.kind = "dance".to_owned();
    assert_eq!(projector.take(&wrong).await.unwrap_err().kind(), tenure::ErrorKind::InvalidInput);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_keeps_summaries_up() {
    for setup in SETUPS {
        let ground = Ground::new(setup).await;
        let bank = Served::on(&ground, Config::default()).await;
        let made = bank.post("/api/cqrs/accounts", r#"{"owner_name":"Ada","initial_balance":1.5}"#).await;
        let path = format!("/api/cqrs/accounts/{}", made.json()["id"].as_str().unwrap());
        let shown = format!("{path}/summary");
        delivered(&bank, &shown, 1).await;
        bank.post(&format!("{path}/withdraw"), r#"{"amount":0.5}"#).await;
        // What was cached has been ended by the summary that came.
        let summary = delivered(&bank, &shown, 2).await;
        assert_eq!(summary["balance"], 1, "{setup:?}");
        assert_eq!(summary["paid_out"], json!({"count": 1, "sum_in_hundredths": "50"}));
        let made = bank.post(&shown, "").await;
        assert_eq!((made.status, made.json()), (200, summary));
    }
}

/// The summary, once it tells of this version. Deliveries go on beside the test.
async fn delivered(bank: &Served, path: &str, version: u64) -> Value {
    let is_told = |answer: &Answer| answer.status == 200 && answer.json()["version"] == version;
    bank.until(path, is_told).await.json()
}
