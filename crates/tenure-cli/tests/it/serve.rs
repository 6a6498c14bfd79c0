//! `serve` and `run` on one store exclude each other, and a server's end is tidy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;

use crate::support::{Home, Running};

const LEASE: &str = "8f14e45f-ceea-467f-a83e-1d5b7c9d2a10";

/// `tenure serve` with `options` on a free port: it, its address, and what it logged until it listened.
pub(crate) fn serve(home: &Home, options: &str) -> (Running, String, Vec<String>) {
    serve_with(home, "", options)
}

/// As [`serve`], with variables of the environment, as in `A=1 B=2`.
pub(crate) fn serve_with(home: &Home, environment: &str, options: &str) -> (Running, String, Vec<String>) {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_tenure");
    let line = format!("exec env {environment} '{program}' serve --listen 127.0.0.1:0 {options} 2>&1");
    command
        .args(["-c", &line])
        .env("XDG_STATE_HOME", home.path(""))
        .env_remove("TENURE_URL")
        .env_remove("REDIS_URL")
        .env_remove("DATABASE_URL")
        .env_remove("RUST_LOG");
    let mut server = Running::of(command);
    let mut log = Vec::new();
    loop {
        let line = server.line();
        assert!(!line.is_empty(), "the server ended: {log:?}");
        let address = line.split_once("listening on http://").map(|(_, address)| address.trim().to_owned());
        log.push(line);
        if let Some(address) = address {
            return (server, address, log);
        }
    }
}

/// One request: its status and body.
pub(crate) fn ask(address: &str, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

fn acquire(address: &str, name: &str) -> (u16, String) {
    let body =
        format!(r#"{{"lease":"{LEASE}","names":["{name}"],"mode":"exclusive","ttl_ms":60000,"wait_ms":0}}"#);
    ask(address, "POST /v1/acquire", &body)
}

#[test]
fn a_lease_of_the_server_keeps_a_run_out_also_over_a_restart_of_the_server() {
    let home = Home::new();
    let (mut server, address, _) = serve(&home, "");
    let (status, body) = acquire(&address, "a");
    assert_eq!(status, 201, "{body}");
    assert!(!home.is_free("a"));
    assert_eq!(home.list(&[])[0]["origin"], "remote");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), 0);
    assert!(!home.is_free("a"));

    let (mut server, address, _) = serve(&home, "");
    assert!(!home.is_free("a"));
    assert_eq!(ask(&address, "POST /v1/release", &format!(r#"{{"lease":"{LEASE}"}}"#)).0, 204);
    assert!(home.is_free("a"));
    server.signal(Signal::INT);
    assert_eq!(server.wait(), 0);
}

#[test]
fn a_run_keeps_a_client_of_the_server_out() {
    let home = Home::new();
    let (_server, address, _) = serve(&home, "");
    let mut holder = home.hold(&[], "a", "cat");
    assert_eq!(acquire(&address, "a").0, 409);
    holder.close();
    assert_eq!(holder.wait(), 0);
    // A fresh id: the refused one stays refused.
    let body = r#"{"lease":"0b0e3a52-5a0e-4d8c-9d55-5f3c0c5d3f77","names":["a"],"ttl_ms":60000}"#;
    let (status, body) = ask(&address, "POST /v1/acquire", body);
    assert_eq!(status, 201, "{body}");
}

#[test]
fn the_server_says_once_which_locks_it_has_and_where_it_listens() {
    let home = Home::new();
    for (options, in_memory) in [("", false), ("--url memory:", true)] {
        let (mut server, address, mut log) = serve(&home, options);
        assert!(address.starts_with("127.0.0.1:"));
        server.signal(Signal::TERM);
        assert_eq!(server.wait(), 0);
        log.extend(std::iter::from_fn(|| Some(server.line()).filter(|line| !line.is_empty())));
        let said = |what: &str| log.iter().filter(|line| line.contains(what)).count();
        assert_eq!(said("Distributed locks: embedded provider (this process)"), 1, "{log:?}");
        assert_eq!(said("end with this process") == 1, in_memory, "{log:?}");
        assert!(log.iter().all(|line| !line.contains('\x1b')), "{log:?}");
    }
}

#[test]
fn the_configuration_file_and_the_data_directory_are_used() {
    let home = Home::new();
    let data = home.path("data");
    std::fs::write(home.path("tenure.toml"), format!("data = '{data}'\n")).unwrap();
    let (_server, address, _) = serve(&home, &format!("--config '{}'", home.path("tenure.toml")));
    assert_eq!(acquire(&address, "a").0, 201);
    assert!(std::fs::exists(data.clone()).unwrap() && home.list(&[]).is_empty());
    let held = home.tenure(&["--url", &format!("file://{data}"), "list", "--json"]);
    assert!(String::from_utf8(held.out).unwrap().contains("\"a\""));
}

#[test]
fn an_address_in_use_exits_69() {
    let home = Home::new();
    let (_server, address, _) = serve(&home, "");
    let said = home.tenure(&["serve", "--listen", &address]);
    assert_eq!((said.code, said.out.len()), (69, 0));
    assert!(said.err.contains(&address), "{said:?}");
}

#[test]
fn a_bad_configuration_exits_64_and_names_the_line() {
    let home = Home::new();
    std::fs::write(home.path("tenure.toml"), "listen = '127.0.0.1:0'\nport = 1\n").unwrap();
    let said = home.tenure(&["serve", "--config", &home.path("tenure.toml")]);
    assert_eq!(said.code, 64);
    assert!(said.err.contains("line=2") && said.err.contains("port"), "{said:?}");
}

#[test]
fn a_run_over_http_excludes_and_shows_itself_as_any_other() {
    let home = Home::new();
    let (_server, address, _) = serve(&home, "");
    let url = format!("http://{address}");
    let mut holder =
        home.start(&["--url", &url, "run", "--ttl", "3s", "a", "--", "sh", "-c", "echo held; cat"]);
    assert_eq!(holder.line(), "held");
    assert!(!home.is_free("a"));
    assert_eq!(home.tenure(&["--url", &url, "run", "--try", "a", "--", "true"]).code, 75);
    assert_eq!(home.list(&[])[0]["holder"]["command"], "sh");
    assert_eq!(home.tenure(&["--url", &url, "release", "--name", "a", "--force"]).code, 0);
    assert_eq!(holder.wait(), 76);
    assert!(home.is_free("a"));
}

#[test]
fn a_server_that_is_not_there_exits_69() {
    let home = Home::new();
    let (mut server, address, _) = serve(&home, "");
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), 0);
    let said = home.tenure(&["--url", &format!("http://{address}"), "run", "a", "--", "echo", "ran"]);
    assert_eq!((said.code, said.out.len()), (69, 0), "{said:?}");
}
