//! A user of the Redis server who may do what docs/redis.md lists and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use tenure::claim::Origin;
use tenure::lease::{Ended, Kind, Query};
use tenure::provider::{Force, Forced};
use tenure::redis::Redis;
use tenure::{Clock, Locks, Mode};
use tenure_testkit::{Client, RedisConfig, RedisServer};

/// The line of the page that makes the user.
fn line() -> &'static str {
    let page = include_str!("../../../../docs/redis.md");
    page.lines().find(|line| line.starts_with("user tenure ")).expect("the page has the line")
}

fn url(server: &RedisServer) -> String {
    format!("redis://tenure:secret@{}", server.addr())
}

/// How often the server has carried out a command.
fn calls(server: &RedisServer, command: &str) -> u64 {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let found = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    found.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

async fn client(server: &RedisServer) -> Client {
    let clock = Clock::system();
    Client::new(Arc::new(Redis::connect(&url(server), clock).await.unwrap()), clock)
}

/// What the server did not let the user do.
fn refusals(server: &RedisServer) -> Vec<String> {
    let log: Vec<HashMap<String, redis::Value>> = server.command(&["ACL", "LOG"]);
    log.iter().map(|entry| format!("{entry:?}")).collect()
}

/// Every kind of step does what it shall under the user, and the server has refused nothing.
#[tokio::test]
async fn the_user_of_the_page_may_do_all_that_the_store_does() {
    let server = RedisConfig::default().line(line()).start();
    let (one, two) = (client(&server).await, client(&server).await);
    let mut thin = one.ask("thin");
    thin.origin = Origin::Local;
    one.hold(&thin).await;
    one.renew(&thin).await;
    assert_eq!(one.end(&thin).await, Ended::Released);
    let (batch, mut waiter) = (one.ask("a b"), two.ask("b"));
    one.hold(&batch).await;
    waiter.wait = true;
    two.queue(&waiter).await;
    two.touch(&waiter).await;
    one.renew(&batch).await;
    assert_eq!(
        (
            one.list(&Query::new(Kind::Leases, "")).await.len(),
            one.list(&Query::new(Kind::Waiters, "")).await.len()
        ),
        (1, 1)
    );
    assert_eq!(one.end(&batch).await, Ended::Released);
    two.granted(&waiter).await;
    let mut permit = one.ask("permit");
    permit.mode = Mode::Permits { take: 1, of: 2 };
    one.hold(&permit).await;
    assert_eq!(two.force(&permit, Force::Revoke).await, Forced::Asked);
    assert_eq!(two.force(&permit, Force::Now).await, Forced::Ended);
    one.provider().ping().await.unwrap();
    assert_eq!(refusals(&server), [""; 0]);
    assert!(calls(&server, "exec") > 0, "nothing was taken by the quick way");
}

/// Without CLIENT KILL locks work, and no name is taken by a transaction, whose late double could not be told apart.
#[tokio::test]
async fn a_user_who_may_not_close_connections_takes_nothing_by_the_quick_way() {
    let line = line().replace(" +client|kill", "");
    let server = RedisConfig::default().line(&line).start();
    let locks = Locks::connect(&url(&server)).await.unwrap();
    let guard = locks.lock("a").acquire().await.unwrap();
    let others = Locks::connect(&url(&server)).await.unwrap();
    assert!(others.lock("a").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(others.lock("a").try_acquire().await.unwrap().is_some());
    assert_eq!(calls(&server, "exec"), 0);
    assert_eq!(refusals(&server).len(), 1, "{:?}", refusals(&server));
}

/// What is missing is said when the connection is made, and the password is not.
#[tokio::test]
async fn a_user_who_may_not_run_scripts_is_told_where_to_read() {
    let line = line().replace(" +eval ", " ");
    let server = RedisConfig::default().line(&line).start();
    let error = Locks::connect(&url(&server)).await.unwrap_err();
    assert!(error.to_string().contains("docs/redis.md") && !error.to_string().contains("secret"), "{error}");
}
