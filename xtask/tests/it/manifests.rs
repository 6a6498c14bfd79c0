//! Rules of manifests: versions stand in the workspace's alone, and everybody takes its lints.

use crate::none;
use crate::tree;

/// A crate's tests may use the crate itself with other features; that has no version.
const SELF: &str = "path = \".\"";

#[test]
fn versions_of_dependencies_stand_in_the_workspace_manifest_alone() {
    let mut findings = Vec::new();
    for file in tree::all().iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        let mut inside = false;
        for (number, line) in file.lines() {
            if line.starts_with('[') {
                inside = line.trim_end_matches(']').ends_with("dependencies");
            } else if inside
                && line.contains('=')
                && !line.contains("workspace = true")
                && !line.contains(SELF)
            {
                findings.push(format!("{}:{number} {line}", file.path));
            }
        }
    }
    none("`name.workspace = true`", &findings);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let mut findings = Vec::new();
    for file in tree::all().iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        if !file.text.contains("[lints]\nworkspace = true") {
            findings.push(file.path.clone());
        }
    }
    none("`[lints] workspace = true`", &findings);
}
