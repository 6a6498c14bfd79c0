//! Tidy: the rules of the house that a machine can check, as ordinary tests (see STYLE.md).
#![allow(clippy::unwrap_used, reason = "what goes wrong in a test fails it")]

mod docs;
mod manifests;
mod source;
mod tree;

/// Fails with every finding at once, each on a line of its own.
#[track_caller]
fn none(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}
