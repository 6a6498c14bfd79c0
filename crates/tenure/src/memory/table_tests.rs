use super::*;
use crate::claim::ProcessId;
use crate::token::Epoch;

fn table() -> Table {
    Table::new(Arc::new(TokenSource::new(Epoch::new(7).unwrap())), true)
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(1_000_000_000_000) + Duration::from_millis(ms)
}

fn claim(names: &[&str]) -> Claim {
    let mut claim = Claim::new(ProcessId::from_number(1), Names::parse(names).unwrap());
    claim.wait = true;
    claim.ttl = Duration::from_secs(10);
    claim
}

fn mode(mut claim: Claim, mode: Mode) -> Claim {
    claim.mode = mode;
    claim
}

fn token(answer: Result<Claimed>) -> u64 {
    match answer.unwrap() {
        Claimed::Granted(grant) => grant.tokens.first().get(),
        other => panic!("not granted: {other:?}"),
    }
}

fn granted(events: Vec<Event>) -> Vec<LeaseId> {
    events
        .into_iter()
        .filter_map(|e| if let Event::Granted(id, Some(_)) = e { Some(id) } else { None })
        .collect()
}

#[test]
fn waiters_are_granted_in_order_with_rising_tokens() {
    let mut table = table();
    let claims: Vec<Claim> = (0..4).map(|_| claim(&["a"])).collect();
    let mut last = token(table.claim(at(0), &claims[0]));
    for (index, waiting) in claims.iter().enumerate().skip(1) {
        let Claimed::Queued(place) = table.claim(at(1), waiting).unwrap() else { panic!("busy") };
        assert_eq!(place.ahead as usize, index - 1);
    }
    for pair in claims.windows(2) {
        table.take_events();
        assert_eq!(table.end(at(2), &pair[0].lease), Ended::Released);
        assert_eq!(granted(table.take_events()), [pair[1].lease]);
        let next = token(table.claim(at(2), &pair[1]));
        assert!(next > last, "{next} after {last}");
        last = next;
    }
    table.end(at(3), &claims[3].lease);
    assert!(table.names.is_empty() && table.leases.is_empty());
}

#[test]
fn a_blocked_batch_is_overtaken_sixteen_times_and_then_has_its_names_kept() {
    let mut table = table();
    let holder = claim(&["b"]);
    let batch = claim(&["a", "b"]);
    token(table.claim(at(0), &holder));
    assert!(matches!(table.claim(at(0), &batch).unwrap(), Claimed::Queued(_)));
    for _ in 0..limits::MAX_OVERTAKES {
        let quick = claim(&["a"]);
        token(table.claim(at(1), &quick));
        table.end(at(1), &quick.lease);
    }
    assert!(matches!(table.claim(at(1), &claim(&["a"])).unwrap(), Claimed::Queued(_)));
    table.take_events();
    table.end(at(2), &holder.lease);
    assert_eq!(granted(table.take_events()), [batch.lease]);
}

#[test]
fn a_reader_does_not_pass_a_waiting_writer_and_readers_enter_together() {
    let mut table = table();
    let first = mode(claim(&["a"]), Mode::Shared);
    let writer = claim(&["a"]);
    let readers = [mode(claim(&["a"]), Mode::Shared), mode(claim(&["a"]), Mode::Shared)];
    token(table.claim(at(0), &first));
    assert!(matches!(table.claim(at(0), &writer).unwrap(), Claimed::Queued(_)));
    for reader in &readers {
        assert!(matches!(table.claim(at(0), reader).unwrap(), Claimed::Queued(_)));
    }
    table.end(at(1), &first.lease);
    table.take_events();
    table.end(at(2), &writer.lease);
    assert_eq!(granted(table.take_events()), [readers[0].lease, readers[1].lease]);
}

#[test]
fn a_late_claim_of_an_ended_id_is_never_granted() {
    let mut table = table();
    let late = claim(&["a"]);
    assert_eq!(table.end(at(0), &late.lease), Ended::NotHeld);
    assert!(matches!(table.claim(at(1), &late).unwrap(), Claimed::Busy(_)));
}

#[test]
fn an_expired_lease_is_gone_for_good_and_an_unconfirmed_offer_passes_on() {
    let mut table = table();
    let (dead, silent, live) = (claim(&["a"]), claim(&["a"]), claim(&["a"]));
    token(table.claim(at(0), &dead));
    table.claim(at(8_000), &silent).unwrap();
    table.claim(at(8_000), &live).unwrap();
    let keep = |lease| Keep { lease, ttl: Duration::from_secs(10), tokens: 0 };
    assert!(matches!(table.keep(at(10_000), &keep(dead.lease)), Kept::Gone(Why::Unknown | Why::Expired)));
    assert!(matches!(table.keep(at(10_500), &keep(live.lease)), Kept::Queued(_)));
    assert!(matches!(table.keep(at(13_001), &keep(live.lease)), Kept::Held(_)));
    assert!(matches!(table.keep(at(13_002), &keep(silent.lease)), Kept::Gone(_)));
}

#[test]
fn any_picks_the_first_free_names_in_order_and_leaves_all_queues() {
    let mut table = table();
    let (first, second) = (claim(&["a"]), claim(&["b"]));
    token(table.claim(at(0), &first));
    token(table.claim(at(0), &second));
    let mut any = claim(&["a", "b", "c"]);
    any.pick = Pick::Any { count: 2 };
    assert!(matches!(table.claim(at(0), &any).unwrap(), Claimed::Queued(_)));
    table.end(at(1), &second.lease);
    let Claimed::Granted(grant) = table.claim(at(1), &any).unwrap() else { panic!("not granted") };
    assert_eq!(grant.names.to_string(), "b c");
    assert!(table.names.values().all(|entry| entry.queue.is_empty()));
}

#[test]
fn permits_add_up_to_their_limit_and_another_limit_is_refused() {
    let mut table = table();
    let permits = |take, of| mode(claim(&["gpu"]), Mode::Permits { take, of });
    token(table.claim(at(0), &permits(3, 4)));
    token(table.claim(at(0), &permits(1, 4)));
    assert!(matches!(table.claim(at(0), &permits(1, 4)).unwrap(), Claimed::Queued(_)));
    assert_eq!(table.claim(at(0), &permits(1, 5)).unwrap_err().operation(), "mode");
    assert_eq!(table.claim(at(0), &claim(&["gpu"])).unwrap_err().operation(), "mode");
}

#[test]
fn a_lingering_lease_keeps_its_names_until_the_time_is_over() {
    let mut table = table();
    let mut job = claim(&["job"]);
    job.linger = Duration::from_secs(60);
    job.wait = false;
    token(table.claim(at(0), &job));
    assert_eq!(table.end(at(1_000), &job.lease), Ended::Lingering);
    let mut next = claim(&["job"]);
    next.wait = false;
    assert!(matches!(table.claim(at(59_999), &next).unwrap(), Claimed::Busy(_)));
    let mut next = claim(&["job"]);
    next.wait = false;
    token(table.claim(at(60_000), &next));
}
