//! Private PostgreSQL servers: the newest `postgres` of this machine, in a temporary directory and on a loopback port of its own.
//!
//! A server ends with its [`PostgresServer`], and with the process of the test however that ends. `initdb` runs once a
//! process; each server begins with a copy of what it made. [`PgBouncer`](crate::PgBouncer) stands in front of one.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::certificates::Certified;
use crate::daemon::{Account, Home, free_port, launch};
use crate::process::signal;

/// How many ports are tried: another process may take one between the look and the start.
const TRIES: usize = 20;

/// How often a killed server is started again, with a pause between: its other processes let go of what they share when
/// they notice that the first is gone.
const STARTS: usize = 400;
const PAUSE: Duration = Duration::from_millis(50);

/// What every server of tests is told: many connections, many locks, and no waiting for a disk.
const SETTINGS: &[&str] = &[
    "max_connections = 400",
    "max_locks_per_transaction = 256",
    "shared_buffers = 32MB",
    "fsync = off",
    "full_page_writes = off",
    "autovacuum_naptime = 5s",
    "log_min_messages = log",
    "log_connections = off",
    "max_wal_size = 64MB",
];

/// How a server is to be started. Defaults to one that trusts everybody on the loopback and forces nothing to the disk.
#[derive(Clone, Default, Debug)]
#[must_use = "no server runs until `start` is called"]
pub struct PostgresConfig {
    lines: Vec<String>,
    access: Option<String>,
    tls: Option<Certified>,
}

impl PostgresConfig {
    /// A further line of the configuration file, as `fsync = on`.
    pub fn line(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// What `pg_hba.conf` says instead of trusting everybody. The superuser is let in over the socket in any case.
    pub fn access(mut self, lines: &str) -> Self {
        self.access = Some(lines.to_owned());
        self
    }

    /// Lets in who comes encrypted too, and shows this certificate.
    pub fn tls(mut self, certified: &Certified) -> Self {
        self.tls = Some(certified.clone());
        self
    }

    /// Starts a server and waits until it accepts connections.
    ///
    /// # Panics
    /// When PostgreSQL is missing (`cargo xtask test` installs it), or when it refuses the configuration.
    pub fn start(self) -> PostgresServer {
        let home = Home::new("postgres");
        let data = home.path().join("data");
        home.run(Command::new("cp").args(["-a"]).arg(template()).arg(&data));
        if let Some(access) = &self.access {
            let lines = format!("local all postgres trust\n{access}\n");
            fs::write(data.join("pg_hba.conf"), lines).expect("the rules can be written");
        }
        if let Some(tls) = &self.tls {
            // It must be able to read them, and takes no key that others can.
            for (file, name) in [(&tls.certificate, "server.crt"), (&tls.key, "server.key")] {
                home.keep_secret(file, &data.join(name));
            }
        }
        for _ in 0..TRIES {
            let port = free_port();
            self.write(home.path(), port);
            match serve(&home) {
                Ok(process) => {
                    return PostgresServer {
                        home,
                        port,
                        process: Some(process),
                        databases: AtomicU32::new(0),
                    };
                }
                Err(said) => assert!(said.contains("could not bind"), "no postgres:\n{said}"),
            }
        }
        panic!("{TRIES} ports were taken by others");
    }

    fn write(&self, home: &Path, port: u16) {
        let mut lines: Vec<String> = SETTINGS.iter().map(ToString::to_string).collect();
        lines.push("listen_addresses = '127.0.0.1'".to_owned());
        lines.push(format!("port = {port}"));
        lines.push(format!("unix_socket_directories = '{}'", home.display()));
        lines.extend(self.tls.iter().map(|_| "ssl = on".to_owned()));
        lines.extend_from_slice(&self.lines);
        let file = home.join("data/postgresql.auto.conf");
        fs::write(file, lines.join("\n") + "\n").expect("the configuration can be written");
    }
}

/// A PostgreSQL server. It is ended when the value is dropped.
#[derive(Debug)]
pub struct PostgresServer {
    home: Home,
    port: u16,
    process: Option<Child>,
    databases: AtomicU32,
}

impl PostgresServer {
    /// Starts a server with the defaults, and waits until it accepts connections.
    ///
    /// # Panics
    /// As [`PostgresConfig::start`].
    pub fn start() -> Self {
        PostgresConfig::default().start()
    }

    /// Its port on 127.0.0.1, the same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The directory of its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// The URL of one of its databases, as the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database, and tells its name.
    ///
    /// # Panics
    /// When the server does not.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("create database {name} template template0"));
        name
    }

    /// What it answers to SQL in a database, as the superuser: a line for each row, with `|` between columns. Blocks the
    /// thread until then.
    ///
    /// # Panics
    /// When it refuses.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        psql(
            &format!(
                "host={} port={} user=postgres dbname={database}",
                self.home.path().display(),
                self.port
            ),
            sql,
        )
    }

    /// Ends a connection as an administrator does; whether there was one.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn terminate(&self, pid: i32) -> bool {
        self.sql("postgres", &format!("select pg_terminate_backend({pid})")) == "t"
    }

    /// The advisory locks in a database, held or waited for, as the server sees them.
    ///
    /// # Panics
    /// When the server does not answer.
    pub fn advisory_locks(&self, database: &str) -> usize {
        let count = format!(
            "select count(*) from pg_locks l join pg_database d on d.oid = l.database
            where l.locktype = 'advisory' and d.datname = '{database}'"
        );
        self.sql("postgres", &count).parse().expect("it is a number")
    }

    /// The id of its first process.
    ///
    /// # Panics
    /// When it was killed.
    pub fn pid(&self) -> u32 {
        self.running().id()
    }

    /// Kills its first process with SIGKILL: the others end by themselves, and nothing is written down.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // An error says that it is gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Kills it where it still runs, and starts it again on the same port: it recovers as after a crash.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.process = Some(again(&self.home));
    }

    /// Ends it as an administrator does, and starts it again on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart_cleanly(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal(&process, Signal::INT);
            let _ = process.wait();
        }
        self.process = Some(again(&self.home));
    }

    /// Stops its first process with SIGSTOP: connections stay and are served, new ones are not.
    pub fn stop(&self) {
        signal(self.running(), Signal::STOP);
    }

    /// Lets it go on with SIGCONT.
    pub fn go_on(&self) {
        signal(self.running(), Signal::CONT);
    }

    fn running(&self) -> &Child {
        self.process.as_ref().expect("the server was killed")
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // At once, but so that it takes its shared memory along; a stopped one hears it when it goes on.
            signal(&process, Signal::QUIT);
            signal(&process, Signal::CONT);
            let _ = process.wait();
        }
    }
}

/// What `initdb` makes, once for this process.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<Home> = OnceLock::new();
    let home = TEMPLATE.get_or_init(|| {
        let home = Home::new("template");
        let mut command = Command::new(binary("initdb"));
        command.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
        home.run(command.arg("--wal-segsize=1").arg(home.path().join("data")));
        home
    });
    Box::leak(home.path().join("data").into_boxed_path())
}

/// A program of the newest PostgreSQL of this machine.
pub fn binary(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| {
        entry.file_name().to_str().and_then(|version| version.parse::<u32>().ok()).unwrap_or(0)
    });
    newest.map_or_else(|| PathBuf::from(name), |version| version.path().join("bin").join(name))
}

/// What SQL answers over a connection for this alone.
pub(crate) fn psql(place: &str, sql: &str) -> String {
    let mut command = Command::new(binary("psql"));
    command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", place, "-c", sql]).stdin(Stdio::null());
    let output = command.output().expect("psql can be started");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn serve(home: &Home) -> Result<Child, String> {
    let mut command = home.command(&binary("postgres"), "QUIT");
    command.arg("-D").arg(home.path().join("data"));
    launch(command, "is ready to accept connections", "postgresql")
}

/// Starts a server that has run before, as soon as nothing of it is left.
#[allow(
    clippy::disallowed_methods,
    reason = "a thread of a test waits for processes that it cannot wait for otherwise"
)]
fn again(home: &Home) -> Child {
    let mut said = String::new();
    for _ in 0..STARTS {
        match serve(home) {
            Ok(process) => return process,
            Err(why) => said = why,
        }
        let is_held = ["still in use", "bind", "lock file"].iter().any(|word| said.contains(word));
        assert!(is_held, "no postgres:\n{said}");
        std::thread::sleep(PAUSE);
    }
    panic!("the processes of the killed server are still there:\n{said}")
}

/// The account that servers run as, for tests that write files for them.
pub fn account() -> Account {
    Account::of_servers()
}
