//! A command whose lease is lost or asked back ends before anybody else works under its names.

use rustix::process::Signal;

use crate::serve::serve;
use crate::support::{Home, Process, Running};

#[test]
fn a_lease_that_is_ended_by_force_kills_the_command_and_exits_76() {
    let home = Home::new();
    let mut running =
        home.hold(&[], "a", "trap '' TERM; echo $$; echo ${TENURE_LEASE}; while :; do sleep 1000; done");
    let command = running.process();
    let lease = running.line();
    let said = home.tenure(&["release", &lease, "--force"]);
    assert_eq!((said.code, String::from_utf8(said.out).unwrap()), (0, format!("ended {lease}\n")));
    command.until_ended();
    assert_eq!(running.wait(), 76);
}

#[test]
fn a_lease_that_is_asked_back_lets_the_command_end_by_itself() {
    let home = Home::new();
    let script = "trap 'echo cleaning; exit 0' TERM; echo ready; while read -r line; do :; done";
    let mut running = home.hold(&["--ttl", "5s"], "a", script);
    assert_eq!(running.line(), "ready");
    let said = home.tenure(&["release", "--name", "a"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!((running.line().as_str(), running.wait()), ("cleaning", 76));
    assert!(home.is_free("a"));
}

#[test]
fn a_command_that_ignores_the_request_is_killed_before_the_lease_is_over() {
    let home = Home::new();
    let script = "trap 'echo told' TERM; echo $$; while :; do sleep 1000; done";
    let mut running = home.hold(&["--ttl", "2s"], "a", script);
    let command = running.process();
    assert_eq!(home.tenure(&["release", "--name", "a"]).code, 0);
    assert_eq!(running.line(), "told");
    assert_eq!(home.tenure(&["run", "--wait", "20s", "a", "--", "true"]).code, 0);
    assert!(command.has_ended());
    assert_eq!(running.wait(), 76);
}

/// A holder of `a` over a server that is killed as soon as the command runs: the lease cannot be renewed any more.
fn holder_without_server(home: &Home, script: &str) -> (Running, Process) {
    let (mut server, address, _) = serve(home, "");
    let script = format!("echo $$; {script}");
    let url = format!("http://{address}");
    let mut holder = home.start(&["--url", &url, "run", "--ttl", "2s", "a", "--", "sh", "-c", &script]);
    let command = holder.process();
    server.signal(Signal::KILL);
    server.wait();
    (holder, command)
}

#[test]
fn a_lease_that_cannot_be_renewed_lets_the_command_end_by_itself_before_it_is_over() {
    let home = Home::new();
    let script = "trap 'echo cleaning; exit 0' TERM; while :; do sleep 0.01; done";
    let (mut holder, command) = holder_without_server(&home, script);
    assert_eq!(home.tenure(&["run", "--wait", "20s", "a", "--", "true"]).code, 0);
    assert!(command.has_ended());
    assert_eq!((holder.line().as_str(), holder.wait()), ("cleaning", 76));
}

#[test]
fn a_command_that_goes_on_all_the_same_is_killed_before_the_lease_is_over() {
    let home = Home::new();
    let (mut holder, command) =
        holder_without_server(&home, "trap 'echo told' TERM; while :; do sleep 0.01; done");
    assert_eq!(home.tenure(&["run", "--wait", "20s", "a", "--", "true"]).code, 0);
    assert!(command.has_ended());
    assert_eq!((holder.line().as_str(), holder.wait()), ("told", 76));
}
