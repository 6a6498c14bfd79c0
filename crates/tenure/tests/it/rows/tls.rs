//! TLS, which is the same in either mode of the database.

use std::time::Duration;

use tenure::{Error, ErrorKind, Locks};
use tenure_testkit::certificates::Authority;
use tenure_testkit::{PostgresConfig, PostgresServer};

use super::{in_time, until};

const PASSWORD: &str = "hunter2";

/// A server that lets in who comes encrypted and has the password, and the authority that its certificate, for `localhost`, is of.
fn server() -> (PostgresServer, Authority) {
    let authority = Authority::new();
    let rules = "hostssl all all 127.0.0.1/32 scram-sha-256";
    let server = PostgresConfig::default().access(rules).tls(&authority.certify("localhost")).start();
    let role = format!("create role carla login superuser password '{PASSWORD}'");
    server.sql("postgres", &role);
    (server, authority)
}

fn url(server: &PostgresServer, host: &str, options: &str) -> String {
    format!("postgres://carla:{PASSWORD}@{host}:{}/postgres?{options}", server.port())
}

/// Why a URL is refused, without the password in it.
async fn refusal(url: &str) -> Error {
    let error = in_time("a refusal", Locks::connect(url)).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    error
}

/// Sessions of clients that are not encrypted, but for those over the socket.
const PLAIN: &str = "select count(*) from pg_stat_ssl s join pg_stat_activity a on a.pid = s.pid
    where a.usename = 'carla' and not s.ssl";

/// Connections, also that which cancels a wait, are encrypted as soon as the server can.
#[tokio::test(flavor = "multi_thread")]
async fn all_connections_are_encrypted_and_a_known_authority_is_taken() {
    for mode in ["advisory", "rows"] {
        let (server, authority) = tokio::task::spawn_blocking(server).await.unwrap();
        let trusting = format!("sslmode=verify-full&sslrootcert={}", authority.file().display());
        for options in ["sslmode=prefer", "sslmode=require", &trusting] {
            let url = url(&server, "localhost", &format!("mode={mode}&{options}"));
            let (locks, others) = (Locks::connect(&url).await.unwrap(), Locks::connect(&url).await.unwrap());
            let guard = locks.lock("x").acquire().await.unwrap();
            let wait = others.lock("x").try_acquire_for(Duration::from_millis(50));
            assert!(in_time("the end of a wait", wait).await.unwrap().is_none());
            let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted";
            until("the wait is cancelled", async || server.sql("postgres", waiting) == "0").await;
            assert_eq!(server.sql("postgres", PLAIN), "0", "{options}");
            guard.release().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_and_the_password_is_not_shown() {
    let (server, authority) = tokio::task::spawn_blocking(server).await.unwrap();
    let (known, stranger) = (authority.file(), Authority::new());
    let trust =
        |authority: &Authority| format!("sslmode=verify-full&sslrootcert={}", authority.file().display());
    // An authority that did not sign it; none of this machine's did; another host than that of the certificate.
    for (host, options) in [
        ("localhost", trust(&stranger)),
        ("localhost", "sslmode=verify-full".to_owned()),
        ("127.0.0.1", trust(&authority)),
    ] {
        let error = refusal(&url(&server, host, &options)).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{host} {options}: {error}");
        assert!(error.to_string().contains("certificate"), "{host} {options}: {error}");
    }
    let error = refusal(&url(&server, "localhost", "sslmode=disable")).await;
    assert!(error.to_string().contains("pg_hba.conf"), "{error}");
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error = refusal(&url(&server, "localhost", "sslmode=verify-full&sslrootcert=/nowhere/ca.pem")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let error =
        refusal(&url(&server, "localhost", &format!("sslmode=require&sslrootcert={}", known.display())))
            .await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let wrong = url(&server, "localhost", &trust(&authority)).replace(PASSWORD, "hunter3");
    let error = in_time("a refusal", Locks::connect(&wrong)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter3"), "{error}");
}

/// A server that cannot encrypt is taken by `prefer` alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let server = tokio::task::spawn_blocking(PostgresServer::start).await.unwrap();
    server.sql("postgres", &format!("create role carla login superuser password '{PASSWORD}'"));
    Locks::connect(&url(&server, "localhost", "sslmode=prefer")).await.unwrap();
    for mode in ["require", "verify-full"] {
        let error = refusal(&url(&server, "localhost", &format!("sslmode={mode}"))).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
}
