//! Servers that locks are trusted to, and servers that they are not; and the ways to reach one.

use std::time::Duration;

use tenure::{Error, ErrorKind, Locks};
use tenure_testkit::certificates::Authority;
use tenure_testkit::{RedisConfig, RedisServer, TcpProxy, Way};

use super::{connect, in_time, until};

/// Why the server of a URL is not taken.
async fn refusal(url: &str) -> Error {
    in_time("the refusal", Locks::connect(url)).await.unwrap_err()
}

/// That a lock can be taken there.
async fn works(url: &str) {
    let locks = connect(url).await;
    locks.lock("x").acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_evict_locks_is_refused_unless_that_is_accepted() {
    for policy in ["allkeys-lru", "volatile-ttl", "volatile-random"] {
        let server = RedisConfig::default().line(&format!("maxmemory-policy {policy}")).start();
        let error = refusal(&server.url()).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(policy) && error.to_string().contains("evict=accept"), "{error}");
        works(&format!("{}?evict=accept", server.url())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_the_server_does_not_take_is_refused_without_being_shown() {
    let server = RedisConfig::default().password("hunter2").start();
    works(&server.url()).await;
    let address = server.addr();
    for login in ["", ":hunter3@", "nobody:hunter3@"] {
        let error = refusal(&format!("redis://{login}{address}")).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_do_what_locks_need_is_refused() {
    let server = RedisServer::start();
    server.command::<()>(&[
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">secret",
        "~*",
        "&*",
        "+@read",
        "+@connection",
    ]);
    let error = refusal(&format!("redis://reader:secret@{}", server.addr())).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_stores_of_their_own_and_one_that_is_not_there_is_refused() {
    let server = RedisServer::start();
    let (third, zeroth) = (connect(&format!("{}/3", server.url())).await, connect(&server.url()).await);
    let also = connect(&format!("{}?db=3", server.url())).await;
    let guard = third.lock("x").acquire().await.unwrap();
    assert!(also.lock("x").try_acquire().await.unwrap().is_none());
    assert!(zeroth.lock("x").try_acquire().await.unwrap().is_some());
    guard.release().await.unwrap();
    let error = refusal(&format!("{}/99", server.url())).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_cluster_is_refused() {
    let server = RedisConfig::default().line("cluster-enabled yes").start();
    let error = refusal(&server.url()).await;
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("cluster"), "{error}");
}

/// A replica is one that may become a master: it is unavailable, and asked again by who waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_unavailable_and_its_keys_are_left_alone() {
    let (master, replica) = (RedisServer::start(), RedisServer::start());
    let locks = connect(&replica.url()).await;
    let guard = locks.lock("x").ttl(Duration::from_secs(1)).acquire().await.unwrap();
    replica.command::<()>(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    let error = refusal(&replica.url()).await;
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("replica"), "{error}");
    in_time("the loss", guard.lost()).await;
    let error = locks.lock("y").try_acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let token = guard.token();
    drop(guard);
    replica.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    let mut next = None;
    until("it is a master again", async || {
        next = locks.lock("x").try_acquire().await.ok().flatten();
        next.is_some()
    })
    .await;
    assert!(next.unwrap().token() > token);
}

/// What the master granted last had not reached the replica when it took over.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_loses_a_lock_keeps_the_order_of_tokens() {
    let (mut master, replica) = (RedisServer::start(), RedisServer::start());
    let to_master = TcpProxy::start(master.addr()).await;
    let of_master = connect(&master.url()).await;
    let kept = of_master.lock("kept").acquire().await.unwrap();
    replica.command::<()>(&["REPLICAOF", "127.0.0.1", &to_master.addr().port().to_string()]);
    until("it has a copy", async || replica.command::<bool>(&["EXISTS", "tenure:l:kept"])).await;
    to_master.hold(Way::Reply);
    let mut lost = of_master.lock("lost").acquire().await.unwrap();
    for _ in 0..100 {
        lost.release().await.unwrap();
        lost = of_master.lock("lost").acquire().await.unwrap();
    }
    master.kill();
    replica.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    let of_replica = connect(&replica.url()).await;
    assert!(of_replica.lock("kept").try_acquire().await.unwrap().is_none());
    let next = of_replica.lock("lost").try_acquire().await.unwrap().expect("the replica knows nothing of it");
    assert!(next.token() > lost.token() && next.token() > kept.token());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_leads_to_the_same_store() {
    let server = RedisServer::start();
    let url = format!("redis+unix://{}", server.socket().display());
    let (near, far) = (connect(&url).await, connect(&server.url()).await);
    let guard = near.lock("x").acquire().await.unwrap();
    assert!(far.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    works(&format!("{url}?db=2")).await;
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_taken_from_a_known_authority_and_for_the_right_host_alone() {
    let (authority, port) = (Authority::new(), free_port());
    let certified = authority.certify("localhost");
    let authority = authority.file();
    let server = RedisConfig::default()
        .line(&format!("tls-port {port}"))
        .line(&format!("tls-cert-file {}", certified.certificate.display()))
        .line(&format!("tls-key-file {}", certified.key.display()))
        .line(&format!("tls-ca-cert-file {}", authority.display()))
        .line("tls-auth-clients no")
        .start();
    let authority = authority.display();
    works(&format!("rediss://localhost:{port}?ca={authority}")).await;
    let plain = connect(&server.url()).await;
    let secret = connect(&format!("rediss://localhost:{port}?ca={authority}")).await;
    let guard = secret.lock("x").acquire().await.unwrap();
    assert!(plain.lock("x").try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    // An unknown authority; another host; a server without TLS.
    let wrong = [
        format!("rediss://localhost:{port}"),
        format!("rediss://127.0.0.1:{port}?ca={authority}"),
        format!("rediss://localhost:{}?ca={authority}", server.port()),
    ];
    for url in wrong {
        assert_eq!(refusal(&url).await.kind(), ErrorKind::Unavailable, "{url}");
    }
    let error = refusal(&format!("rediss://localhost:{port}?ca=/nowhere/ca.pem")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}
