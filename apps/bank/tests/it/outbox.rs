//! The delivery of what the books tell: at least once, in order, and not for ever.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bank::ledger::{AccountKey, Action, Entry, Fut, Message, Notice, State, Step, Store};
use bank::outbox::{Cleaned, Delivery, Handler, Jobs, Settings, Undelivered};
use parking_lot::Mutex;
use tenure::{Locks, Once};
use tokio_util::sync::CancellationToken;

use crate::stores;

/// Remembers what came, and refuses what it is told to.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Vec<(String, u64)>>,
    refuses: Mutex<HashMap<u64, Undelivered>>,
}

impl Handler for Ear {
    fn deliver<'a>(&'a self, message: &'a Message, notice: &'a Notice) -> Fut<'a, Result<(), Undelivered>> {
        Box::pin(async move {
            let refused = self.refuses.lock().get(&notice.version).cloned();
            self.heard.lock().push((message.account.clone(), notice.version));
            // A delivery takes its time, so that others meet it.
            tokio::task::yield_now().await;
            refused.map_or(Ok(()), Err)
        })
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.pause = Duration::from_millis(5);
    settings.first_retry = Duration::from_millis(1);
    settings.attempts = 3;
    settings
}

fn delivery(store: &Arc<dyn Store>, locks: &Locks, ear: &Arc<Ear>) -> Delivery {
    let handlers: Vec<Arc<dyn Handler>> = vec![Arc::<Ear>::clone(ear)];
    Delivery::new(Arc::clone(store), locks.clone(), handlers, settings())
}

async fn write(store: &dyn Store, accounts: usize, deposits: usize) {
    for account in 0..accounts {
        let key = AccountKey::account(account.to_string());
        let opening = Step::new(vec![Entry::new(key.clone(), Action::Open { owner: None, balance: 0 })]);
        let deposits = (0..deposits).map(|_| Step::new(vec![Entry::new(key.clone(), Action::Deposit(1))]));
        store.apply(std::iter::once(opening).chain(deposits).collect()).await.unwrap();
    }
}

/// Delivers round by round until nothing is open any more.
async fn until_all_are_told(store: &dyn Store, delivery: &Delivery) {
    loop {
        let tally = store.tally().await.unwrap();
        if tally.pending + tally.processing == 0 {
            return;
        }
        delivery.round().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_deliver_each_event_in_the_order_of_its_account() {
    let (books, _dir) = stores::all().await;
    for store in &books {
        write(&**store, 10, 9).await;
        let (locks, ear) = (Locks::memory(), Arc::new(Ear::default()));
        let end = CancellationToken::new();
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let (delivery, end) = (delivery(store, &locks, &ear), end.clone());
            running.spawn(async move { delivery.run(end).await });
        }
        while store.tally().await.unwrap().processed < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        end.cancel();
        running.join_all().await;
        let heard = ear.heard.lock().clone();
        assert_eq!(heard.len(), 100, "{}: nothing fails here, so nothing comes twice", store.store());
        for account in 0..10 {
            let versions = heard.iter().filter(|(id, _)| *id == format!("account:{account}"));
            assert!(versions.map(|(_, version)| *version).eq(1..=10), "{}", store.store());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fails_is_tried_again_and_given_up_at_last_without_stopping_others() {
    let (books, _dir) = stores::all().await;
    for store in &books {
        write(&**store, 1, 3).await;
        let (locks, ear) = (Locks::memory(), Arc::new(Ear::default()));
        ear.refuses.lock().insert(2, Undelivered::Later("not now".to_owned()));
        ear.refuses.lock().insert(3, Undelivered::Never("not at all".to_owned()));
        until_all_are_told(&**store, &delivery(store, &locks, &ear)).await;
        let versions: Vec<u64> = ear.heard.lock().iter().map(|(_, version)| *version).collect();
        assert_eq!(versions, [1, 2, 2, 2, 3, 4], "{}", store.store());
        let dead = store.messages(State::Failed, 10).await.unwrap();
        let told: Vec<(u64, u32, Option<&str>)> = dead
            .iter()
            .map(|message| (message.version, message.attempts, message.error.as_deref()))
            .collect();
        assert_eq!(told, [(2, 3, Some("not now")), (3, 1, Some("not at all"))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_lock_is_busy_is_skipped_and_one_that_cannot_be_read_is_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bank.db");
    let store: Arc<dyn Store> = Arc::new(bank::ledger::Sqlite::open(&path).unwrap());
    write(&*store, 2, 0).await;
    let changed = rusqlite::Connection::open(&path).unwrap();
    changed.execute("update message set body = '{' where id = 2", []).unwrap();
    let (locks, ear) = (Locks::memory(), Arc::new(Ear::default()));
    let busy = locks.lock("outbox:message:1").acquire().await.unwrap();
    let delivery = delivery(&store, &locks, &ear);
    assert_eq!(delivery.round().await.unwrap(), 1);
    assert!(ear.heard.lock().is_empty());
    assert_eq!(store.messages(State::Failed, 10).await.unwrap().len(), 1);
    busy.release().await.unwrap();
    assert_eq!(delivery.round().await.unwrap(), 1);
    assert_eq!(*ear.heard.lock(), [("account:0".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_done_by_one_of_many_instances() {
    let (books, _dir) = stores::all().await;
    for store in &books {
        let locks = Locks::memory();
        let jobs = [Jobs::new(Arc::clone(store), locks.clone()), Jobs::new(Arc::clone(store), locks.clone())];
        let [first, second] = [jobs[0].clean_up().await.unwrap(), jobs[1].clean_up().await.unwrap()];
        assert_eq!((first, second), (Once::Ran(Cleaned::default()), Once::Skipped));
    }
}
