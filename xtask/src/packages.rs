//! What the tests need beside the Rust toolchain and a C compiler, and how it comes onto a Debian or Ubuntu machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A program that tests start, in private directories and on private ports.
struct Need {
    /// The package of Debian and Ubuntu that brings it.
    package: &'static str,
    /// Its binary, under any of these names.
    binaries: &'static [&'static str],
    /// Why it is here.
    reason: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        package: "chromium",
        binaries: &["chromium", "chromium-browser", "google-chrome"],
        reason: "the dashboard is tested in a browser",
    },
    Need { package: "chromium-driver", binaries: &["chromedriver"], reason: "drives that browser" },
    Need {
        package: "redis-server",
        binaries: &["redis-server"],
        reason: "the store of the Redis provider, whose faults are tested today",
    },
    Need {
        package: "postgresql",
        binaries: &["postgres"],
        reason: "the store of the PostgreSQL provider, whose faults are tested today",
    },
    Need {
        package: "pgbouncer",
        binaries: &["pgbouncer"],
        reason: "the pool that the PostgreSQL provider must work behind, or know",
    },
];

/// Installs the packages whose binaries are missing, where it can, and starts none of their services.
///
/// # Errors
/// When a program that a test uses is missing in the end.
pub(crate) fn install() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("xtask: {} is missing: {}", need.package, need.reason);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let tried = match Apt::find() {
        Some(apt) => apt.install(&packages),
        None => Err(anyhow::anyhow!("this machine has no apt-get that may install, as root or by sudo")),
    };
    if let Err(error) = tried {
        eprintln!("xtask: {error:#}");
    }
    let left: Vec<&str> = self::missing().iter().map(|need| need.package).collect();
    if left.is_empty() {
        return Ok(());
    }
    bail!("install what the tests use, by the means of this machine, and call again: {}", left.join(" "));
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !need.binaries.iter().any(|binary| is_installed(binary))).collect()
}

fn is_installed(binary: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers lie outside of a user's PATH, and PostgreSQL's in a directory per version.
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .chain(versions.map(|version| version.path().join("bin")))
        .any(|directory| directory.join(binary).is_file())
}

/// The rule of Debian by which packages start no service when they are installed. It stands while packages are
/// installed for tests and is gone afterwards; a machine that has such a rule of its own keeps it.
const RULE: &str = "/usr/sbin/policy-rc.d";

/// The right to install packages without a question.
struct Apt {
    by_sudo: bool,
}

impl Apt {
    fn find() -> Option<Apt> {
        let runs = |program: &str, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if !runs("apt-get", &["--version"]) {
            return None;
        }
        let id = Command::new("id").arg("-u").output().ok()?;
        if id.stdout.trim_ascii() == b"0" {
            return Some(Apt { by_sudo: false });
        }
        runs("sudo", &["-n", "true"]).then_some(Apt { by_sudo: true })
    }

    fn install(&self, packages: &[&str]) -> Result<()> {
        let _rule = NoServices::declare(self)?;
        self.apt_get(&["-q", "update"])?;
        let mut args = vec!["-q", "install", "--yes", "--no-install-recommends"];
        args.extend(packages);
        self.apt_get(&args)
    }

    fn apt_get(&self, args: &[&str]) -> Result<()> {
        eprintln!("xtask: apt-get {}", args.join(" "));
        // Another apt may be at work: wait for it rather than fail.
        let mut words = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"];
        words.extend(args);
        self.run("env", &words)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<()> {
        let mut command = Command::new(if self.by_sudo { "sudo" } else { program });
        if self.by_sudo {
            command.args(["-n", program]);
        }
        let status = command.args(args).stdin(Stdio::null()).status();
        let status = status.with_context(|| format!("{program} could not be started"))?;
        if !status.success() {
            bail!("{program} {} failed ({status})", args.join(" "));
        }
        Ok(())
    }
}

/// The [`RULE`] while it stands.
struct NoServices<'a>(&'a Apt);

impl NoServices<'_> {
    /// The second line of our rule: one that an interrupted run left behind is known by it.
    const MARK: &'static str = "# No service starts while packages are installed for tests.";

    /// `None` where the machine has a rule of its own.
    fn declare(apt: &Apt) -> Result<Option<NoServices<'_>>> {
        if Path::new(RULE).exists() {
            let ours = fs::read_to_string(RULE).is_ok_and(|rule| rule.contains(Self::MARK));
            // Built only where it is ours: the value's end removes the rule.
            return Ok(if ours { Some(NoServices(apt)) } else { None });
        }
        let rule = NoServices(apt);
        let write =
            format!("printf '%s\\n' '#!/bin/sh' '{}' 'exit 101' >{RULE} && chmod 755 {RULE}", Self::MARK);
        apt.run("sh", &["-c", &write])?;
        Ok(Some(rule))
    }
}

impl Drop for NoServices<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.run("rm", &["-f", RULE]) {
            eprintln!("xtask: {RULE} is left behind: {error:#}");
        }
    }
}
