//! Lists of leases and waiters, read from the store as it is: nothing is kept for their sake.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::job::{Answer, Ask};
use super::resp::{Args, Reply};
use super::shared::Shared;
use super::{scripts, words};
use crate::claim::{Digest, LeaseId};
use crate::error::{Error, Result};
use crate::lease::{Kind, Listed, Page, Query};
use crate::name::{Name, Names};

/// Keys that the server looks at in one step of a scan.
const SCAN: &str = "1000";

/// Names whose records are read in one step.
const NAMES: usize = 128;

/// What was found, in the order of the digests.
#[derive(Default)]
struct Found {
    entries: BTreeMap<Digest, (LeaseId, Listed)>,
    /// Whether a lease has names that were not looked at.
    has_parts: bool,
}

/// A page of what there is.
pub(super) async fn list(shared: &Shared, query: &Query) -> Result<Page> {
    let is_after = |listed: &Listed| query.after.is_none_or(|after| listed.lease > after);
    let most = query.limit.saturating_add(1);
    let mut found = scan(shared, &query.prefix, query.kind, most, is_after).await?;
    if found.has_parts {
        // A lease of several names is shown with all of them, and is found by one.
        let digests: Vec<Digest> = found.entries.into_keys().collect();
        let is_one = |listed: &Listed| digests.binary_search(&listed.lease).is_ok();
        found = scan(shared, "", query.kind, most, is_one).await?;
    }
    let more = found.entries.len() > query.limit;
    let entries: Vec<Listed> =
        found.entries.into_values().map(|(_, listed)| listed).take(query.limit).collect();
    let next = more.then(|| entries.last().map(|listed| listed.lease)).flatten();
    Ok(Page { entries, next })
}

/// The lease or waiter that has a digest, and its names.
pub(super) async fn find(shared: &Shared, digest: Digest) -> Result<Option<(LeaseId, Names)>> {
    for kind in [Kind::Leases, Kind::Waiters] {
        let found = scan(shared, "", kind, usize::MAX, |listed| listed.lease == digest).await?;
        if let Some((id, listed)) = found.entries.into_values().next() {
            return Ok(Some((id, listed.names)));
        }
    }
    Ok(None)
}

/// The first `most` of what is held or waits under names that begin with `prefix` and is wanted.
async fn scan(
    shared: &Shared,
    prefix: &str,
    kind: Kind,
    most: usize,
    is_wanted: impl Fn(&Listed) -> bool,
) -> Result<Found> {
    let mut found = Found::default();
    let base = format!("{}l:", shared.target.prefix);
    let pattern = format!("{}{}*", escaped(&base), escaped(prefix));
    let mut cursor = b"0".to_vec();
    loop {
        let scan =
            Args::of([b"SCAN", cursor.as_slice(), b"MATCH", pattern.as_bytes(), b"COUNT", SCAN.as_bytes()]);
        let reply = command(shared, scan).await?;
        let Some([next, keys]) = reply.list() else { return Err(strange()) };
        let keys = keys.list().unwrap_or_default().iter().filter_map(Reply::text);
        let names: Vec<&[u8]> = keys.filter_map(|key| key.strip_prefix(base.as_bytes())).collect();
        for names in names.chunks(NAMES) {
            read(shared, names, kind, &is_wanted, &mut found).await?;
            while found.entries.len() > most {
                found.entries.pop_last();
            }
        }
        next.text().ok_or_else(strange)?.clone_into(&mut cursor);
        if cursor == b"0" {
            found.has_parts &= !prefix.is_empty();
            return Ok(found);
        }
    }
}

async fn read(
    shared: &Shared,
    names: &[&[u8]],
    kind: Kind,
    is_wanted: &impl Fn(&Listed) -> bool,
    found: &mut Found,
) -> Result<()> {
    let what = if kind == Kind::Leases { "leases" } else { "waiters" };
    let mut args = Args::of(["EVAL", scripts::LIST, "1", &format!("{}meta", shared.target.prefix), what]);
    names.iter().for_each(|name| args.push(name));
    let reply = command(shared, args).await?;
    for entry in reply.list().ok_or_else(strange)? {
        let (id, mut listed, total) = words::listed(entry, kind == Kind::Waiters).ok_or_else(strange)?;
        if listed.token.is_none() && kind == Kind::Leases {
            listed.token = shared.desk.find(&id).and_then(|(_, tokens)| tokens).map(|tokens| tokens.first());
        }
        if is_wanted(&listed) {
            found.has_parts |= total > listed.names.len();
            add(&mut found.entries, id, listed);
        }
    }
    Ok(())
}

/// Adds an entry, or the names and the place that it was not known to have.
fn add(found: &mut BTreeMap<Digest, (LeaseId, Listed)>, id: LeaseId, listed: Listed) {
    match found.entry(listed.lease) {
        Entry::Vacant(vacant) => drop(vacant.insert((id, listed))),
        Entry::Occupied(mut same) => {
            let (_, same) = same.get_mut();
            same.ahead = same.ahead.max(listed.ahead);
            let mut all: Vec<Name> = same.names.iter().chain(&listed.names).cloned().collect();
            all.sort_unstable();
            all.dedup();
            if all.len() > same.names.len()
                && let Ok(names) = Names::new(all)
            {
                same.names = names;
            }
        }
    }
}

async fn command(shared: &Shared, args: Args) -> Result<Reply> {
    match shared.ask(Ask::Command(args)).await? {
        Answer::Reply(Reply::Error(error)) => Err(Error::unavailable("list", error)),
        Answer::Reply(reply) => Ok(reply),
        _ => Err(strange()),
    }
}

/// Sends a command that only has to be answered.
pub(super) async fn ping(shared: &Shared) -> Result<()> {
    command(shared, Args::of(["PING"])).await.map(drop)
}

/// A text as a pattern that means just itself.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

fn strange() -> Error {
    Error::internal("list", "the store gave an answer of another version")
}
