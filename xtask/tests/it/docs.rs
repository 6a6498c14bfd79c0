//! Rules of the documents: the tests that they name exist, examples compile, links lead somewhere, no machine shows through.

use crate::none;
use crate::tree::{self, File};

/// A test that a document names, as `` `path/to/file.rs::name_of_the_test` ``.
struct Named<'a> {
    path: &'a str,
    test: &'a str,
}

/// The tests that `text` names.
fn named(text: &str) -> Vec<Named<'_>> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter_map(|word| word.split_once(".rs::")).map(|(path, test)| Named { path, test }).collect()
}

fn read<'a>(files: &'a [File], path: &str) -> &'a str {
    &files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing")).text
}

#[test]
fn every_test_that_a_document_names_exists() {
    let files = tree::all();
    let mut findings = Vec::new();
    for page in files.iter().filter(|file| file.path.ends_with(".md")) {
        for Named { path, test } in named(&page.text) {
            let path = format!("{path}.rs");
            let exists = |file: &File| file.path == path && file.text.contains(&format!("fn {test}("));
            if !files.iter().any(exists) {
                findings.push(format!("{} names {path}::{test}", page.path));
            }
        }
    }
    none("a promise is what its tests prove", &findings);
}

#[test]
fn the_readme_shows_a_held_lock_in_twelve_lines_of_an_example_that_compiles() {
    let files = tree::all();
    let readme = read(&files, "README.md");
    let example = read(&files, "crates/tenure/examples/quickstart.rs");
    let block =
        readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("README has Rust");
    assert!(block.lines().count() <= 12, "lines={}", block.lines().count());
    assert!(example.contains(block), "the README's first Rust block is not a part of quickstart.rs");
}

#[test]
fn every_rust_example_in_the_documentation_is_compiled() {
    let mut findings = Vec::new();
    for file in tree::all().iter().filter(|file| file.path.ends_with(".rs") || file.path.ends_with(".md")) {
        for (number, line) in file.lines() {
            let fence = line.trim_start_matches(['/', '!', ' ']);
            if fence.starts_with("```") && fence.contains(concat!("ign", "ore")) {
                findings.push(format!("{}:{number}", file.path));
            }
        }
    }
    none("an example that is not compiled is a promise that nobody checks", &findings);
}

#[test]
fn links_between_documents_lead_to_files() {
    let mut findings = Vec::new();
    for file in tree::all().iter().filter(|file| file.path.ends_with(".md")) {
        let directory = tree::root().join(&file.path);
        let directory = directory.parent().unwrap();
        for (number, line) in file.lines() {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '/']))
            {
                let path = target.split('#').next().unwrap_or_default();
                if !directory.join(path).exists() {
                    findings.push(format!("{}:{number} {target}", file.path));
                }
            }
        }
    }
    none("links", &findings);
}

#[test]
fn no_path_of_a_developers_machine_stands_in_a_file() {
    let root = tree::root().to_str().unwrap().to_owned();
    let mut banned = vec![concat!("/ro", "ot/").to_owned(), concat!("/Us", "ers/").to_owned()];
    // A checkout near the root of the file system has a path that says nothing.
    banned.extend((root.matches('/').count() > 2).then_some(root));
    let mut findings = Vec::new();
    for file in tree::all() {
        for (number, line) in file.lines() {
            if let Some(path) = banned.iter().find(|path| line.contains(path.as_str())) {
                findings.push(format!("{}:{number} has {path}", file.path));
            }
        }
    }
    none("paths", &findings);
}
