//! A value in Redis that refuses stale holders.

use redis::{Connection, FromRedisValue, RedisError};
use tenure::fence::redis::SCRIPT;
use tenure::{Clock, Locks, Memory, Settings};
use tenure_testkit::RedisServer;

/// The greatest token, and the one before it.
const LAST: [&str; 2] = ["9223372036854775806", "9223372036854775807"];

fn connect(server: &RedisServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}

/// Carries out `command` on `value` under `token`.
fn pass<T: FromRedisValue>(
    to: &mut Connection,
    value: &str,
    token: &str,
    command: &[&str],
) -> Result<T, RedisError> {
    redis::Script::new(SCRIPT).key(value).key(format!("{value}:fence")).arg(token).arg(command).invoke(to)
}

/// What is refused, as its code and its text.
fn refused(to: &mut Connection, value: &str, token: &str, command: &[&str]) -> (String, String) {
    let error = pass::<()>(to, value, token, command).unwrap_err();
    (error.code().unwrap_or_default().to_owned(), error.to_string())
}

/// The older holder writes late, after the newer one has only read: its write is refused and changes nothing.
#[test]
fn the_first_read_of_a_newer_holder_shuts_out_the_older_one() {
    let server = RedisServer::start();
    let mut to = connect(&server);
    assert_eq!(pass::<Option<u64>>(&mut to, "v", "7", &["GET"]).unwrap(), None);
    pass::<()>(&mut to, "v", "7", &["SET", "1"]).unwrap();
    pass::<()>(&mut to, "v", "7", &["SET", "2"]).unwrap();
    assert_eq!(pass::<u64>(&mut to, "v", "8", &["GET"]).unwrap(), 2);
    let (code, text) = refused(&mut to, "v", "7", &["SET", "3"]);
    assert!(code == "STALE" && text.contains("fence=8"), "{code} {text}");
    assert_eq!(refused(&mut to, "v", "7", &["GET"]).0, "STALE");
    assert_eq!(pass::<u64>(&mut to, "v", "8", &["INCRBY", "10"]).unwrap(), 12);
    assert_eq!(pass::<u64>(&mut to, "v", "9", &["INCRBY", "10"]).unwrap(), 22);
    assert_eq!(refused(&mut to, "v", "8", &["INCRBY", "10"]).0, "STALE");
    assert_eq!(pass::<u64>(&mut to, "v", "9", &["GET"]).unwrap(), 22);
}

/// Where the number of digits changes, where doubles end, and at the end of the range.
#[test]
fn tokens_are_compared_as_the_whole_numbers_that_they_are() {
    let server = RedisServer::start();
    let mut to = connect(&server);
    let pairs = [
        ["9", "10"],
        ["19", "20"],
        ["999999999", "1000000000"],
        ["9007199254740992", "9007199254740993"],
        ["999999999999999999", "1000000000000000000"],
        LAST,
    ];
    for (index, [older, newer]) in pairs.into_iter().enumerate() {
        let value = format!("v{index}");
        for token in [older, older, newer, newer] {
            pass::<()>(&mut to, &value, token, &["SET", token]).unwrap();
        }
        assert_eq!(refused(&mut to, &value, older, &["SET", "late"]).0, "STALE", "{older} after {newer}");
        assert_eq!(pass::<String>(&mut to, &value, newer, &["GET"]).unwrap(), newer);
    }
}

#[test]
fn what_is_no_token_is_refused_and_changes_nothing() {
    let server = RedisServer::start();
    let mut to = connect(&server);
    for wrong in
        ["", "0", "-1", "01", "1.0", "1e3", " 1", "1\n", "x", "9223372036854775808", "10000000000000000000"]
    {
        assert_eq!(refused(&mut to, "v", wrong, &["SET", "1"]).0, "ERR", "{wrong:?}");
    }
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0);
    server.command::<()>(&["SET", "v:fence", "none"]);
    assert_eq!(refused(&mut to, "v", LAST[1], &["SET", "1"]).0, "ERR");
    assert_eq!(server.command::<u64>(&["EXISTS", "v"]), 0);
}

/// The tokens of guards are fit for it, wherever the locks are kept.
#[tokio::test]
async fn the_token_of_a_later_guard_shuts_out_the_earlier() {
    let server = RedisServer::start();
    let mut to = connect(&server);
    let memory = Locks::over(std::sync::Arc::new(Memory::new(Clock::system())), Settings::default());
    for (value, locks) in [("m", memory), ("r", Locks::connect(&server.url()).await.unwrap())] {
        let guard = locks.lock("a").acquire().await.unwrap();
        let early = guard.token().to_string();
        pass::<()>(&mut to, value, &early, &["SET", "1"]).unwrap();
        guard.release().await.unwrap();
        let guard = locks.lock("a").acquire().await.unwrap();
        assert_eq!(pass::<u64>(&mut to, value, &guard.token().to_string(), &["GET"]).unwrap(), 1);
        assert_eq!(refused(&mut to, value, &early, &["SET", "2"]).0, "STALE");
    }
}
