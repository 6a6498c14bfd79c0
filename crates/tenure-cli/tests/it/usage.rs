//! Bad input exits 64 with the reason, and changes nothing.

use crate::support::Home;

#[test]
fn bad_input_exits_64_with_the_reason_and_runs_nothing() {
    let home = Home::new();
    let long = "a".repeat(256);
    let marker = home.path("marker");
    for (args, reason) in [
        (&["run", ""][..], "at least 1 byte"),
        (&["run", &long], "at most 255 bytes"),
        (&["run", "a\nb"], "no control characters"),
        (&["run", "a\x1b[31m"], "no control characters"),
        (&["run", "a", "a"], "each name once"),
        (&["run", "--ttl", "0s", "a"], "100 ms to 24 h"),
        (&["run", "--ttl", "1000years", "a"], "100 ms to 24 h"),
        (&["run", "--ttl", "5", "a"], "500ms, 2s, 5m or 1h"),
        (&["run", "--ttl", "99999999999999999999s", "a"], "500ms, 2s, 5m or 1h"),
        (&["run", "--hold-at-least", "25h", "a"], "24 h"),
        (&["run", "--permits", "0", "a"], "1 to 65536"),
        (&["run", "--permits", "65537", "a"], "1 to 65536"),
        (&["run", "--permits", "-1", "a"], "unexpected argument"),
        (&["run", "--try", "--wait", "1s", "a"], "cannot be used with"),
        (&["run", "-E", "256", "a"], "256"),
        (&["run", "--nonsense", "a"], "--nonsense"),
        (&["run"], "NAME"),
        (&["--url", "redis://:secret@localhost?nonsense=1", "run", "a"], "no such option"),
        (&["--url", "gopher://localhost", "run", "a"], "url"),
    ] {
        let said = home.tenure(&[args, &["--", "touch", &marker]].concat());
        assert_eq!((said.code, said.out.len()), (64, 0), "{args:?} {said:?}");
        assert!(said.err.contains(reason), "{args:?} {said:?}");
        assert!(!said.err.contains("secret"), "{args:?} {said:?}");
    }
    assert!(!std::fs::exists(marker).unwrap());
    assert!(home.list(&[]).is_empty());
}

#[test]
fn other_commands_exit_64_for_what_they_do_not_understand() {
    let home = Home::new();
    for args in [
        &[][..],
        &["nonsense"],
        &["run", "a"],
        &["list", "--nonsense"],
        &["watch", "--every", "often"],
        &["release"],
        &["release", "not-a-digest"],
        &["release", "--name", ""],
        &["completions", "cobol"],
        &["keeper"],
        &["keeper", "--", "list"],
        &["serve", "--listen", "0.0.0.0:7700"],
        &["serve", "--listen", "localhost"],
        &["serve", "--config", "/no/such/file"],
    ] {
        let said = home.tenure(args);
        assert_eq!((said.code, said.out.len()), (64, 0), "{args:?} {said:?}");
        assert!(!said.err.is_empty(), "{args:?}");
    }
}

#[test]
fn a_store_that_cannot_be_opened_exits_69_and_runs_nothing() {
    let home = Home::new();
    // Nobody may make a directory there.
    let url = "file:///proc/tenure";
    for args in [&["--url", url, "run", "a", "--", "echo", "ran"][..], &["--url", url, "list"]] {
        let said = home.tenure(args);
        assert_eq!((said.code, said.out.len()), (69, 0), "{said:?}");
    }
}

#[test]
fn help_and_version_exit_0_and_go_to_stdout() {
    let home = Home::new();
    for args in [&["--help"][..], &["run", "--help"], &["--version"], &["help", "serve"]] {
        let said = home.tenure(args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args:?}");
        assert!(!said.out.is_empty());
    }
}

#[test]
fn completions_are_scripts_that_know_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let said = home.tenure(&["completions", shell]);
        let script = String::from_utf8(said.out).unwrap();
        assert!(said.code == 0 && script.contains("hold-at-least") && script.contains("release"), "{shell}");
    }
}

#[test]
fn the_state_directory_is_open_to_nobody_else() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    assert_eq!(home.tenure(&["run", "a", "--", "true"]).code, 0);
    let mode = std::fs::metadata(home.path("tenure")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
