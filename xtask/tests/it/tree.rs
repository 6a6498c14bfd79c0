//! The files of the workspace, as text.

use std::fs;
use std::path::Path;

/// A text file of the workspace.
pub(crate) struct File {
    /// Its path from the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// The lines with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The lines of the library or program itself: without the unit tests, which stand at the end of a file.
    pub(crate) fn own_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        let own = self.text.get(..tests).unwrap_or_default();
        own.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Whether all of it is for tests, benches or examples.
    pub(crate) fn is_aside(&self) -> bool {
        let parts = ["/tests/", "/benches/", "/examples/"];
        self.path.ends_with("tests.rs") || parts.iter().any(|part| self.path.contains(part))
    }
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All text files, but for the lock file and what is built.
pub(crate) fn all() -> Vec<File> {
    let mut files = Vec::new();
    walk(root(), &mut files);
    assert!(files.len() > 20, "the workspace was not found");
    files
}

/// All Rust files.
pub(crate) fn rust() -> Vec<File> {
    all().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn walk(directory: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if ["target", ".git", "Cargo.lock", "node_modules"].contains(&name.as_str()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), files);
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            let path = entry.path().strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            files.push(File { path, text });
        }
    }
}
