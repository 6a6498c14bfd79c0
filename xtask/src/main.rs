//! Tasks of the workspace: `cargo xtask test`, `soak`, `guarantees`, `bench`. Each ends with one line that says how it went.

mod cargo;
mod figures;
mod guarantees;
mod network;
mod packages;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const USAGE: &str = "\
usage: cargo xtask <task>

  test           installs what the tests need, then runs them all
  soak [rounds]  runs the tests again and again with new seeds (default 20 times), then one that needs a network of its own
  guarantees     names the tests of the conformance suite in docs/guarantees.md
  bench [quick]  runs the benches and writes their tables to docs/performance.md (quick: prints, writes nothing)";

/// The number of tests at once, as the test harness reads it.
const THREADS: &str = "RUST_TEST_THREADS";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(line) => {
            println!("xtask: {line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Result<&'static str> {
    let root = root()?;
    match words {
        ["test"] => test(&root),
        ["soak"] => soak(&root, 20),
        ["soak", rounds] => soak(&root, rounds.parse().context("rounds is a number")?),
        ["guarantees"] => guarantees::write(&root),
        ["bench"] => figures::write(&root),
        ["bench", "quick"] => figures::print(&root),
        _ => bail!("no such task\n\n{USAGE}"),
    }
}

/// The directory of the workspace's manifest.
fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    Ok(root.to_owned())
}

/// Everything that a change must pass, but for formatting and lints.
fn test(root: &Path) -> Result<&'static str> {
    packages::install()?;
    let tests = ["test", "--workspace", "--all-targets"];
    cargo::run(root, "tests, benches once, examples built", &tests, &test_threads())?;
    let shuttle = ["test", "--package", "tenure", "--features", "shuttle", "--lib", "shuttle"];
    cargo::run(root, "interleavings of the local tier and the fast lane", &shuttle, &[])?;
    cargo::run(root, "examples in the documentation", &["test", "--workspace", "--doc"], &[])?;
    cargo::run(root, "the library alone", &["check", "--package", "tenure"], &[])?;
    let docs = ["doc", "--workspace", "--no-deps"];
    cargo::run(root, "documentation", &docs, &[("RUSTDOCFLAGS", "-D warnings")])?;
    Ok("all tests passed")
}

/// The same tests again and again, optimised: random tests draw a new seed each time, and print it.
fn soak(root: &Path, rounds: u32) -> Result<&'static str> {
    packages::install()?;
    for round in 1..=rounds {
        let heading = format!("round {round} of {rounds}");
        cargo::run(root, &heading, &["test", "--workspace", "--tests", "--release"], &test_threads())?;
    }
    network::run(root)?;
    Ok("all rounds passed")
}

/// How many tests run at once, unless the caller's environment says it: most wait on real time while the machine idles, so
/// that on two cores six at once take a third of the time of two.
fn test_threads() -> Vec<(&'static str, &'static str)> {
    let said = std::env::var_os(THREADS).is_some();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if said || cores > 4 { Vec::new() } else { vec![(THREADS, "6")] }
}
