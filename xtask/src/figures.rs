//! The tables of docs/performance.md: each is written by the bench that it names, between two marks.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cargo;

/// The benches whose tables the page holds, in its order.
const BENCHES: &[&str] = &["local", "handoff", "redis", "postgres"];

const PAGE: &str = "docs/performance.md";

/// Runs the benches and writes their tables into the page.
pub(crate) fn write(root: &Path) -> Result<&'static str> {
    let path = root.join(PAGE);
    for bench in BENCHES {
        let table = cargo::output(
            root,
            bench,
            &["bench", "--package", "tenure", "--bench", bench, "--", "--markdown"],
        )?;
        // Read anew for each, so that a bench of minutes does not undo what was written meanwhile.
        let page = fs::read_to_string(&path).with_context(|| format!("{PAGE} could not be read"))?;
        let page =
            replace(&page, bench, &table).with_context(|| format!("{PAGE} has no marks of {bench}"))?;
        fs::write(&path, page).with_context(|| format!("{PAGE} could not be written"))?;
    }
    Ok("docs/performance.md has this machine's tables")
}

/// Runs short rounds of the benches and shows their tables.
pub(crate) fn print(root: &Path) -> Result<&'static str> {
    for bench in BENCHES {
        let args = ["bench", "--package", "tenure", "--bench", bench, "--", "--markdown", "--quick"];
        println!("{}", cargo::output(root, bench, &args)?);
    }
    Ok("short rounds: good for a first look, not for the page")
}

/// `page` with `table` between the marks of `bench`, or `None` when it has none.
fn replace(page: &str, bench: &str, table: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- begin {bench} -->\n"), format!("<!-- end {bench} -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{}\n{end}{after}", table.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_what_stands_between_its_marks_and_nothing_else() {
        let page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb <!-- begin y -->\n";
        let new = replace(page, "x", "| new |\n").unwrap();
        assert_eq!(new, "a\n<!-- begin x -->\n| new |\n<!-- end x -->\nb <!-- begin y -->\n");
        assert!(replace(page, "y", "t").is_none());
    }
}
