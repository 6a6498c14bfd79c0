//! The lists of tests in docs/guarantees.md, made from the conformance suite.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

const PAGE: &str = "docs/guarantees.md";

const SUITE: &str = "crates/tenure-testkit/src/conformance";

/// The layers of the suite, with what each of them tests.
const LAYERS: [(&str, &str); 2] = [("store", "the store's steps"), ("guard", "the guard above them")];

/// What begins the list of a section, and what ends it.
const MARKS: (&str, &str) = ("<details><summary>", "</details>\n");

/// Writes the lists of tests anew.
pub(crate) fn write(root: &Path) -> Result<&'static str> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("{PAGE} could not be read"))?;
    fs::write(root.join(PAGE), with_tests(&page, &suite(root)?)?)?;
    Ok("docs/guarantees.md names the tests that there are")
}

/// The tests of each guarantee, layer by layer.
type Suite = BTreeMap<u32, [Vec<String>; 2]>;

fn suite(root: &Path) -> Result<Suite> {
    let mut suite = Suite::new();
    let list = fs::read_to_string(root.join(SUITE).join("mod.rs")).context("the suite was not found")?;
    for (index, (layer, _)) in LAYERS.iter().enumerate() {
        for entry in fs::read_dir(root.join(SUITE).join(layer))? {
            let path = entry?.path();
            let file = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let number = file.strip_prefix('g').and_then(|rest| rest.split('_').next()?.parse().ok());
            let Some(number) = number else { continue };
            for line in fs::read_to_string(&path)?.lines() {
                let Some(rest) = line.strip_prefix("pub async fn ") else { continue };
                let test = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
                // The macro makes tests of those that it lists, and of no others.
                if !list.split_whitespace().any(|word| word == test) {
                    bail!("{file}::{test} is not in the list of {SUITE}/mod.rs: it never runs");
                }
                let layers = suite.entry(number).or_default();
                layers.get_mut(index).context("a layer of the suite")?.push(test);
            }
        }
    }
    Ok(suite)
}

/// `page` with the tests of `suite` at the end of each section.
fn with_tests(page: &str, suite: &Suite) -> Result<String> {
    let mut sections = page.split("\n## ");
    let mut new = sections.next().unwrap_or_default().to_owned();
    let mut seen = Vec::new();
    for section in sections {
        let number = section.strip_prefix('G').and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        let number = number.with_context(|| format!("a section of {PAGE} is not a guarantee's"))?;
        let layers = suite.get(&number).with_context(|| format!("G{number} has no test"))?;
        let words = section.split(MARKS.0).next().unwrap_or_default().trim_end();
        let after = section.split_once(MARKS.1).map_or("", |(_, after)| after).trim_end();
        write!(new, "\n## {words}\n\n{}", list(layers))?;
        if !after.is_empty() {
            writeln!(new, "{after}")?;
        }
        seen.push(number);
    }
    if let Some(missing) = (1..=12).chain(suite.keys().copied()).find(|number| !seen.contains(number)) {
        bail!("{PAGE} has no section of G{missing}");
    }
    Ok(new)
}

fn list(layers: &[Vec<String>; 2]) -> String {
    let count: usize = layers.iter().map(Vec::len).sum();
    let mut list = format!("{}{count} tests over every provider</summary>\n\n", MARKS.0);
    for ((layer, what), tests) in LAYERS.iter().zip(layers).filter(|(_, tests)| !tests.is_empty()) {
        let tests: Vec<String> = tests.iter().map(|test| format!("  - `{test}`")).collect();
        list.push_str(&format!("- `{layer}`, {what}\n{}\n", tests.join("\n")));
    }
    list + "\n" + MARKS.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_exactly_the_tests_of_the_suite() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        let new = with_tests(&page, &suite(root).unwrap()).unwrap();
        assert!(page == new, "docs/guarantees.md is behind the suite: cargo xtask guarantees");
    }

    #[test]
    fn lists_are_replaced_and_words_are_kept() {
        let mut page = "# Title\n".to_owned();
        let mut suite = Suite::new();
        for number in 1..=12 {
            page += &format!("\n## G{number} Word\nSentence.\n");
            suite.insert(number, [vec!["first".to_owned()], vec![]]);
        }
        let once = with_tests(&page, &suite).unwrap();
        assert!(once.contains("## G3 Word\nSentence.\n\n<details>") && once.contains("  - `first`\n"));
        assert_eq!(with_tests(&once, &suite).unwrap(), once);
        suite.insert(1, [vec!["second".to_owned()], vec![]]);
        assert!(with_tests(&once, &suite).unwrap().contains("`second`"));
    }
}
