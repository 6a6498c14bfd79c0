//! Private servers: they are reached, lose or keep their data, stop, and end with the test.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tenure_testkit::process::{Child, play_role, say};
use tenure_testkit::{RedisConfig, RedisServer};

/// Long for a server that runs, and short for a test of one that does not answer.
const MOMENT: Duration = Duration::from_millis(300);

#[test]
fn a_server_answers_on_its_port_and_on_its_socket() {
    let server = RedisServer::start();
    server.command::<()>(&["SET", "x", "7"]);
    assert_eq!(server.command::<u32>(&["GET", "x"]), 7);
    assert_eq!(server.info("tcp_port"), server.port().to_string());
    assert_eq!(server.info("process_id"), server.pid().to_string());
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream.write_all(b"GET x\r\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"$1\r\n7\r\n");
}

#[test]
fn two_servers_share_nothing() {
    let (one, other) = (RedisServer::start(), RedisServer::start());
    one.command::<()>(&["SET", "x", "7"]);
    assert_ne!(one.port(), other.port());
    assert_eq!(other.command::<u32>(&["DBSIZE"]), 0);
}

#[test]
fn a_killed_server_comes_back_with_what_it_wrote_and_no_more() {
    for (config, kept) in [(RedisConfig::default(), 0), (RedisConfig::default().append_only(), 100)] {
        let mut server = config.start();
        let (port, pid) = (server.port(), server.pid());
        for number in 0..100 {
            server.command::<()>(&["SET", &number.to_string(), "x"]);
        }
        server.kill();
        assert!(
            std::net::TcpStream::connect(server.addr()).is_err(),
            "somebody listens on a dead server's port"
        );
        server.restart();
        assert_eq!((server.port(), server.command::<u32>(&["DBSIZE"])), (port, kept));
        assert_ne!(server.pid(), pid);
        server.restart_empty();
        assert_eq!((server.port(), server.command::<u32>(&["DBSIZE"])), (port, 0));
    }
}

#[test]
fn a_password_is_asked_for_and_stands_in_the_url() {
    let server = RedisConfig::default().password("secret").start();
    assert_eq!(server.command::<String>(&["PING"]), "PONG");
    let stranger = format!("redis://{}", server.addr());
    let mut stranger = redis::Client::open(stranger).unwrap().get_connection().unwrap();
    let refused = redis::cmd("PING").query::<String>(&mut stranger).unwrap_err();
    assert_eq!(refused.code(), Some("NOAUTH"));
}

#[test]
fn configuration_is_taken_at_the_start_and_while_it_runs() {
    let server = RedisConfig::default().line("maxmemory 10mb").line("maxmemory-policy allkeys-lru").start();
    assert_eq!(
        (server.info("maxmemory"), server.info("maxmemory_policy")),
        ("10485760".into(), "allkeys-lru".into())
    );
    server.config_set("maxmemory", "20mb");
    assert_eq!(server.info("maxmemory"), "20971520");
}

#[test]
fn a_stopped_server_keeps_its_connections_and_answers_nothing_until_it_goes_on() {
    let server = RedisServer::start();
    let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(MOMENT)).unwrap();
    let mut answer = [0; 7];
    stream.write_all(b"PING\r\n").unwrap();
    stream.read_exact(&mut answer).unwrap();
    server.stop();
    stream.write_all(b"PING\r\n").unwrap();
    let silence = stream.read(&mut answer).unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
    server.go_on();
    stream.set_read_timeout(None).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
}

/// Plays the role of a process that starts a server. Run by hand it does nothing.
#[test]
fn role() {
    play_role(&[("serve", |_| {
        let server = RedisServer::start();
        say("serves ", server.pid());
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        loop {
            std::thread::park();
        }
    })]);
}

#[test]
fn a_server_ends_with_a_process_that_is_killed() {
    let mut child = Child::start("redis::role", "serve", "");
    let pid = child.hears("serves ").parse().ok().and_then(Pid::from_raw).unwrap();
    let server = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    child.kill();
    let ended = poll(&mut [PollFd::new(&server, PollFlags::IN)], Some(&Timespec { tv_sec: 30, tv_nsec: 0 }));
    assert_eq!(ended, Ok(1), "the server has outlived its test");
}
