//! A command whose lease is lost or asked back ends before anybody else works under its names.

use crate::support::Home;

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
