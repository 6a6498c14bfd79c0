//! Steps that cargo runs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs `cargo args…` in `root` with its output shown, under a heading.
pub(crate) fn run(root: &Path, heading: &str, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    eprintln!("xtask: {heading}: cargo {}", args.join(" "));
    let status = command(root, args, env).status().context("cargo could not be started")?;
    if !status.success() {
        bail!("{heading} failed: cargo {} ({status})", args.join(" "));
    }
    Ok(())
}

/// Runs `cargo args…` in `root` and gives what it wrote to its standard output.
pub(crate) fn output(root: &Path, heading: &str, args: &[&str]) -> Result<String> {
    eprintln!("xtask: {heading}: cargo {}", args.join(" "));
    let output =
        command(root, args, &[]).stderr(Stdio::inherit()).output().context("cargo could not be started")?;
    if !output.status.success() {
        bail!("{heading} failed: cargo {} ({})", args.join(" "), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{heading} did not print text"))
}

fn command(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Command {
    // The cargo that runs this task: a toolchain that was chosen with `+` stays chosen.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).envs(env.iter().copied()).current_dir(root).stdin(Stdio::null());
    command
}
