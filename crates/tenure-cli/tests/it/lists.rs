//! `list`, `watch` and `release` tell what is, and do what they say.

use rustix::process::Signal;

use crate::support::Home;

#[test]
fn list_shows_who_holds_and_who_waits() {
    let home = Home::new();
    assert_eq!(home.tenure(&["list", "--json"]).out, b"[]\n");
    let mut holder = home.hold(&["--ttl", "10s"], "order:1", "echo $TENURE_TOKEN; echo $TENURE_LEASE; cat");
    let (token, lease) = (holder.line(), holder.line());
    let _waiter = home.start(&["run", "--shared", "order:1", "--", "true"]);
    home.until_waiting(1);

    let held = home.list(&["--prefix", "order:"]);
    assert_eq!(held.len(), 1);
    assert_eq!(held[0]["lease"], lease);
    assert_eq!(held[0]["token"], token);
    assert_eq!(held[0]["names"], serde_json::json!(["order:1"]));
    assert_eq!(held[0]["mode"], "exclusive");
    assert_eq!(held[0]["holder"]["command"], "sh");
    assert_eq!(held[0]["holder"]["pid"], holder.pid().as_raw_nonzero().to_string());
    assert!(home.list(&["--prefix", "other:"]).is_empty());

    let waiting = home.list(&["--waiters"]);
    assert_eq!((waiting[0]["mode"].as_str(), waiting[0].get("token")), (Some("shared"), None));

    let table = String::from_utf8(home.tenure(&["list"]).out).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("LEASE"), "{table}");
    assert!(
        lines[1].contains(&lease) && lines[1].contains(&token) && lines[1].contains("command=sh"),
        "{table}"
    );
    let table = String::from_utf8(home.tenure(&["list", "--waiters"]).out).unwrap();
    assert!(table.lines().count() == 2 && table.contains("shared"), "{table}");
}

#[test]
fn a_name_that_would_reorder_the_terminals_line_is_shown_escaped() {
    let home = Home::new();
    let _holder = home.hold(&[], "a\u{202e}b", "cat");
    let table = String::from_utf8(home.tenure(&["list"]).out).unwrap();
    assert!(table.contains("a\\u{202e}b") && !table.contains('\u{202e}'), "{table}");
}

#[test]
fn the_arguments_of_a_command_are_never_listed() {
    let home = Home::new();
    let _holder = home.hold(&[], "a", ": my-secret; cat");
    for args in [&["list"][..], &["list", "--json"]] {
        assert!(!String::from_utf8(home.tenure(args).out).unwrap().contains("my-secret"));
    }
}

#[test]
fn watch_prints_each_change_once() {
    let home = Home::new();
    let mut watch = home.start(&["watch", "--every", "50ms", "--prefix", "w:"]);
    let mut holder = home.hold(&[], "w:a", "cat");
    let line = watch.line();
    assert!(line.starts_with("granted ") && line.contains(" w:a ") && line.contains("token="), "{line}");
    let mut waiter = home.start(&["run", "w:a", "--", "sh", "-c", "echo held; cat"]);
    assert!(watch.line().starts_with("waiting "));
    holder.close();
    assert_eq!(waiter.line(), "held");
    assert!(watch.line().starts_with("released "));
    assert!(watch.line().starts_with("granted "));
    waiter.close();
    assert!(watch.line().starts_with("released "));
    watch.signal(Signal::INT);
    assert_eq!((watch.line().as_str(), watch.wait()), ("", 0));
}

#[test]
fn watch_in_json_has_an_object_a_line() {
    let home = Home::new();
    let _holder = home.hold(&[], "a", "cat");
    let mut watch = home.start(&["watch", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&watch.line()).unwrap();
    assert_eq!((line["event"].as_str(), line["names"][0].as_str()), (Some("granted"), Some("a")));
}

#[test]
fn release_of_what_is_not_there_exits_1_and_says_so() {
    let home = Home::new();
    for args in [&["release", "0011223344556677"][..], &["release", "--name", "a", "--force"]] {
        let said = home.tenure(args);
        assert_eq!((said.code, said.out.len()), (1, 0), "{said:?}");
        assert!(said.err.contains("nothing to release"));
    }
}

#[test]
fn release_by_name_takes_the_name_itself_and_not_those_that_begin_with_it() {
    let home = Home::new();
    let mut holder = home.hold(&[], "job:1", "cat");
    let mut other = home.hold(&[], "job:10", "cat");
    assert_eq!(home.tenure(&["release", "--name", "job:1", "--force"]).code, 0);
    assert_eq!(holder.wait(), 76);
    other.close();
    assert_eq!(other.wait(), 0);
}

#[test]
fn release_by_name_lets_the_next_waiter_in() {
    let home = Home::new();
    let mut holder = home.hold(&[], "a", "cat");
    let mut waiter = home.start(&["run", "--wait", "20s", "a", "--", "echo", "ran"]);
    home.until_waiting(1);
    assert_eq!(home.tenure(&["release", "--name", "a"]).code, 0);
    assert_eq!((holder.wait(), waiter.line().as_str(), waiter.wait()), (76, "ran", 0));
}
