//! Private Redis servers: the `redis-server` of this machine, in a temporary directory and on a loopback port of its own.
//!
//! A server ends with its [`RedisServer`], and with the process of the test however that ends.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::FromRedisValue;
use rustix::process::Signal;

use crate::daemon::{self, free_port};
use crate::process::signal;

/// How long a server may take to answer a command of a test, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many ports are tried: another process may take one between the look and the start.
const TRIES: usize = 20;

/// How a server is to be started. Defaults to one that keeps nothing on the disk and asks for no password.
#[derive(Clone, Default, Debug)]
#[must_use = "no server runs until `start` is called"]
pub struct RedisConfig {
    append_only: bool,
    password: Option<String>,
    lines: Vec<String>,
}

impl RedisConfig {
    /// Every write is in the append-only file before it is answered, so that it is there again after
    /// [`restart`](RedisServer::restart). It is not forced to the disk: only the crash of the machine would lose it.
    pub fn append_only(mut self) -> Self {
        self.append_only = true;
        self
    }

    /// Clients must know this password. It goes into URLs as it is: no sign of it may need an escape.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// A further line of the configuration file, as `maxmemory 10mb`.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Starts a server and waits until it accepts connections.
    ///
    /// # Panics
    /// When `redis-server` is missing (`cargo xtask test` installs it), or when it refuses the configuration.
    pub fn start(self) -> RedisServer {
        let directory = tempfile::tempdir().expect("a directory can be made");
        for _ in 0..TRIES {
            let port = free_port();
            self.write(directory.path(), port);
            match launch(directory.path()) {
                Ok(process) => return RedisServer { config: self, directory, port, process: Some(process) },
                Err(said) => assert!(said.contains("Address already in use"), "no redis-server:\n{said}"),
            }
        }
        panic!("{TRIES} ports were taken by others");
    }

    fn write(&self, directory: &Path, port: u16) {
        let place = directory.display();
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {port}"),
            format!("unixsocket {place}/redis.sock"),
            format!("dir {place}/data"),
            "save \"\"".to_owned(),
            format!("appendonly {}", if self.append_only { "yes" } else { "no" }),
            // Written to the file before each answer, and never held up by a slow disk.
            "appendfsync no".to_owned(),
        ];
        lines.extend(self.password.iter().map(|password| format!("requirepass {password}")));
        lines.extend_from_slice(&self.lines);
        fs::create_dir_all(directory.join("data")).expect("a directory can be made");
        fs::write(file_in(directory), lines.join("\n")).expect("the configuration can be written");
    }
}

/// A Redis server. It is killed when the value is dropped.
#[derive(Debug)]
pub struct RedisServer {
    config: RedisConfig,
    directory: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on the disk, and waits until it accepts connections.
    ///
    /// # Panics
    /// As [`RedisConfig::start`].
    pub fn start() -> Self {
        RedisConfig::default().start()
    }

    /// Its port on 127.0.0.1, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its URL, with the password where it has one.
    pub fn url(&self) -> String {
        let password = self.config.password.iter().map(|password| format!(":{password}@"));
        format!("redis://{}127.0.0.1:{}", password.collect::<String>(), self.port)
    }

    /// The path of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// The id of its process.
    ///
    /// # Panics
    /// When it was killed.
    pub fn pid(&self) -> u32 {
        self.running().id()
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // An error says that it is gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Kills it where it still runs, and starts it again on the same port with what it has on the disk: all that it has
    /// answered with [`append_only`](RedisConfig::append_only), nothing without.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Some(launch(self.directory.path()).expect("it has run on this port before"));
    }

    /// As [`restart`](Self::restart), with all of its data lost.
    ///
    /// # Panics
    /// As [`restart`](Self::restart).
    pub fn restart_empty(&mut self) {
        self.kill();
        let data = self.directory.path().join("data");
        fs::remove_dir_all(&data).and_then(|()| fs::create_dir(&data)).expect("the data can be removed");
        self.restart();
    }

    /// Stops it with SIGSTOP: connections stay, and nothing is answered.
    pub fn stop(&self) {
        signal(self.running(), Signal::STOP);
    }

    /// Lets it go on with SIGCONT.
    pub fn go_on(&self) {
        signal(self.running(), Signal::CONT);
    }

    /// What it answers to a command, over a connection for this alone. Blocks the thread until then.
    ///
    /// # Panics
    /// When it refuses, does not answer, or answers something else than a `T`.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let answer = || {
            let mut connection = redis::Client::open(self.url())?.get_connection_with_timeout(PATIENCE)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            redis::Cmd::new().arg(words).query(&mut connection)
        };
        answer().unwrap_or_else(|error: redis::RedisError| panic!("{words:?}: {error}"))
    }

    /// Sets a parameter of its configuration, until it is restarted.
    ///
    /// # Panics
    /// When it refuses.
    pub fn config_set(&self, parameter: &str, value: &str) {
        self.command::<()>(&["CONFIG", "SET", parameter, value]);
    }

    /// A field of what it says of itself (`INFO all`).
    ///
    /// # Panics
    /// When it has no such field.
    pub fn info(&self, field: &str) -> String {
        let text: String = self.command(&["INFO", "all"]);
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        let mut values = pairs.filter(|(name, _)| *name == field).map(|(_, value)| value.to_owned());
        values.next().unwrap_or_else(|| panic!("INFO has no {field}"))
    }

    fn running(&self) -> &Child {
        self.process.as_ref().expect("the server was killed")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn file_in(directory: &Path) -> PathBuf {
    directory.join("redis.conf")
}

/// Starts a server with the configuration in `directory` and waits until it accepts connections; what it said, when it ended
/// instead.
fn launch(directory: &Path) -> Result<Child, String> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "redis-server"]).arg(file_in(directory)).stdin(Stdio::null());
    daemon::launch(command, "eady to accept connections", "redis-server")
}
