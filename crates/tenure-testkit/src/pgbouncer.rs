//! A private `pgbouncer` in front of a [`PostgresServer`]: the pool in transaction mode that applications are often given.

use std::fs;
use std::path::Path;
use std::process::Child;

use crate::daemon::{Home, free_port, launch};
use crate::postgres::{PostgresServer, psql};

/// A PgBouncer in transaction mode. It is ended when the value is dropped.
#[derive(Debug)]
pub struct PgBouncer {
    _home: Home,
    port: u16,
    process: Option<Child>,
}

impl PgBouncer {
    /// Starts one in transaction mode before all databases of a server, with at most `pool` connections to each.
    ///
    /// # Panics
    /// When `pgbouncer` is missing (`cargo xtask test` installs it), or does not start.
    pub fn start(server: &PostgresServer, pool: u32) -> Self {
        let home = Home::new("pgbouncer");
        let (port, backend) = (free_port(), server.port());
        let lines = format!(
            "[databases]\n* = host=127.0.0.1 port={backend} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
            listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n\
            max_client_conn = 1000\ndefault_pool_size = {pool}\nignore_startup_parameters = extra_float_digits\n"
        );
        let file = home.path().join("pgbouncer.ini");
        fs::write(&file, lines).expect("the configuration can be written");
        let mut command = home.command(Path::new("/usr/sbin/pgbouncer"), "KILL");
        command.arg(&file);
        let process = launch(command, "process up", "pgbouncer").unwrap_or_else(|said| panic!("{said}"));
        PgBouncer { _home: home, port, process: Some(process) }
    }

    /// The URL of a database of the server behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// What the server behind it answers to SQL, over a connection for this alone. Blocks the thread until then.
    ///
    /// # Panics
    /// When it refuses.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        psql(&self.url(database), sql)
    }

    /// Kills it with SIGKILL: clients lose their connections, and the server notices that they are gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // An error says that it is gone already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.kill();
    }
}
