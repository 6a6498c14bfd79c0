//! The line to the server: one request and its reply, with time limits.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenure_wire::{ENDED_HEADER, Problem};

use crate::error::{Error, Result};

/// How long the server may take to answer, beyond the time that it was asked to wait. Its own limit for a store that does
/// not answer is shorter.
const ANSWER: Duration = Duration::from_secs(6);

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an idle connection is kept: less than the server keeps it, so that no request is sent into its closing.
const IDLE: Duration = Duration::from_secs(60);

/// How often a silent peer is probed for, so that a long poll does not hang on a machine that is gone.
const PROBE: Duration = Duration::from_secs(5);

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Line {
    client: Client,
    base: Url,
}

/// A request, without its body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb<'a> {
    Get(&'a str),
    Post(&'a str),
    Delete(&'a str),
}

/// What the server answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// What was ended, in the answer to a release.
    pub(super) ended: Option<String>,
    body: Vec<u8>,
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
        Ok(Line { client, base })
    }

    /// Sends a request; `wait` is how long the server is asked to wait with its answer.
    pub(super) async fn send<T: Serialize>(
        &self,
        verb: Verb<'_>,
        body: Option<&T>,
        wait: Duration,
    ) -> Result<Reply> {
        let request = match verb {
            Verb::Get(path) => self.client.get(self.url(path)?),
            Verb::Post(path) => self.client.post(self.url(path)?),
            Verb::Delete(path) => self.client.delete(self.url(path)?),
        };
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        read(request.timeout(ANSWER.saturating_add(wait))).await
    }

    /// Sends a GET with a query.
    pub(super) async fn send_query(&self, path: &str, pairs: &[(&str, &str)]) -> Result<Reply> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(pairs);
        read(self.client.get(url).timeout(ANSWER)).await
    }

    fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|_| Error::internal("connect", "a path that is none"))
    }
}

async fn read(request: RequestBuilder) -> Result<Reply> {
    let unavailable = |error: reqwest::Error| {
        let what = if error.is_timeout() {
            "the server did not answer in time"
        } else {
            "no answer from the server"
        };
        Error::unavailable("http", what).with_source(error.without_url())
    };
    let response = request.send().await.map_err(unavailable)?;
    let status = response.status().as_u16();
    let ended = response.headers().get(ENDED_HEADER).and_then(|word| word.to_str().ok()).map(str::to_owned);
    let body = response.bytes().await.map_err(unavailable)?.to_vec();
    Ok(Reply { status, ended, body })
}

impl Reply {
    /// Its body.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::unavailable("http", "an answer that is not understood").with_source(error)
        })
    }

    /// Its problem, when it is one.
    pub(super) fn problem(&self) -> Option<Problem> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether it is a problem of the kind `word`.
    pub(super) fn is_problem(&self, word: &str) -> bool {
        let kind = self.problem().map(|problem| problem.kind);
        kind.as_deref().and_then(|kind| kind.strip_prefix("urn:tenure:problem:")) == Some(word)
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
