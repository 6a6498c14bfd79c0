//! `tenure lint`: the convention for names.

use crate::support::Home;

#[test]
fn lint_says_what_the_convention_has_against_a_name_and_exits_1() {
    let home = Home::new();
    let good = home.tenure(&["lint", "order:process:42", "job:settle"]);
    assert_eq!((good.code, good.out.as_slice(), good.err.as_str()), (0, &b""[..], ""));
    let bad = home.tenure(&["lint", "job:settle", "Orders"]);
    let out = String::from_utf8(bad.out).unwrap();
    assert_eq!((bad.code, out.lines().count()), (1, 2), "{out}");
    assert!(out.lines().all(|line| line.starts_with("Orders: ")), "{out}");
}

#[test]
fn lint_reads_names_from_stdin_and_goes_on_after_one_that_is_none() {
    let home = Home::new();
    let input = format!("job:settle\n{}\n\norders\nno\x1b[31m:name\n", "a:".repeat(200));
    let said = home.tenure_with(&["lint"], input.as_bytes());
    let out = String::from_utf8(said.out).unwrap();
    assert_eq!((said.code, out.lines().count()), (64, 4), "{out}");
    assert!(out.contains("orders: ") && !out.contains('\x1b'), "{out}");
    assert_eq!(home.tenure_with(&["lint"], b"order:process:42\n").code, 0);
}
