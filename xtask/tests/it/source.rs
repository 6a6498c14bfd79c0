//! Rules of Rust files: length, nothing unfinished, nothing switched off, no sleeping tests, one-way dependencies.

use crate::none;
use crate::tree;

/// Lines of a file without its tests: more is two files.
const MAX_FILE: usize = 400;

/// Lines of a function, signature and braces included: more is two functions.
const MAX_FUNCTION: usize = 70;

/// Tests that may sleep, with what the sleep is for. A sleep that waits for something to have happened is not
/// among them: await a signal, or ask until a deadline.
const SLEEPERS: &[(&str, &str)] = &[
    ("apps/bank/tests/it/outbox.rs", "asks the books again until what it waits for is written there"),
    ("apps/bank/tests/it/stores.rs", "asks a bank again until it answers what is waited for"),
    ("apps/bank/tests/it/storm/mod.rs", "a stop has to outlast a lease, and deaths come at random moments"),
    ("apps/rides/tests/it/storm/journey.rs", "a client that was not answered asks again a moment later"),
    ("apps/rides/tests/it/storm/mod.rs", "a stop has to outlast a lease, and deaths come at random moments"),
    ("crates/tenure-server/tests/it/limits.rs", "a connection is idle while nothing happens on it"),
    ("crates/tenure/tests/it/processes.rs", "looks again at a file that other processes count in"),
    ("crates/tenure/tests/it/file.rs", "a waiter asks again when the store has said that the lease runs out"),
];

#[test]
fn no_file_is_longer_than_400_lines_without_its_tests() {
    let mut findings = Vec::new();
    for file in tree::rust().iter().filter(|file| !file.is_aside()) {
        let lines = file.own_lines().count();
        if lines > MAX_FILE {
            findings.push(format!("{} lines={lines}", file.path));
        }
    }
    none("a file has one reason to change", &findings);
}

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut findings = Vec::new();
    for file in tree::rust().iter().filter(|file| !file.is_aside()) {
        let mut open: Option<(usize, String)> = None;
        for (number, line) in file.own_lines() {
            // The code is formatted: a function ends with a brace at the indent of its `fn`.
            let indent = line.len() - line.trim_start().len();
            if is_function(line) && !line.ends_with(';') && !line.ends_with('}') {
                open = Some((number, format!("{}}}", " ".repeat(indent))));
            } else if let Some((start, end)) = &open
                && line == end
            {
                let lines = number - start + 1;
                if lines > MAX_FUNCTION {
                    findings.push(format!("{}:{start} lines={lines}", file.path));
                }
                open = None;
            }
        }
    }
    none("a function fits on a screen", &findings);
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        word.starts_with("pub") || ["const", "async", "in", "crate)", "super)"].contains(word)
    });
    words.next() == Some("fn")
}

#[test]
fn nothing_is_unfinished_or_switched_off() {
    // Written in two parts, so that this file does not find itself.
    let banned = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("#[ig", "nore"),
        concat!("FIX", "ME"),
    ];
    let mut findings = Vec::new();
    for file in tree::rust() {
        for (number, line) in file.lines() {
            if let Some(word) = banned.iter().find(|word| line.contains(**word)) {
                findings.push(format!("{}:{number} has {word}", file.path));
            }
        }
    }
    none("what is there works", &findings);
}

#[test]
fn no_test_sleeps_but_those_listed() {
    let mut findings = Vec::new();
    for file in tree::rust() {
        let sleep = concat!("sleep", "(");
        let own = file.own_lines().count();
        let aside =
            file.path.contains("/tests/") || file.path.starts_with("crates/tenure-testkit/src/conformance/");
        let asleep = file.lines().filter(|(number, line)| (aside || *number > own) && line.contains(sleep));
        if !SLEEPERS.iter().any(|(path, _)| file.path.starts_with(path)) {
            findings.extend(asleep.map(|(number, line)| format!("{}:{number} {}", file.path, line.trim())));
        }
    }
    none("a test awaits what it needs; see SLEEPERS", &findings);
}

#[test]
fn every_listed_sleeper_still_sleeps() {
    let files = tree::rust();
    for (path, reason) in SLEEPERS {
        assert!(!reason.is_empty(), "{path} has no reason");
        let sleeps =
            |file: &tree::File| file.path.starts_with(path) && file.text.contains(concat!("sleep", "("));
        assert!(files.iter().any(sleeps), "{path} sleeps no more: take it off the list");
    }
}

#[test]
fn dependencies_inside_the_library_point_downward() {
    // What a directory or file may not name: the layers above it, and its siblings.
    let engine = ["crate::engine", "crate::locks", "crate::connect", "crate::guard"];
    let vocabulary =
        ["name", "token", "claim", "lease", "error", "limits", "clock"].map(|file| format!("{file}.rs"));
    let rules = [
        ("memory/", ["crate::file", "crate::http"]),
        // The file store runs the rules of the table, which is the specification; it is not the memory store.
        ("file/", ["crate::memory::Memory", "crate::http"]),
        // So does the advisory mode inside a process.
        ("postgres/", ["crate::memory::Memory", "crate::http"]),
        ("http/", ["crate::memory", "crate::file"]),
        ("provider.rs", ["crate::memory", "crate::file"]),
    ];
    let mut findings = Vec::new();
    for file in tree::rust() {
        let Some(path) = file.path.strip_prefix("crates/tenure/src/") else {
            continue;
        };
        let siblings = rules.iter().filter(|(part, _)| path.starts_with(part)).flat_map(|(_, banned)| banned);
        let mut banned: Vec<&str> = siblings.copied().collect();
        if vocabulary.iter().any(|file| file == path) {
            banned.extend(["crate::memory", "crate::file", "crate::http"]);
        }
        if !banned.is_empty() || vocabulary.iter().any(|file| file == path) {
            banned.extend(engine);
        }
        for (number, line) in file.own_lines() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(word) = banned.iter().find(|word| code.contains(**word)) {
                findings.push(format!("{}:{number} names {word}", file.path));
            }
        }
    }
    none("providers know contract and vocabulary alone", &findings);
}
