//! What stands in the server: under which keys, and for how long.

use std::time::Duration;

use tenure::ErrorKind;
use tenure::lease::{Kind, Query};
use tenure_testkit::{Cut, RedisServer, TcpProxy};

use super::{connect, in_time, own_store, store_of, until};
use crate::stands::{prefix, redis};

/// The keys of a store with what is left of each, in milliseconds; below zero for one that stays.
fn keys(prefix: &str) -> Vec<(Vec<u8>, i64)> {
    let script = "local left = {} for i, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
        left[i] = { key, redis.call('PTTL', key) } end return left";
    redis().command(&["EVAL", script, "0", prefix])
}

/// The quick way in is open from the first connection on, and again when the one before is certainly closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_free_name_is_taken_by_a_transaction_and_not_by_the_script() {
    let server = RedisServer::start();
    let proxy = TcpProxy::start(server.addr()).await;
    let locks = connect(&format!("redis://{}?delay_ms=10", proxy.addr())).await;
    for connection in 1..=3 {
        let guard = locks.lock(format!("x{connection}")).acquire().await.unwrap();
        let commands: String = server.command(&["INFO", "commandstats"]);
        assert!(commands.contains(&format!("cmdstat_exec:calls={connection},")), "{commands}");
        guard.release().await.unwrap();
        proxy.cut(Cut::Close).await;
        until("it has connected again", async || {
            proxy.accepted() > connection && locks.provider().ping().await.is_ok()
        })
        .await;
    }
}

/// Each state that a name can be in has a ttl on each of its keys, whatever step was the last one.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_of_a_lease_is_ever_without_a_ttl() {
    let prefix = prefix();
    let url = store_of(&prefix);
    let (locks, others) = (connect(&url).await, connect(&url).await);
    let check = |state: &str, least: usize| {
        let all = keys(&prefix);
        assert!(all.len() > least, "{state}: {all:?}");
        for (key, left) in all {
            let key = String::from_utf8_lossy(&key).into_owned();
            assert!(left > 0 || key == format!("{prefix}meta"), "{state}: {key} {left}");
        }
    };
    let thin = locks.lock("thin").acquire().await.unwrap();
    check("thin", 1);
    let batch = locks.lock_all(["a", "b"]).acquire().await.unwrap();
    let shared = locks.lock_shared("shared").acquire().await.unwrap();
    let permit = locks.permit("permit", 2).acquire().await.unwrap();
    check("fat", 5);
    let waiter = tokio::spawn(async move { others.lock_all(["thin", "shared", "free"]).acquire().await });
    until("it waits", async || redis().command::<u64>(&["ZCARD", &format!("{prefix}q:free")]) == 1).await;
    check("waited for", 8);
    shared.release().await.unwrap();
    thin.release().await.unwrap();
    let granted = in_time("the waiter", waiter).await.unwrap().unwrap();
    check("granted", 3);
    granted.release().await.unwrap();
    batch.release().await.unwrap();
    permit.release().await.unwrap();
    check("released", 0);
}

/// A ttl is what was asked for, to the millisecond; one out of the range is refused, and none is cut down.
#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_is_neither_cut_nor_confused_in_its_unit() {
    let prefix = prefix();
    let url = store_of(&prefix);
    let locks = connect(&url).await;
    for ttl_ms in [5_000, 5_999, 60_000, 3_600_000, 86_400_000] {
        let guard = locks.lock("x").ttl(Duration::from_millis(ttl_ms)).acquire().await.unwrap();
        let left: i64 = redis().command(&["PTTL", &format!("{prefix}l:x")]);
        let ttl = i64::try_from(ttl_ms).unwrap();
        assert!(left <= ttl && left > ttl - 2_000, "{left} of {ttl}");
        guard.release().await.unwrap();
    }
    for ttl in [Duration::from_micros(99_999), Duration::from_millis(86_400_001)] {
        let error = locks.lock("x").ttl(ttl).try_acquire().await.unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidInput, "ttl"));
    }
}

/// Signs of globs, of Lua, of the protocol and of our own keys are letters like others.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_with_signs_of_globs_scripts_and_keys_is_only_a_name() {
    let names = [
        "*",
        "a*",
        "a?",
        "a[bc]",
        "a\\",
        "{a}",
        "{a",
        "l:a",
        "q:a",
        "meta",
        "'..redis.call('FLUSHALL')..'",
        "$5",
        "%s%n",
        "a b",
        "\u{fc}",
        "u\u{308}",
        "A",
        "a",
    ];
    let url = own_store();
    let (locks, others) = (connect(&url).await, connect(&url).await);
    let mut guards = Vec::new();
    for name in names {
        guards.push(
            locks.lock(name).try_acquire().await.unwrap().unwrap_or_else(|| panic!("{name} is another")),
        );
    }
    for name in names {
        assert!(others.lock(name).try_acquire().await.unwrap().is_none(), "{name}");
        let query = Query::new(Kind::Leases, name);
        let found = locks.provider().list(&query).await.unwrap().entries;
        let names: Vec<_> = found.iter().map(|entry| entry.names.first().as_str()).collect();
        assert!(
            names.contains(&name) && names.iter().all(|found| found.starts_with(name)),
            "{name}: {names:?}"
        );
    }
    for guard in guards {
        guard.release().await.unwrap();
    }
    for name in ["a\r\nSET x y", "a\0", ""] {
        let error = locks.lock(name).try_acquire().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}");
    }
}
