//! Values in Redis and rows of databases that refuse stale holders.

use redis::{Connection, FromRedisValue, RedisError};
use tenure::fence::redis::SCRIPT;
use tenure::fence::sql;
use tenure::{Clock, Locks, Memory, Settings};
use tenure_testkit::RedisServer;

use crate::stands::{database, postgres};

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

/// A late writer of an older holder is refused with all that its transaction did, after the newer holder has only read.
#[test]
fn a_stale_transaction_in_sqlite_fails_as_a_whole() {
    let mut db = rusqlite::Connection::open_in_memory().unwrap();
    db.execute_batch(sql::SQLITE).unwrap();
    db.execute_batch("create table orders (state text); insert into orders values ('new')").unwrap();
    for token in [7_i64, 7, 8, i64::MAX - 1] {
        let work = db.transaction().unwrap();
        work.execute(sql::SQLITE_PASS, ("order:42", token)).unwrap();
        work.commit().unwrap();
    }
    let late = db.transaction().unwrap();
    late.execute("update orders set state = 'late'", ()).unwrap();
    let refused = late.execute(sql::SQLITE_PASS, ("order:42", 8_i64)).unwrap_err();
    assert!(refused.to_string().starts_with(sql::STALE_TEXT), "{refused}");
    assert!(late.is_autocommit(), "the transaction is rolled back");
    drop(late);
    let state: String = db.query_row("select state from orders", (), |row| row.get(0)).unwrap();
    assert_eq!(state, "new");
    db.execute(sql::SQLITE_PASS, ("order:43", 1_i64)).unwrap();
    for wrong in [0_i64, -1] {
        assert!(db.execute(sql::SQLITE_PASS, ("order:44", wrong)).is_err(), "{wrong}");
    }
    assert!(db.execute(sql::SQLITE_PASS, ("order:44", "8")).is_ok(), "a text of digits is that number");
    assert!(db.execute(sql::SQLITE_PASS, ("order:44", "x")).is_err());
}

/// The same in PostgreSQL, with the documented SQLSTATE; and the newer holder waits until the older one's transaction is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_transaction_in_postgres_fails_as_a_whole() {
    let url = postgres().url(&database().await);
    let connect = async || {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let (mut older, mut newer) = (connect().await, connect().await);
    older.batch_execute(sql::POSTGRES).await.unwrap();
    older.batch_execute("create table orders (state text); insert into orders values ('new')").await.unwrap();

    let work = older.transaction().await.unwrap();
    work.execute(sql::POSTGRES_PASS, &[&"order:42", &7_i64]).await.unwrap();
    work.execute(sql::POSTGRES_PASS, &[&"order:42", &7_i64]).await.unwrap();
    let next = newer.transaction().await.unwrap();
    let (read, ()) = tokio::join!(next.execute(sql::POSTGRES_PASS, &[&"order:42", &8_i64]), async {
        work.execute("update orders set state = 'begun'", &[]).await.unwrap();
        work.commit().await.unwrap();
    });
    read.unwrap();
    let state: String = next.query_one("select state from orders", &[]).await.unwrap().get(0);
    assert_eq!(state, "begun", "it sees what the older one wrote in time");
    next.commit().await.unwrap();

    let late = older.transaction().await.unwrap();
    late.execute("update orders set state = 'late'", &[]).await.unwrap();
    let refused = late.execute(sql::POSTGRES_PASS, &[&"order:42", &7_i64]).await.unwrap_err();
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some(sql::STALE));
    let text = refused.as_db_error().unwrap().message();
    assert!(text.starts_with(sql::STALE_TEXT) && text.ends_with("fence=8"), "{text}");
    // PostgreSQL answers the commit of a failed transaction by rolling it back.
    late.commit().await.unwrap();
    let state: String = newer.query_one("select state from orders", &[]).await.unwrap().get(0);
    assert_eq!(state, "begun");
    for wrong in [0_i64, -1] {
        assert!(newer.execute(sql::POSTGRES_PASS, &[&"order:43", &wrong]).await.is_err(), "{wrong}");
    }
}
