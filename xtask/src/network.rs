//! A network that drops packets without a word, between namespaces of the kernel: not every machine gives them.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};

/// The test that plays a role, and the role; `crates/tenure/tests/it/network.rs` tells what it does.
const TEST: &[&str] =
    &["test", "--release", "--package", "tenure", "--test", "it", "--", "--exact", "--nocapture"];
const PLAYER: &str = "network::a_child_plays_its_role";
const ROLE: (&str, &str) = ("TENURE_TEST_ROLE", "network");

/// Ways to a network of one's own: as root, and as an ordinary user in a user namespace.
const WAYS: &[&[&str]] = &[&["--net"], &["--user", "--map-current-user", "--keep-caps", "--net"]];

/// Drops packets between a holder and its server, where this machine lets us.
///
/// # Errors
/// When the test fails. A machine that gives no network is told of, and is no error.
pub(crate) fn run(root: &Path) -> Result<()> {
    let heading = "packets that are dropped between network namespaces";
    let mut refusals = String::new();
    for way in WAYS {
        let tried = unshare(way).args(["ip", "link", "add", "near", "type", "veth"]).output();
        match tried {
            Ok(Output { status, .. }) if status.success() => {
                eprintln!("xtask: {heading}: cargo {} {PLAYER}", TEST.join(" "));
                let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut command = unshare(way);
                command.arg(cargo).args(TEST).arg(PLAYER).env(ROLE.0, ROLE.1).current_dir(root);
                let status = command.status().context("unshare could not be started")?;
                if !status.success() {
                    bail!("{heading} failed ({status})");
                }
                return Ok(());
            }
            Ok(refused) => refusals += String::from_utf8_lossy(&refused.stderr).trim(),
            Err(error) => refusals += &error.to_string(),
        }
        refusals += "; ";
    }
    eprintln!("xtask: {heading}: left out, this machine gives us no network of our own: {refusals}");
    Ok(())
}

fn unshare(way: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(way);
    command
}
