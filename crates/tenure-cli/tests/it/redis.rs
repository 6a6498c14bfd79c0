//! Everything over `redis://`: each command alone, and two servers in front of one Redis.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;
use tenure_testkit::{RedisConfig, RedisServer};

use crate::serve::ask;
use crate::support::{Home, Running, until};

/// What must be seen nowhere.
const PASSWORD: &str = "hunter2secret";

const LEASE: &str = "8f14e45f-ceea-467f-a83e-1d5b7c9d2a10";

const NEXT: &str = "0b0e3a52-5a0e-4d8c-9d55-5f3c0c5d3f77";

fn redis() -> RedisServer {
    RedisConfig::default().password(PASSWORD).start()
}

/// `tenure serve` in front of a Redis, with all that it logs in a file of the home.
fn serve(home: &Home, redis: &RedisServer, log: &str) -> (Running, String) {
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_tenure");
    let log = home.path(log);
    command.args(["-c", &format!("exec '{binary}' serve --listen 127.0.0.1:0 >'{log}' 2>&1")]);
    command.env("TENURE_URL", redis.url()).env("RUST_LOG", "trace").env("XDG_STATE_HOME", home.path(""));
    let server = Running::of(command);
    let mut address = None;
    until("it listens", || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let rest = said.split_once("listening on http://").map(|(_, rest)| rest.to_owned());
        // The line is whole when it has its end.
        address = rest.and_then(|rest| Some(rest.split_once('\n')?.0.trim().to_owned()));
        address.is_some()
    });
    (server, address.unwrap())
}

#[test]
fn run_list_watch_and_release_work_over_redis_and_never_show_its_password() {
    let (mut home, redis) = (Home::new(), redis());
    home.url = Some(redis.url());
    let mut said = String::new();
    let mut watch = home.start(&["watch", "--every", "50ms"]);
    let mut holder = home.hold(&["--ttl", "10s"], "order:1", "echo $TENURE_TOKEN; cat");
    let token = holder.line();
    let _waiter = home.start(&["run", "order:1", "--", "true"]);
    home.until_waiting(1);
    assert!(!home.is_free("order:1"));
    // The store learns the token of a lease that lasts a moment.
    until("it is listed with its token", || {
        let held = home.list(&["--prefix", "order:"]);
        said += &serde_json::to_string(&held).unwrap();
        held.len() == 1 && held[0]["token"] == token
    });
    for word in ["granted ", "waiting "] {
        let line = watch.line();
        assert!(line.starts_with(word), "{line}");
        said += &line;
    }
    for args in [&["list"][..], &["list", "--waiters"], &["release", "--name", "order:1", "--force"]] {
        let out = home.tenure(args);
        assert_eq!(out.code, 0, "{out:?}");
        said += &format!("{out:?}{}", String::from_utf8_lossy(&out.out));
    }
    assert_eq!(holder.wait(), 76);
    watch.signal(Signal::INT);
    assert!(!said.contains(PASSWORD), "{said}");
}

/// Its lock is free at once, not when its ttl of a minute is over.
#[test]
fn a_run_that_is_ended_by_a_signal_leaves_no_lock_in_redis() {
    let (mut home, redis) = (Home::new(), redis());
    home.url = Some(redis.url());
    for signal in [Signal::TERM, Signal::INT] {
        let mut holder = home.hold(&["--ttl", "60s"], "a", "exec sleep 60");
        assert!(!home.is_free("a"));
        holder.signal(signal);
        assert_ne!(holder.wait(), 0);
        until("it is free", || home.is_free("a"));
    }
    let locks: Vec<String> = redis.command(&["KEYS", "tenure:l:*"]);
    assert!(locks.is_empty(), "{locks:?}");
}

/// Wrong in every way that a URL can be, and a server that is not there.
#[test]
fn no_error_shows_the_password() {
    let (mut home, mut redis) = (Home::new(), redis());
    let (port, url) = (redis.port(), redis.url());
    redis.kill();
    let urls = [
        (url, 69),
        (format!("redis://:{PASSWORD}@127.0.0.1:{port}?nonsense=1"), 64),
        (format!("redis://:{PASSWORD}@127.0.0.1:{port}/database"), 64),
        (format!("redis://:{PASSWORD}@"), 64),
        (format!("redis:{PASSWORD}"), 64),
    ];
    for (url, code) in urls {
        home.url = Some(url);
        for args in
            [&["list"][..], &["watch"], &["serve", "--listen", "127.0.0.1:0"], &["run", "a", "--", "true"]]
        {
            let out = home.tenure(args);
            assert_eq!((out.code, out.out.len()), (code, 0), "{out:?}");
            assert!(!out.err.is_empty() && !out.err.contains(PASSWORD), "{out:?}");
        }
    }
}

/// One line of a stream of events that has `wanted` in it.
fn event(stream: &mut impl std::io::BufRead, wanted: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ended");
        if line.contains(wanted) {
            return line;
        }
    }
}

fn events(address: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    BufReader::new(stream)
}

fn token(body: &str) -> u64 {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["token"].as_str().unwrap().parse().unwrap()
}

/// A lease is taken at one server, waited for, renewed and released at the other, and granted at the first again. Both show
/// it to who listens, and neither of them writes the password, however much it logs.
#[test]
fn two_servers_in_front_of_one_redis_serve_one_lease_between_them() {
    let (home, redis) = (Home::new(), redis());
    let ((mut one, a), (mut other, b)) = (serve(&home, &redis, "one.log"), serve(&home, &redis, "other.log"));
    let (mut at_a, mut at_b) = (events(&a), events(&b));
    let claim = |lease: &str, wait_ms: u32| {
        format!(
            r#"{{"lease":"{lease}","names":["x"],"mode":"exclusive","ttl_ms":20000,"wait_ms":{wait_ms}}}"#
        )
    };
    let (status, body) = ask(&a, "POST /v1/acquire", &claim(LEASE, 0));
    assert_eq!(status, 201, "{body}");
    let first = token(&body);
    for stream in [&mut at_a, &mut at_b] {
        event(stream, &first.to_string());
    }
    assert_eq!(ask(&b, "POST /v1/acquire", &claim("0b0e3a52-5a0e-4d8c-9d55-5f3c0c5d3f78", 0)).0, 409);
    let (status, body) = std::thread::scope(|scope| {
        let waits = scope.spawn(|| ask(&a, "POST /v1/acquire", &claim(NEXT, 20_000)));
        until("it waits", || ask(&b, "GET /v1/waiters", "").1.contains("\"x\""));
        let (status, body) = ask(&b, "POST /v1/renew", &format!(r#"{{"lease":"{LEASE}","ttl_ms":20000}}"#));
        assert_eq!((status, token(&body)), (200, first), "{body}");
        assert_eq!(ask(&b, "POST /v1/release", &format!(r#"{{"lease":"{LEASE}"}}"#)).0, 204);
        waits.join().unwrap()
    });
    assert_eq!(status, 201, "{body}");
    let second = token(&body);
    assert!(second > first);
    for stream in [&mut at_a, &mut at_b] {
        event(stream, &second.to_string());
    }
    // What one server granted outlives it at the other.
    one.signal(Signal::TERM);
    assert_eq!(one.wait(), 0);
    assert_eq!(ask(&b, "POST /v1/release", &format!(r#"{{"lease":"{NEXT}"}}"#)).0, 204);
    assert_eq!(ask(&b, "GET /health/ready", "").0, 200);
    other.signal(Signal::TERM);
    assert_eq!(other.wait(), 0);
    for log in ["one.log", "other.log"] {
        let log = std::fs::read_to_string(home.path(log)).unwrap();
        assert!(log.contains("DEBUG"), "it logs next to nothing: {log}");
        assert!(!log.contains(PASSWORD), "{log}");
    }
}
