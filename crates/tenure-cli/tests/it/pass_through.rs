//! What a command gets and gives under `tenure run` is what it gets and gives without.

use rustix::process::Signal;

use crate::support::Home;

#[test]
fn the_exit_code_is_the_commands_own() {
    let home = Home::new();
    for code in [0, 1, 7, 64, 75, 76, 255] {
        let said = home.tenure(&["run", "a", "--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!((said.code, said.err.as_str()), (code, ""));
    }
}

#[test]
fn a_command_that_died_by_a_signal_gives_128_and_the_signal() {
    let home = Home::new();
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        let said = home.tenure(&["run", "a", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(said.code, code);
    }
}

#[test]
fn a_command_that_is_not_there_gives_127_and_one_that_cannot_be_executed_126() {
    let home = Home::new();
    assert_eq!(home.tenure(&["run", "a", "--", "no-such-command-here"]).code, 127);
    let said = home.tenure(&["run", "a", "--", "/etc/passwd"]);
    assert_eq!(said.code, 126);
    assert!(said.err.contains("/etc/passwd") && said.out.is_empty(), "{said:?}");
    assert!(home.is_free("a"));
}

#[test]
fn stdin_and_stdout_pass_through_byte_for_byte() {
    let input: Vec<u8> =
        (0..1_000_003_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let said = Home::new().tenure_with(&["run", "--verbose", "a", "--", "cat"], &input);
    assert_eq!(said.code, 0);
    assert!(said.out == input, "{} bytes of {}", said.out.len(), input.len());
}

#[test]
fn a_pipe_ends_when_the_command_closes_it() {
    let home = Home::new();
    let mut running = home.start(&["run", "a", "--", "sh", "-c", "exec >&-; read -r line; exit 5"]);
    assert_eq!(running.line(), "", "the end of stdout, while the command goes on");
    running.close();
    assert_eq!(running.wait(), 5);
}

#[test]
fn tenure_itself_writes_nothing_to_stdout() {
    let home = Home::new();
    let said = home.tenure(&["run", "--verbose", "a", "--", "true"]);
    assert_eq!((said.code, said.out.len()), (0, 0));
    assert!(said.err.contains("acquired"), "{said:?}");
    let mut holder = home.hold(&[], "a", "cat");
    let said = home.tenure(&["run", "--verbose", "--try", "a", "--", "true"]);
    assert_eq!((said.code, said.out.len()), (75, 0));
    holder.close();
    assert_eq!(holder.wait(), 0);
}

#[test]
fn the_command_sees_its_token_its_lease_and_its_names() {
    let home = Home::new();
    let script = "printf '%s\\n' $TENURE_TOKEN $TENURE_LEASE \"$TENURE_NAMES\"";
    let mut last = 0;
    for _ in 0..3 {
        let said = home.tenure(&["run", "b x", "a", "--", "sh", "-c", script]);
        let out = String::from_utf8(said.out).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        let token: u64 = lines[0].parse().unwrap();
        assert!(token > last, "{token} after {last}");
        last = token;
        assert!(lines[1].len() == 16 && lines[1].bytes().all(|byte| byte.is_ascii_hexdigit()), "{out}");
        assert_eq!(lines[2..], ["a", "b x"]);
    }
}

#[test]
fn the_command_inherits_no_signal_that_is_held_back_or_ignored() {
    let home = Home::new();
    let said = home.tenure(&["run", "a", "--", "grep", "-E", "SigBlk|SigIgn", "/proc/self/status"]);
    let out = String::from_utf8(said.out).unwrap();
    assert!(out.contains("SigBlk:\t0000000000000000"), "{out}");
    // SIGPIPE and SIGXFSZ may be ignored by who runs the tests; nothing that is passed on is.
    let ignored = out.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let relayed = [1, 2, 3, 10, 12, 15, 18, 20, 28].map(|signal| 1_u64 << (signal - 1));
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert!(relayed.iter().all(|bit| ignored & bit == 0), "{out}");
}

#[test]
fn what_was_ignored_before_stays_ignored() {
    let home = Home::new();
    let mut running = crate::support::Running::of({
        let mut nohup = std::process::Command::new("sh");
        let script = "trap '' HUP; exec \"$0\" run a -- sh -c 'echo held; cat; echo more'";
        nohup.args(["-c", script, env!("CARGO_BIN_EXE_tenure")]);
        nohup.env("XDG_STATE_HOME", home.path("")).env_remove("TENURE_URL");
        nohup
    });
    assert_eq!(running.line(), "held");
    running.signal(Signal::HUP);
    running.close();
    assert_eq!((running.line().as_str(), running.wait()), ("more", 0));
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let home = Home::new();
    for (signal, name) in [
        (Signal::TERM, "TERM"),
        (Signal::INT, "INT"),
        (Signal::HUP, "HUP"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::WINCH, "WINCH"),
        (Signal::CONT, "CONT"),
    ] {
        // The shell looks at its traps between two reads: the line that is written makes sure that there is a next.
        let script =
            format!("trap 'echo got; exit 9' {name}; echo ready; while read -r line; do :; done; exit 8");
        let mut running = home.hold(&[], "a", &script);
        assert_eq!(running.line(), "ready");
        running.signal(signal);
        assert_eq!((running.line().as_str(), running.wait()), ("got", 9), "{name}");
    }
}

#[test]
fn a_stop_stops_the_command_and_tenure_and_a_continue_continues_both() {
    let home = Home::new();
    let mut running = home.hold(&["--ttl", "2s"], "a", "echo $$; exec cat");
    let command = running.process();
    running.signal(Signal::TSTP);
    let state = |pid: rustix::process::Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().chars().next().unwrap()
    };
    crate::support::until("both are stopped", || state(running.pid()) == 'T' && state(command.pid) == 'T');
    // The keeper goes on.
    let before = home.list(&[])[0]["age_ms"].as_u64().unwrap();
    crate::support::until("the lease outlives its ttl", || {
        home.list(&[]).first().is_some_and(|lease| lease["age_ms"].as_u64().unwrap() > before + 2_500)
    });
    running.signal(Signal::CONT);
    running.write(b"go on\n");
    running.close();
    assert_eq!((running.line().as_str(), running.wait()), ("go on", 0));
}

#[test]
fn nothing_is_left_of_a_run_that_has_ended() {
    let home = Home::new();
    let mut running = home.hold(&[], "a", "cat");
    let keeper = running.keeper();
    running.close();
    assert_eq!(running.wait(), 0);
    assert!(keeper.has_ended(), "the keeper ends before tenure does");
    assert!(home.list(&[]).is_empty());
}

#[test]
fn the_command_inherits_stdio_and_its_lifeline_and_nothing_else() {
    let home = Home::new();
    // What the test itself was started with is inherited by everything, and is none of tenure's.
    let here = |command: &mut std::process::Command| {
        let out = command.output().unwrap().stdout;
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let script = "for fd in /proc/self/fd/*; do readlink $fd; done";
    let without = here(std::process::Command::new("sh").args(["-c", script])).len();
    let with = here(&mut home.command(&["run", "a", "--", "sh", "-c", script]));
    let ours: Vec<_> = with.iter().filter(|target| target.starts_with(&home.path(""))).collect();
    assert_eq!((with.len(), ours.len()), (without + 1, 1), "{with:?}");
}
