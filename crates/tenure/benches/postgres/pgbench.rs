//! pgbench, which comes with PostgreSQL: what the server does for a client in C that does nothing else.

use std::process::{Command, Stdio};
use std::time::Duration;

use tenure_testkit::PostgresServer;

const SCRIPT: &str =
    "\\set k random(1, 100000)\nselect pg_advisory_lock(:k);\nselect pg_advisory_unlock(:k);\n";

/// Locks and unlocks a second with so many clients. It measures whole seconds, one at least.
pub fn rate(server: &PostgresServer, database: &str, clients: usize, slice: Duration) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("lock.sql");
    std::fs::write(&script, SCRIPT).unwrap();
    let seconds = slice.as_secs().max(1).to_string();
    let mut command = Command::new(tenure_testkit::postgres::binary("pgbench"));
    command.args(["-n", "-M", "prepared", "-T", &seconds, "-c", &clients.to_string(), "-j", "2", "-f"]);
    command.arg(script).args([
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-p",
        &server.port().to_string(),
        database,
    ]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or(f64::NAN)
}
