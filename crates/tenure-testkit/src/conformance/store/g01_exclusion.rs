//! G1: two leases of one name that exclude each other are never both held by their own clocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenure::clock::Instant;
use tenure::lease::{Claimed, Ended, Grant};
use tenure::name::Names;
use tenure::{Claim, Mode, Name, limits};

use crate::client::{Asking, Client};
use crate::conformance::SHORT;
use crate::seed::seed;
use crate::stand::Stage;

/// Whoever comes while a name is held exclusively is busy, from the same process and from another.
pub async fn an_exclusive_lease_excludes_every_other(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("account:7");
    a.hold(&held).await;
    for other in [&a, &b] {
        other.busy(&other.ask("account:7")).await;
        other.busy(&other.ask("account:7").shared()).await;
        other.busy(&other.ask("account:6 account:7 account:8")).await;
    }
    b.hold(&b.ask("account:8")).await;
    assert_eq!(a.end(&held).await, Ended::Released);
    b.hold(&b.ask("account:7")).await;
}

/// Readers hold together; a writer gets in when the last of them has left, and keeps them out then.
pub async fn readers_share_a_name_and_exclude_a_writer(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (first, second) = (a.ask("catalog").shared(), b.ask("catalog").shared());
    a.hold(&first).await;
    b.hold(&second).await;
    b.busy(&b.ask("catalog")).await;
    a.end(&first).await;
    b.busy(&b.ask("catalog")).await;
    b.end(&second).await;
    b.hold(&b.ask("catalog")).await;
    a.busy(&a.ask("catalog").shared()).await;
}

/// The permits that are taken together are never more than there are.
pub async fn permits_are_never_given_beyond_their_number(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let (two, one) = (a.ask("gpu").permits(2, 3), b.ask("gpu").permits(1, 3));
    a.hold(&two).await;
    b.busy(&b.ask("gpu").permits(2, 3)).await;
    b.hold(&one).await;
    a.busy(&a.ask("gpu").permits(1, 3)).await;
    b.end(&one).await;
    b.busy(&b.ask("gpu").permits(2, 3)).await;
    a.end(&two).await;
    b.hold(&b.ask("gpu").permits(3, 3)).await;
    a.busy(&a.ask("gpu").permits(1, 3)).await;
}

/// A lease on several names excludes on each of them, and on no other.
pub async fn a_lease_on_many_names_excludes_on_each(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let batch = a.ask("a b c");
    assert_eq!(a.hold(&batch).await.names, batch.names);
    for name in ["a", "b", "c"] {
        b.busy(&b.ask(name)).await;
    }
    b.hold(&b.ask("d")).await;
    a.end(&batch).await;
    for name in ["a", "b", "c"] {
        b.hold(&b.ask(name)).await;
    }
}

/// A claim on any of its names gets the first that are free, excludes on those, and leaves the others alone.
pub async fn any_takes_the_first_free_names_and_no_other(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    a.hold(&a.ask("d1")).await;
    let any = b.ask("d1 d2 d3 d4").any(2);
    assert_eq!(b.hold(&any).await.names, Names::parse(["d2", "d3"]).unwrap());
    a.busy(&a.ask("d2")).await;
    a.busy(&a.ask("d3")).await;
    a.busy(&a.ask("d1 d2 d3 d4").any(2)).await;
    a.hold(&a.ask("d4")).await;
    b.end(&any).await;
    a.hold(&a.ask("d2 d3")).await;
}

/// Names are compared byte for byte: nothing is folded, cut or trimmed.
pub async fn names_that_differ_in_one_byte_are_different_names(stage: Stage) {
    let client = stage.client().await;
    let long = "x".repeat(Name::MAX_BYTES - 1);
    let (long_a, long_b, percent) = (format!("{long}a"), format!("{long}b"), "100%");
    let names = [
        "job",
        "Job",
        "JOB",
        "job:",
        "job\u{a0}",
        "caf\u{e9}",
        "cafe\u{301}",
        "strasse",
        "straße",
        "{job}",
        "job*",
        "job_",
        "jobs",
        "'job'",
        "\u{1f512}",
        "\u{1f513}",
        "i",
        "\u{131}",
        "I",
        "\u{130}",
        percent,
        &long,
        &long_a,
        &long_b,
    ];
    for name in names {
        client.hold(&client.ask(name)).await;
    }
    for name in names {
        assert_eq!(client.busy(&client.ask(name)).await.name.expect("a name is in the way").as_str(), name);
    }
}

/// A name is taken until its ttl is over by the store's clock, and free then; the holder stops believing before.
pub async fn a_lease_excludes_until_its_ttl_and_not_longer(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let before = stage.clock().now();
    let grant = a.hold(&a.ask("job").lasting(SHORT)).await;
    assert!(
        grant.deadline <= stage.clock().now() + SHORT - limits::drift(SHORT),
        "counts from before the request"
    );
    assert!(grant.deadline >= before + SHORT - limits::drift(SHORT), "the holder has the ttl but for drift");
    let by = b.busy(&b.ask("job")).await;
    assert!(by.remaining.is_none_or(|remaining| remaining <= SHORT));
    let granted = free_at(&stage, &b, "job").await;
    assert!(granted >= grant.deadline, "granted while its holder believed in it");
    assert!(granted <= before + SHORT + stage.slack(), "granted late");
}

/// A renewal moves the end of the lease, and never brings it nearer.
pub async fn a_renewed_lease_excludes_for_another_ttl(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let held = a.ask("job").lasting(SHORT);
    let first = a.hold(&held).await;
    stage.pass(SHORT / 2).await;
    let renewed = a.renew(&held).await;
    assert!(renewed.deadline > first.deadline);
    let shorter = a.keep_for(&held, limits::MIN_TTL, 0).await.expect("the store can be asked");
    assert!(matches!(shorter, tenure::lease::Kept::Held(_)));
    let granted = free_at(&stage, &b, "job").await;
    assert!(granted >= renewed.deadline, "granted while its holder believed in it");
}

/// `linger`: the names stay taken for that long after the grant although the lease was given up.
pub async fn a_lingering_lease_excludes_although_it_was_ended(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let job = a.ask("job:settle").lingering(SHORT);
    a.hold(&job).await;
    let held = stage.clock().now();
    assert_eq!(a.end(&job).await, Ended::Lingering);
    a.gone(&job).await;
    let granted = free_at(&stage, &b, "job:settle").await;
    assert!(granted >= held + SHORT / 2, "it did not linger");
    assert!(granted <= held + SHORT + stage.slack(), "it lingered for too long");
}

/// A lease that was held for longer than it lingers is free as soon as it is ended.
pub async fn a_lease_that_was_held_for_long_does_not_linger(stage: Stage) {
    let (a, b) = (stage.client().await, stage.client().await);
    let job = a.ask("job:settle").lingering(SHORT / 4);
    a.hold(&job).await;
    stage.pass(SHORT / 2).await;
    assert_eq!(a.end(&job).await, Ended::Released);
    b.hold(&b.ask("job:settle")).await;
}

/// The quick way into a store of this process and the slow one exclude each other in both directions.
pub async fn the_immediate_way_in_excludes_and_is_excluded(stage: Stage) {
    let client = stage.client().await;
    let Some(quick) = client.provider().immediate() else {
        return;
    };
    let names = Names::parse(["job"]).unwrap();
    let ticket = quick.take(&names, None).expect("a free name is taken");
    assert!(quick.holds(&names, ticket) && quick.take(&names, None).is_none());
    client.busy(&client.ask("job")).await;
    client.busy(&client.ask("job").shared()).await;
    client.busy(&client.ask("job other")).await;
    assert!(quick.give(&names, ticket) && !quick.give(&names, ticket) && !quick.holds(&names, ticket));
    let slow = client.ask("job");
    assert!(client.hold(&slow).await.tokens.first() > ticket.token);
    assert!(quick.take(&names, None).is_none());
    let waiter = client.ask("job").waiting();
    client.queue(&waiter).await;
    client.end(&slow).await;
    assert!(quick.take(&names, None).is_none(), "it does not pass a waiter");
    client.end(&waiter).await;
    let ticket = quick.take(&names, None).expect("a free name is taken");
    let waiter = client.ask("job").waiting();
    client.queue(&waiter).await;
    assert!(quick.give(&names, ticket));
    assert!(client.told(&waiter, stage.slack()).await, "giving back wakes a waiter");
    client.renew(&waiter).await;
}

/// When `client` first gets `name`, as seen after the answer: a grant that is seen too early was too early.
async fn free_at(stage: &Stage, client: &Client, name: &str) -> Instant {
    loop {
        if let Claimed::Granted(_) = client.claim(&client.ask(name)).await.expect("the store can be asked") {
            return stage.clock().now();
        }
        stage.pass(Duration::from_millis(10)).await;
    }
}

/// Random claims of every mode from four processes, against a ledger of who believes what. The seed is printed.
pub async fn no_two_holders_that_exclude_each_other_ever_believe_at_once(stage: Stage) {
    let seed = seed();
    let ledger = Arc::new(Ledger::default());
    let mut tasks = tokio::task::JoinSet::new();
    for process in 0..4_u64 {
        let client = Arc::new(stage.client().await);
        for task in 0..4_u64 {
            let (client, ledger, rounds) = (Arc::clone(&client), Arc::clone(&ledger), stage.rounds(500));
            let rng = StdRng::seed_from_u64(seed ^ (process << 8 | task));
            tasks.spawn(hammer(client, ledger, rng, rounds));
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no two holders at once");
    }
    assert!(*ledger.grants.lock() > 100, "the test is not vacuous");
    stage.quiet(&stage.client().await, Duration::ZERO).await;
}

async fn hammer(client: Arc<Client>, ledger: Arc<Ledger>, mut rng: StdRng, rounds: usize) {
    const PLAIN: [&str; 4] = ["a", "b", "a b", "a b c"];
    for _ in 0..rounds {
        let which = rng.random_range(0..PLAIN.len());
        let claim = match rng.random_range(0..5) {
            0 => client.ask(PLAIN[which]).shared(),
            1 => client.ask("a b c").any(rng.random_range(1..=2)),
            2 => client.ask("p").permits(rng.random_range(1..=3), 4),
            3 => client.ask("p q").permits(rng.random_range(1..=3), 4),
            _ => client.ask(PLAIN[which]),
        };
        let claim = if rng.random_bool(0.5) { claim.waiting() } else { claim };
        let grant = match client.claim(&claim).await.expect("the store can be asked") {
            Claimed::Granted(grant) => grant,
            Claimed::Queued(_) => client.granted(&claim).await,
            Claimed::Busy(_) => continue,
        };
        ledger.enter(&claim, &grant);
        for _ in 0..rng.random_range(0..3) {
            tokio::task::yield_now().await;
        }
        ledger.leave(&claim, &grant);
        assert_eq!(client.end(&claim).await, Ended::Released);
    }
}

/// Who believes to hold what: per name the sum of what is taken, in units of which a name has `ALL`.
#[derive(Default)]
struct Ledger {
    taken: Mutex<HashMap<Name, u32>>,
    grants: Mutex<u64>,
}

const ALL: u32 = 1_000_000;

impl Ledger {
    fn units(claim: &Claim) -> u32 {
        match claim.mode {
            Mode::Exclusive => ALL,
            Mode::Permits { take, of } => ALL / of * take,
            _ => 1,
        }
    }

    fn enter(&self, claim: &Claim, grant: &Grant) {
        *self.grants.lock() += 1;
        let mut taken = self.taken.lock();
        for name in &grant.names {
            let sum = taken.entry(name.clone()).or_default();
            *sum += Ledger::units(claim);
            assert!(*sum <= ALL, "two holders of {name}");
        }
    }

    fn leave(&self, claim: &Claim, grant: &Grant) {
        let mut taken = self.taken.lock();
        for name in &grant.names {
            *taken.get_mut(name).expect("it was entered") -= Ledger::units(claim);
        }
    }
}
