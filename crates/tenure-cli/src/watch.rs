//! `tenure watch`.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::time::Duration;

use serde::Serialize;
use tenure::lease::{Kind, Listed};
use tenure::{Digest, Locks, Result, Settings};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::WatchArgs;
use crate::exit::Code;
use crate::row::{self, Json};
use crate::store;

/// Between two looks at the least: each lists the whole store.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// What is seen of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Seen {
    /// It waits.
    Waiting,
    /// It is held.
    Granted,
    /// It was held and is not any more.
    Released,
    /// It waited and was neither granted nor does it wait any more.
    Withdrawn,
}

impl Seen {
    fn word(self) -> &'static str {
        match self {
            Seen::Waiting => "waiting",
            Seen::Granted => "granted",
            Seen::Released => "released",
            Seen::Withdrawn => "withdrawn",
        }
    }
}

/// Claims by their digests, as they were last seen.
type Sample = HashMap<Digest, (Seen, Listed)>;

/// A change in JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: Seen,
    #[serde(flatten)]
    entry: Json<'a>,
}

/// Prints changes until it is interrupted or nobody reads them any more.
pub(crate) async fn watch(url: Option<&str>, args: &WatchArgs) -> anyhow::Result<Code> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let locks = store::connect(url, Settings::default()).await?;
    let ended = tokio::select! {
        // Two signals and the work: any order will do.
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        ended = follow(&locks, args) => ended,
    };
    locks.close(store::CLOSE_WITHIN).await;
    ended?;
    Ok(Code::OK)
}

async fn follow(locks: &Locks, args: &WatchArgs) -> Result<()> {
    let mut before = Sample::new();
    loop {
        let now = look(locks, &args.prefix).await?;
        for (seen, entry) in changes(&before, &now) {
            let line = if args.json { json(seen, entry) } else { plain(seen, entry) };
            let mut out = io::stdout().lock();
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
        }
        before = now;
        tokio::time::sleep(args.every.max(MIN_PAUSE)).await;
    }
}

async fn look(locks: &Locks, prefix: &str) -> Result<Sample> {
    let mut sample = Sample::new();
    // Waiters first: who is granted between the two looks is seen as granted.
    for (kind, seen) in [(Kind::Waiters, Seen::Waiting), (Kind::Leases, Seen::Granted)] {
        let entries = row::all(locks.provider().as_ref(), kind, prefix).await?;
        sample.extend(entries.into_iter().map(|entry| (entry.lease, (seen, entry))));
    }
    Ok(sample)
}

/// What changed between two looks: what ended first, then what began, each the older first.
fn changes<'a>(before: &'a Sample, now: &'a Sample) -> Vec<(Seen, &'a Listed)> {
    let ended =
        before.iter().filter(|(lease, _)| !now.contains_key(lease)).map(|(_, (seen, entry))| match seen {
            Seen::Granted => (Seen::Released, entry),
            _ => (Seen::Withdrawn, entry),
        });
    let began = now.iter().filter(|(lease, (seen, _))| before.get(lease).is_none_or(|(was, _)| was != seen));
    let began = began.map(|(_, (seen, entry))| (*seen, entry));
    let by_age =
        |changes: &mut Vec<(Seen, &Listed)>| changes.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.age));
    let (mut ended, mut began): (Vec<_>, Vec<_>) = (ended.collect(), began.collect());
    by_age(&mut ended);
    by_age(&mut began);
    ended.append(&mut began);
    ended
}

fn plain(seen: Seen, entry: &Listed) -> String {
    let token = entry.token.map(|token| format!(" token={token}")).unwrap_or_default();
    let parts = [row::names(entry), row::mode(entry.mode), row::holder(entry)];
    format!("{:9} {} {}{token}", seen.word(), entry.lease, parts.join(" ").trim_end())
}

fn json(event: Seen, entry: &Listed) -> String {
    let line = Line { event, entry: Json::from(entry) };
    serde_json::to_string(&line).expect("a line has string keys alone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure::claim::Origin;
    use tenure::{LeaseId, Mode, Name};

    fn entry(name: &str) -> Listed {
        let names = Name::new(name).unwrap().into();
        Listed::new(
            LeaseId::random().digest(),
            names,
            Mode::Exclusive,
            Duration::from_secs(30),
            Origin::Local,
        )
    }

    fn sample(entries: &[(Seen, &Listed)]) -> Sample {
        entries.iter().map(|(seen, entry)| (entry.lease, (*seen, (*entry).clone()))).collect()
    }

    #[test]
    fn each_change_is_said_once_and_what_stays_is_not_said() {
        let (a, b, c, d) = (entry("a"), entry("b"), entry("c"), entry("d"));
        let before =
            sample(&[(Seen::Granted, &a), (Seen::Waiting, &b), (Seen::Waiting, &c), (Seen::Granted, &d)]);
        let now = sample(&[(Seen::Granted, &b), (Seen::Granted, &d)]);
        let mut said: Vec<_> =
            changes(&before, &now).into_iter().map(|(seen, entry)| (entry.names.to_string(), seen)).collect();
        said.sort_by_key(|(name, _)| name.clone());
        let expected = [("a", Seen::Released), ("b", Seen::Granted), ("c", Seen::Withdrawn)];
        assert_eq!(said, expected.map(|(name, seen)| (name.to_owned(), seen)));
        assert!(changes(&now, &now).is_empty());
    }
}
