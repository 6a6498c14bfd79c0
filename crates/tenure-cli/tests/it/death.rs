//! Whoever is killed, the command ends with all its descendants, and only then are its names free.

use rustix::process::Signal;

use crate::support::{Home, Process, Running};

/// A daemon that does everything to get away: two forks, two sessions, and not a descriptor left.
const DAEMON: &str = "setsid perl -MPOSIX -e '$| = 1; fork and exit; POSIX::setsid(); fork and exit; print qq($$\\n); \
                      POSIX::close($_) for 0..255; sleep 1000'";

/// A holder of `a` with a command and a daemon of that. The ttl is so long that nobody waits for it.
fn holder(home: &Home, options: &[&str]) -> (Running, [Process; 2]) {
    let mut running = home.hold(options, "a", &format!("({DAEMON} &); echo $$; exec sleep 1000"));
    let processes = [running.process(), running.process()];
    (running, processes)
}

/// Waits for `a`, and finds that all of `processes` have ended by then.
fn next_holder_finds_all_ended(home: &Home, processes: &[Process]) {
    assert_eq!(home.tenure(&["run", "--wait", "20s", "a", "--", "true"]).code, 0);
    for process in processes {
        assert!(process.has_ended(), "{:?} lived beside the next holder", process.pid);
    }
}

#[test]
fn a_killed_run_takes_its_command_and_an_escaped_daemon_with_it_before_the_name_is_free() {
    let home = Home::new();
    let (mut running, processes) = holder(&home, &["--ttl", "1h"]);
    let keeper = running.keeper();
    assert!(!home.is_free("a"));
    running.signal(Signal::KILL);
    assert_eq!(running.wait(), -9);
    next_holder_finds_all_ended(&home, &processes);
    keeper.until_ended();
}

#[test]
fn a_killed_keeper_takes_the_command_and_an_escaped_daemon_with_it_before_the_name_is_free() {
    let home = Home::new();
    let (mut running, processes) = holder(&home, &["--ttl", "1h"]);
    running.keeper().signal(Signal::KILL);
    next_holder_finds_all_ended(&home, &processes);
    assert_eq!(running.wait(), 76);
}

#[test]
fn a_stopped_keeper_is_killed_with_the_command_before_its_lease_is_over() {
    let home = Home::new();
    let (mut running, processes) = holder(&home, &["--ttl", "1s"]);
    running.keeper().signal(Signal::STOP);
    next_holder_finds_all_ended(&home, &processes);
    assert_eq!(running.wait(), 76);
}

#[test]
fn a_command_does_not_survive_its_run_and_its_keeper_killed_together() {
    let home = Home::new();
    let mut running = home.hold(&["--ttl", "1h"], "a", "echo $$; exec sleep 1000");
    let command = running.process();
    let keeper = running.keeper();
    keeper.signal(Signal::STOP);
    running.signal(Signal::KILL);
    keeper.signal(Signal::KILL);
    command.until_ended();
    assert_eq!(home.tenure(&["run", "--wait", "20s", "a", "--", "true"]).code, 0);
}

#[test]
fn what_a_command_leaves_behind_ends_before_its_name_is_free() {
    let home = Home::new();
    let mut running = home.hold(&[], "a", &format!("({DAEMON} &); read -r line; exit 3"));
    let daemon = running.process();
    running.write(b"\n");
    assert_eq!(running.wait(), 3);
    assert!(daemon.has_ended());
    assert!(home.is_free("a"));
}

#[test]
fn a_pipeline_that_outlives_the_command_a_little_is_not_cut() {
    let home = Home::new();
    // What is left of it says its word as soon as the command has ended.
    let script = "(while kill -0 $$ 2>&-; do :; done; echo late) & exit 0";
    let mut running = home.hold(&[], "a", script);
    assert_eq!((running.line().as_str(), running.wait()), ("late", 0));
}

#[test]
fn a_killed_waiter_leaves_its_place_in_the_queue() {
    let home = Home::new();
    let mut holder = home.hold(&[], "a", "cat");
    let mut waiter = home.start(&["run", "a", "--", "true"]);
    home.until_waiting(1);
    waiter.signal(Signal::KILL);
    assert_eq!(waiter.wait(), -9);
    home.until_waiting(0);
    holder.close();
    assert_eq!(holder.wait(), 0);
    assert!(home.is_free("a"));
}

#[test]
fn a_waiter_that_is_told_to_end_exits_with_the_signal_and_leaves_its_place_in_the_queue() {
    let home = Home::new();
    let mut holder = home.hold(&[], "a", "cat");
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut waiter = home.start(&["run", "a", "--", "echo", "ran"]);
        home.until_waiting(1);
        waiter.signal(signal);
        assert_eq!((waiter.line().as_str(), waiter.wait()), ("", code));
        assert!(home.list(&["--waiters"]).is_empty());
    }
    holder.close();
    assert_eq!(holder.wait(), 0);
}
