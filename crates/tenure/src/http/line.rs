//! The line to the server: one request and its reply, with time limits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenure_wire::{BatchItem, BatchReply, BatchRequest, ENDED_HEADER, Granted, Place, Problem};

use super::words;
use crate::error::{Error, Result};

/// How long the server may take to answer. Its own limit for a store that does not answer is shorter.
const ANSWER: Duration = Duration::from_secs(6);

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an idle connection is kept: less than the server keeps it, so that no request is sent into its closing.
const IDLE: Duration = Duration::from_secs(60);

/// How often a silent peer is probed for, so that the stream of events does not hang on a machine that is gone.
const PROBE: Duration = Duration::from_secs(5);

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Line {
    client: Client,
    base: Url,
    in_flight: AtomicU64,
}

/// A request, without its body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb<'a> {
    Get(&'a str),
    Post(&'a str),
    Delete(&'a str),
}

/// A request on its way, counted until it is dropped.
struct Trip<'a>(&'a AtomicU64);

impl<'a> Trip<'a> {
    fn begin(in_flight: &'a AtomicU64) -> Self {
        in_flight.fetch_add(1, Ordering::Relaxed);
        Trip(in_flight)
    }
}

impl Drop for Trip<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the server answered, to a request of its own or to one of a batch.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What was ended, in the answer to a release.
    pub(super) ended: Option<String>,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Body(Vec<u8>, Option<Box<Problem>>),
    Item(Box<BatchItem>),
}

impl Line {
    pub(super) fn new(url: &str) -> Result<Self> {
        let bad = |what: &'static str| Error::invalid("url", what);
        // Neither the URL nor the parser's words are shown: there may be a password in them.
        let mut base = Url::parse(url).map_err(|_| bad("not a URL: http://host:port is expected"))?;
        if base.scheme() != "http" {
            return Err(bad("only http: is spoken to a tenure server"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(bad("a tenure server takes no user and password"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(bad("the URL of a tenure server has no query and no fragment"));
        }
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let client = Client::builder()
            // A proxy of the environment, or a redirect, must not divert locks to another server.
            .no_proxy()
            .redirect(Policy::none())
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(PROBE)
            .connect_timeout(CONNECT)
            .pool_idle_timeout(IDLE)
            .user_agent(concat!("tenure/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("connect", "no HTTP client").with_source(error))?;
        Ok(Line { client, base, in_flight: AtomicU64::new(0) })
    }

    /// Sends a request.
    pub(super) async fn send<T: Serialize>(&self, verb: Verb<'_>, body: Option<&T>) -> Result<Reply> {
        let request = match verb {
            Verb::Get(path) => self.client.get(self.url(path)?),
            Verb::Post(path) => self.client.post(self.url(path)?),
            Verb::Delete(path) => self.client.delete(self.url(path)?),
        };
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.trip(request).await
    }

    async fn trip(&self, request: RequestBuilder) -> Result<Reply> {
        let _trip = Trip::begin(&self.in_flight);
        read(request.timeout(ANSWER)).await
    }

    /// How many requests are on their way.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Sends a batch: a reply for each of its `count` requests.
    pub(super) async fn send_batch(&self, body: &BatchRequest, count: usize) -> Result<Vec<Reply>> {
        let reply = self.send(Verb::Post("v1/batch"), Some(body)).await?;
        if reply.status != 200 {
            return Err(words::refusal("batch", &reply));
        }
        let items = reply.json::<BatchReply>()?.items;
        if items.len() != count {
            return Err(words::strange("a batch with the wrong number of answers"));
        }
        Ok(items.into_iter().map(Reply::of_item).collect())
    }

    /// Opens a stream, which has no time limit as a whole.
    pub(super) async fn open<T: Serialize>(&self, path: &str, body: &T) -> Result<Response> {
        let opened = tokio::time::timeout(ANSWER, self.client.post(self.url(path)?).json(body).send()).await;
        let response = opened.map_err(words::strange)?.map_err(unavailable)?;
        if response.status().as_u16() != 200 {
            return Err(Error::unavailable(
                "listen",
                format!("no stream of events status={}", response.status()),
            ));
        }
        Ok(response)
    }

    /// Sends a GET with a query.
    pub(super) async fn send_query(&self, path: &str, pairs: &[(&str, &str)]) -> Result<Reply> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(pairs);
        self.trip(self.client.get(url)).await
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|_| Error::internal("connect", "a path that is none"))
    }
}

fn unavailable(error: reqwest::Error) -> Error {
    let what =
        if error.is_timeout() { "the server did not answer in time" } else { "no answer from the server" };
    Error::unavailable("http", what).with_source(error.without_url())
}

async fn read(request: RequestBuilder) -> Result<Reply> {
    let response = request.send().await.map_err(unavailable)?;
    let status = response.status().as_u16();
    let ended = response.headers().get(ENDED_HEADER).and_then(|word| word.to_str().ok()).map(str::to_owned);
    let body = response.bytes().await.map_err(unavailable)?.to_vec();
    let problem = if status >= 400 { serde_json::from_slice(&body).ok() } else { None };
    Ok(Reply { status, ended, said: Said::Body(body, problem) })
}

impl Reply {
    fn of_item(item: BatchItem) -> Self {
        Reply { status: item.status, ended: item.ended.clone(), said: Said::Item(Box::new(item)) }
    }

    /// Its body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        match &self.said {
            Said::Body(body, _) => serde_json::from_slice(body).map_err(words::strange),
            Said::Item(_) => Err(words::strange("an item of a batch has no body")),
        }
    }

    pub(super) fn granted(&self) -> Result<Granted> {
        match &self.said {
            Said::Body(..) => self.json(),
            Said::Item(item) => item.granted.clone().ok_or_else(|| words::strange("a grant is missing")),
        }
    }

    pub(super) fn place(&self) -> Result<Place> {
        match &self.said {
            Said::Body(..) => self.json(),
            Said::Item(item) => item.place.clone().ok_or_else(|| words::strange("a place is missing")),
        }
    }

    /// Its problem, when it is one.
    pub(super) fn problem(&self) -> Option<&Problem> {
        match &self.said {
            Said::Body(_, problem) => problem.as_deref(),
            Said::Item(item) => item.problem.as_ref(),
        }
    }

    /// Whether it is a problem of the kind `word`.
    pub(super) fn is_problem(&self, word: &str) -> bool {
        let kind = self.problem().map(|problem| problem.kind.as_str());
        kind.and_then(|kind| kind.strip_prefix("urn:tenure:problem:")) == Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_password_is_refused_without_showing_it() {
        let bad = [
            "http://me:secret@host",
            "https://host",
            "file:///secret",
            "http://",
            "secret",
            "http://h/?secret",
        ];
        for url in bad {
            let refused = Line::new(url).unwrap_err();
            assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        }
    }

    #[test]
    fn a_prefix_is_kept() {
        for url in ["http://h:1/tenure", "http://h:1/tenure/"] {
            let line = Line::new(url).unwrap();
            assert_eq!(line.url("v1/acquire").unwrap().as_str(), "http://h:1/tenure/v1/acquire");
        }
    }
}
