//! The servers that the tests share, and banks over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bank::ledger::{Memory, Postgres, Sqlite, Store};
use bank::{Bank, Config, Work};
use serde_json::Value;
use tempfile::TempDir;
use tenure_server::stores::Stores;
use tenure_testkit::Ground;
use tenure_testkit::ground::fresh_database;
use tokio::net::TcpListener;

/// Fresh books of each kind. A file lives as long as its directory.
pub(crate) async fn all() -> (Vec<Arc<dyn Store>>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&dir.path().join("bank.db")).unwrap();
    let postgres = Postgres::connect(&fresh_database().await).await.unwrap();
    (vec![Arc::new(Memory::default()), Arc::new(sqlite), Arc::new(postgres)], dir)
}

/// A bank that is served on a port of its own until the runtime of the test ends.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) bank: Arc<Bank>,
    _work: Work,
    client: reqwest::Client,
}

/// What was answered: the status, and the body as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Served {
    /// A bank on these stores, served: another instance each time.
    pub(crate) async fn on(ground: &Ground, config: Config) -> Self {
        let stores = Stores::of(|name| ground.variable(name));
        Served::of(Bank::open(&stores, ground.dir(), config).await.unwrap()).await
    }

    pub(crate) async fn of(bank: Bank) -> Self {
        let bank = Arc::new(bank);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = tenure_server::Config::default();
        let app = bank::router(&bank, config.clone());
        tokio::spawn(tenure_server::serve(listener, app, config, std::future::pending()));
        let work = bank.start();
        Served { address, bank, _work: work, client: reqwest::Client::new() }
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer { status: response.status().as_u16(), text: response.text().await.unwrap() }
    }

    /// A POST to be completed.
    pub(crate) fn to(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(self.client.get(format!("http://{}{path}", self.address))).await
    }

    /// What is answered as soon as it is what was waited for: the bank goes on beside a test.
    pub(crate) async fn until(&self, path: &str, is_it: impl Fn(&Answer) -> bool) -> Answer {
        let mut last = None;
        for _ in 0..3_000 {
            let answer = self.get(path).await;
            if is_it(&answer) {
                return answer;
            }
            last = Some(answer);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} went on answering {last:?}");
    }

    /// Posts a body as it stands.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(self.to(path).header("content-type", "application/json").body(body.to_owned())).await
    }
}
