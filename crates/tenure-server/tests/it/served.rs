//! A server on a port of its own, ended with the test.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tenure::{Clock, LeaseId, Locks, Memory, Provider, Settings};
use tenure_server::{Config, router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running server.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) config: Config,
    pub(crate) store: Memory,
    pub(crate) task: JoinHandle<tenure::Result<bool>>,
    client: Client,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Served::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let store = Memory::new(Clock::system());
        let app = router(&over(store.clone()), config.clone());
        Served::app(app, store, config).await
    }

    pub(crate) async fn over(provider: Arc<dyn Provider>, config: Config) -> Self {
        let app = router(&Locks::over(provider, Settings::default()), config.clone());
        Served::app(app, Memory::new(Clock::system()), config).await
    }

    pub(crate) async fn app(app: axum::Router, store: Memory, config: Config) -> Self {
        Served::at("127.0.0.1:0", app, store, config).await
    }

    pub(crate) async fn at(address: &str, app: axum::Router, store: Memory, config: Config) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = config.shutdown.clone();
        let task = tokio::spawn(serve(listener, app, config.clone(), async move { shutdown.begun().await }));
        let client = Client::builder().no_proxy().build().unwrap();
        Served { address, config, store, task, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.post_raw(path, body.to_string()).await
    }

    pub(crate) async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.client.post(self.url(path)).header("content-type", "application/json");
        Answer::read(request.body(body).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::read(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::read(self.client.delete(self.url(path)).send().await.unwrap()).await
    }

    /// A connection that speaks bytes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// A connection that has sent a POST and not read its answer.
    pub(crate) async fn raw_post(&self, path: &str, body: &Value) -> TcpStream {
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.raw(format!("{head}{body}").as_bytes()).await
    }

    pub(crate) async fn leases(&self) -> Vec<Value> {
        self.get("/v1/leases").await.json["leases"].as_array().unwrap().clone()
    }

    pub(crate) async fn waiters(&self) -> Vec<Value> {
        self.get("/v1/waiters").await.json["waiters"].as_array().unwrap().clone()
    }

    /// Asks until the number of waiters is `count`: what it waits for is on its way and has no other sign.
    pub(crate) async fn until_waiters(&self, count: usize) {
        while self.waiters().await.len() != count {
            tokio::task::yield_now().await;
        }
    }

    /// Asks until the number of leases is `count`.
    pub(crate) async fn until_leases(&self, count: usize) {
        while self.leases().await.len() != count {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.config.shutdown.begin();
        self.task.abort();
    }
}

impl Answer {
    async fn read(response: Response) -> Self {
        let headers = response.headers().clone();
        let kind = headers.get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, kind, headers, json, text }
    }

    /// Asserts that it is a problem of this status.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.kind, "application/problem+json", "{}", self.text);
        assert_eq!(self.json["status"], status);
        for field in ["type", "title", "detail"] {
            assert!(self.json[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {}", self.text);
        }
        self
    }

    /// Asserts that it is a problem of this status in this field.
    #[track_caller]
    pub(crate) fn in_field(self, status: u16, field: &str) -> Self {
        let answer = self.problem(status);
        assert_eq!(answer.json["field"], field, "{}", answer.text);
        answer
    }

    /// Asserts that it is a success of this status.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    pub(crate) fn lease(&self) -> String {
        self.json["lease"].as_str().unwrap().to_owned()
    }

    pub(crate) fn token(&self) -> u64 {
        self.json["token"].as_str().unwrap().parse().unwrap()
    }
}

pub(crate) fn over(store: Memory) -> Locks {
    Locks::over(Arc::new(store), Settings::default())
}

pub(crate) fn lease_id() -> String {
    LeaseId::random().reveal()
}

/// An acquire of one name.
pub(crate) fn ask(name: &str) -> Value {
    json!({ "name": name })
}

/// Reads what the server sends until it closes the connection.
pub(crate) async fn read_to_end(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
