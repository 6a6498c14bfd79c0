//! A real browser: Debian's Chromium, driven through its driver by the W3C WebDriver protocol.
//!
//! The driver listens on a loopback port of its own, and it and the browser end with the [`Browser`].

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// How long a page may take to show what is expected of it, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    session: String,
    client: reqwest::Client,
    driver: Driver,
    _profile: tempfile::TempDir,
}

/// The driver's process group, the browser included.
#[derive(Debug)]
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

impl Browser {
    /// Starts Chromium without a window, `width` by `height` pixels.
    ///
    /// # Panics
    /// When `chromedriver` or `chromium` is missing: `cargo xtask test` installs them.
    pub async fn start(width: u32, height: u32) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("chromedriver is installed by `cargo xtask test`");
        let stdout = child.stdout.take().unwrap();
        let driver = Driver(child);
        let port = port_of(tokio::process::ChildStdout::from_std(stdout).unwrap()).await;
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let options = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{port}/session");
        let answer = ask(client.post(&url).json(&options)).await;
        let session = format!("{url}/{}", answer["sessionId"].as_str().expect("a session began"));
        Browser { session, client, driver, _profile: profile }
    }

    /// Opens a page and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.post("url", json!({"url": url})).await;
    }

    /// What the JavaScript expression says.
    pub async fn eval(&self, expression: &str) -> Value {
        self.post("execute/sync", json!({"script": format!("return ({expression})"), "args": []})).await
    }

    /// Waits until the JavaScript expression is true.
    ///
    /// # Panics
    /// When it is not for a minute; with the text of the page.
    pub async fn until(&self, expression: &str) {
        let seen = async {
            while self.eval(expression).await != json!(true) {
                // Each look is a trip to the browser, which lets the page go on.
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("never true: {expression}\n{}", self.eval("document.body.innerText").await);
        }
    }

    /// Writes a picture of the page as PNG.
    pub async fn picture(&self, path: &Path) {
        let text = ask(self.client.get(format!("{}/screenshot", self.session))).await;
        std::fs::write(path, base64(text.as_str().unwrap())).unwrap();
    }

    /// Ends the browser and its driver.
    pub async fn close(self) {
        ask(self.client.delete(&self.session)).await;
        drop(self.driver);
    }

    async fn post(&self, what: &str, body: Value) -> Value {
        ask(self.client.post(format!("{}/{what}", self.session)).json(&body)).await
    }
}

async fn ask(request: reqwest::RequestBuilder) -> Value {
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(answer["value"]["error"].is_null(), "the browser refused: {answer}");
    answer["value"].clone()
}

/// The port that the driver says it listens on.
async fn port_of(stdout: tokio::process::ChildStdout) -> u16 {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, rest)) = line.split_once("successfully on port ") {
            return rest.trim_end_matches('.').parse().unwrap();
        }
    }
    panic!("chromedriver ended without a word of its port");
}

/// Decodes standard base64 as WebDriver sends it.
fn base64(text: &str) -> Vec<u8> {
    let value = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    bytes
}
