//! A terminal works under `tenure run` as it does without. The terminals here are those of script(1).

use std::process::Command;

use crate::support::{Home, Running};

/// `tenure run` with `args` as the foreground job of a terminal of its own, which echoes nothing.
fn on_a_terminal(home: &Home, args: &str) -> Running {
    let mut script = Command::new("script");
    let line = format!(
        "trap : INT; stty -echo -onlcr; echo begins; '{}' run {args}; echo code=$?",
        env!("CARGO_BIN_EXE_tenure")
    );
    script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    script.env("XDG_STATE_HOME", home.path("")).env_remove("TENURE_URL");
    let mut running = Running::of(script);
    // Until then, what is typed would be echoed.
    assert!(running.line().trim_end().ends_with("begins"));
    running
}

#[test]
fn a_command_reads_what_is_typed_and_ctrl_d_ends_it() {
    let home = Home::new();
    let mut terminal = on_a_terminal(&home, "a -- sh -c 'echo ready; test -t 0 && test -t 1 && cat'");
    assert_eq!(terminal.line(), "ready");
    terminal.write(b"typed\n");
    assert_eq!(terminal.line(), "typed");
    terminal.write(b"\x04");
    assert_eq!(terminal.line(), "code=0");
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let home = Home::new();
    // Perl counts the signals themselves; a shell would run its trap once for two of them. It looks about it every 5 ms,
    // since a signal that comes just before a read that blocks waits for the end of that read.
    let count = "$| = 1; $SIG{INT} = sub { print qq(int\n) }; print qq(ready\n); vec($in, 0, 1) = 1; \
                 while (select($out = $in, undef, undef, 0.005) < 1) {} exit 4";
    let mut terminal = on_a_terminal(&home, &format!("a -- perl -e '{count}'"));
    assert_eq!(terminal.line(), "ready");
    // Two that come together count as one: the more rounds, the surer a second one shows.
    for _ in 0..20 {
        terminal.write(b"\x03");
        assert_eq!(terminal.line(), "int");
    }
    terminal.write(b"end\n");
    assert_eq!(terminal.line(), "code=4");
}

#[test]
fn a_waiter_is_ended_by_ctrl_c() {
    let home = Home::new();
    let mut holder = home.hold(&[], "a", "cat");
    let mut terminal = on_a_terminal(&home, "a -- echo ran");
    home.until_waiting(1);
    terminal.write(b"\x03");
    assert!(terminal.line().ends_with("code=130"));
    assert!(home.list(&["--waiters"]).is_empty());
    holder.close();
    assert_eq!(holder.wait(), 0);
}

#[test]
fn a_shell_under_a_lock_controls_its_jobs() {
    let home = Home::new();
    let mut terminal = on_a_terminal(&home, "a -- sh -i 2>/dev/null");
    // `set -m` fails where the shell cannot be the terminal's foreground process group.
    terminal.write(b"set -m && echo jobs=ok\n");
    assert!(terminal.line().ends_with("jobs=ok"));
    terminal.write(b"sh -c 'echo job; exec sleep 1000'\n");
    assert!(terminal.line().ends_with("job"));
    terminal.write(b"\x03");
    terminal.write(b"echo after; exit 6\n");
    assert!(terminal.line().ends_with("after"));
    assert_eq!(terminal.line(), "code=6");
}
