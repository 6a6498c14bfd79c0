//! Who gets a name, and when.

use crate::support::{Home, Running};

#[test]
fn try_on_a_held_name_exits_75_at_once_and_minus_e_changes_the_code() {
    let home = Home::new();
    let mut holder = home.hold(&["--ttl", "1h"], "a", "cat");
    assert_eq!(home.tenure(&["run", "--try", "a", "--", "true"]).code, 75);
    assert_eq!(home.tenure(&["run", "--try", "-E", "3", "a", "--", "true"]).code, 3);
    assert_eq!(home.tenure(&["run", "--wait", "100ms", "a", "--", "true"]).code, 75);
    assert_eq!(home.tenure(&["run", "--try", "b", "--", "true"]).code, 0);
    holder.close();
    assert_eq!(holder.wait(), 0);
    assert_eq!(home.tenure(&["run", "--try", "a", "--", "true"]).code, 0);
}

#[test]
fn waiters_are_served_in_the_order_in_which_they_came() {
    let home = Home::new();
    let mut holder = home.hold(&[], "a", "cat");
    let log = home.path("log");
    let mut waiters = Vec::new();
    for place in 1..=4 {
        waiters.push(home.start(&["run", "a", "--", "sh", "-c", &format!("echo {place} >> {log}")]));
        home.until_waiting(place);
    }
    holder.close();
    for mut waiter in waiters {
        assert_eq!(waiter.wait(), 0);
    }
    assert_eq!(std::fs::read_to_string(log).unwrap(), "1\n2\n3\n4\n");
}

#[test]
fn a_verbose_wait_says_who_is_in_the_way() {
    let home = Home::new();
    let mut holder = home.hold(&[], "a", "cat");
    let mut waiter = Running::of({
        let mut command = std::process::Command::new("sh");
        let line = format!("exec '{}' run --verbose b a -- true 2>&1", env!("CARGO_BIN_EXE_tenure"));
        command.args(["-c", &line]).env("XDG_STATE_HOME", home.path("")).env_remove("TENURE_URL");
        command
    });
    let said = waiter.line();
    let pid = format!("pid={}", holder.pid().as_raw_nonzero());
    assert!(said.contains("waiting: a is held") && said.contains(&pid), "{said}");
    holder.close();
    assert_eq!(holder.wait(), 0);
    assert!(waiter.line().contains("acquired token="));
    assert_eq!(waiter.wait(), 0);
}

#[test]
fn several_names_are_taken_all_or_none() {
    let home = Home::new();
    let mut holder = home.hold(&[], "b", "cat");
    assert_eq!(home.tenure(&["run", "--try", "a", "b", "c", "--", "true"]).code, 75);
    assert!(home.is_free("a") && home.is_free("c"));
    holder.close();
    assert_eq!(holder.wait(), 0);
    let mut holder = home.start(&["run", "c", "a", "b", "--", "sh", "-c", "echo held; cat"]);
    assert_eq!(holder.line(), "held");
    for name in ["a", "b", "c"] {
        assert!(!home.is_free(name), "{name}");
    }
}

#[test]
fn shared_holders_share_and_exclude_a_writer() {
    let home = Home::new();
    let _first = home.hold(&["--shared"], "a", "cat");
    let mut second = home.start(&["run", "--shared", "--try", "a", "b", "--", "sh", "-c", "echo held; cat"]);
    assert_eq!(second.line(), "held");
    assert!(!home.is_free("a") && !home.is_free("b"));
}

#[test]
fn a_name_has_as_many_permits_as_it_was_said_to_have() {
    let home = Home::new();
    let mut first = home.hold(&["--permits", "2"], "gpu", "cat");
    let _second = home.hold(&["--permits", "2"], "gpu", "cat");
    assert_eq!(home.tenure(&["run", "--try", "--permits", "2", "gpu", "--", "true"]).code, 75);
    first.close();
    assert_eq!(first.wait(), 0);
    assert_eq!(home.tenure(&["run", "--try", "--permits", "2", "gpu", "--", "true"]).code, 0);
    let other = home.tenure(&["run", "--try", "--permits", "3", "gpu", "--", "true"]);
    assert_eq!(other.code, 64, "{other:?}");
}

#[test]
fn names_that_are_held_at_least_for_a_time_stay_taken_after_the_command() {
    let home = Home::new();
    let args = ["run", "--try", "--hold-at-least", "1h", "job", "--", "true"];
    assert_eq!(home.tenure(&args).code, 0);
    assert_eq!(home.tenure(&args).code, 75);
    assert!(!home.is_free("job"));
    assert_eq!(home.tenure(&["release", "--name", "job", "--force"]).code, 0);
    assert_eq!(home.tenure(&args).code, 0);
}

#[test]
fn no_two_commands_run_under_one_name_at_a_time() {
    let home = Home::new();
    let file = home.path("counter");
    std::fs::write(&file, "0").unwrap();
    // A read and a write with as much between them as a shell takes for it: unprotected, it loses updates.
    let script = format!("n=$(cat {file}); echo $((n + 1)) > {file}");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(home.tenure(&["run", "count", "--", "sh", "-c", &script]).code, 0);
                }
            });
        }
    });
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "40");
}
