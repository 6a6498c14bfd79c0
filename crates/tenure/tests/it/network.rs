//! A network between two namespaces that drops packets without a word: no end of it is told, and no socket closes.
//!
//! It needs rights that a test may not have, so `cargo xtask soak` plays the role `network` here; by hand nothing is done.

use std::process::Command;
use std::time::Duration;

use tenure::{Clock, Locks};
use tenure_testkit::PostgresConfig;
use tenure_testkit::process::{Child, Role, play_role, run, say};

use crate::patience::{in_time, until};

/// The test that a child runs, which plays the child's role; `xtask` starts the first of them.
const ROLE: &str = "network::a_child_plays_its_role";

const ROLES: [Role; 2] = [("network", network), ("far", far)];

/// Of no effect in a run by hand.
#[test]
fn a_child_plays_its_role() {
    play_role(&ROLES);
}

/// The two ends of the network, and an address of its link that nobody has.
const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";
const NOBODY: &str = "02:00:00:00:00:01";

/// How long a holder is waited for.
const TTL: Duration = Duration::from_secs(3);

/// Runs `ip` in this namespace, or in that of a process; whether it did what it was told.
fn ip(of: Option<u32>, words: &str) -> bool {
    let mut command = Command::new(if of.is_some() { "nsenter" } else { "ip" });
    if let Some(pid) = of {
        command.arg(format!("--net=/proc/{pid}/ns/net")).arg("ip");
    }
    command.args(words.split(' ')).output().unwrap().status.success()
}

/// The role of a process in a namespace of its own: it has the server, and waits for what a holder in another namespace has.
fn network(_: &str) {
    run(async {
        assert!(ip(None, "link set lo up"), "it is run in a namespace of its own");
        let server =
            PostgresConfig::default().line("listen_addresses = '*'").access("host all all all trust");
        let server = server.start();
        for mode in ["advisory", "rows"] {
            let database = server.database();
            let url = format!("{}?mode={mode}", server.url(&database));
            cut_off(&url).await;
        }
        say("done ", "");
    });
}

/// A holder is cut off from the server of `url`: it knows before the next one has the lock, which has it after the ttl.
async fn cut_off(url: &str) {
    let clock = Clock::system();
    let locks = Locks::connect(url).await.unwrap();
    let mut holder = Child::start_apart(ROLE, "far", &url.replace("127.0.0.1", NEAR));
    holder.hears("alone");
    let pid = holder.pid();
    for (of, words) in [
        (None, format!("link add near type veth peer name far netns {pid}")),
        (None, format!("addr add {NEAR}/24 dev near")),
        (None, "link set near up".to_owned()),
        (Some(pid), format!("addr add {FAR}/24 dev far")),
        (Some(pid), "link set far up".to_owned()),
    ] {
        assert!(ip(of, &words), "{words}");
    }
    let token: u64 = holder.hears("holds ").parse().unwrap();
    assert!(locks.lock("a").try_acquire().await.unwrap().is_none());
    // Each end sends to nobody, and hears nothing of it.
    for (of, words) in [
        (Some(pid), format!("neigh replace {NEAR} lladdr {NOBODY} dev far nud permanent")),
        (None, format!("neigh replace {FAR} lladdr {NOBODY} dev near nud permanent")),
    ] {
        assert!(ip(of, &words), "{words}");
    }
    let cut = clock.now();
    let lost = tokio::task::spawn_blocking(move || {
        holder.hears("lost");
        (clock.now(), holder)
    });
    let next = in_time("the lock of a holder that is cut off", locks.lock("a").acquire()).await.unwrap();
    let granted = clock.now();
    let (lost, holder) = in_time("the holder's loss", lost).await.unwrap();
    assert!(next.token().get() > token, "the tokens went back");
    assert!(lost <= granted, "the holder believed in its lock after the next one had it");
    println!(
        "{url}: cut off, the holder of a ttl of {TTL:?} knew after {:?}, the next one held after {:?}",
        cut.until(lost),
        cut.until(granted)
    );
    next.release().await.unwrap();
    drop(holder);
    // The other end of the network ends with the last process there.
    ip(None, "link del near");
}

/// The role of the holder, in a namespace of its own: says `holds` with its token, and `lost` when it is.
fn far(url: &str) {
    run(async {
        say("alone", "");
        until("there is a network", async || Locks::connect(url).await.is_ok()).await;
        let locks = Locks::connect(url).await.unwrap();
        let guard = locks.lock("a").ttl(TTL).acquire().await.unwrap();
        say("holds ", guard.token());
        guard.lost().await;
        say("lost", "");
        // What it holds it holds on to.
        std::future::pending::<()>().await;
    });
}
