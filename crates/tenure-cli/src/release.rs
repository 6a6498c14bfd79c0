//! `tenure release`.

use std::io::{self, Write as _};

use tenure::claim::Digest;
use tenure::lease::Kind;
use tenure::provider::{Force, Forced};
use tenure::{Locks, Name, Result, Settings};

use crate::args::ReleaseArgs;
use crate::exit::Code;
use crate::row;
use crate::store;

/// Asks holders for their leases, or ends them, and says what it did.
pub(crate) async fn release(url: Option<&str>, args: &ReleaseArgs) -> anyhow::Result<Code> {
    let name = args.name.as_ref().map(Name::new).transpose()?;
    let locks = store::connect(url, Settings::default()).await?;
    let done = release_in(&locks, args, name.as_ref()).await;
    locks.close(store::CLOSE_WITHIN).await;
    Ok(done?)
}

async fn release_in(locks: &Locks, args: &ReleaseArgs, name: Option<&Name>) -> Result<Code> {
    let how = if args.force { Force::Now } else { Force::Revoke };
    let targets = match (args.lease, name) {
        (Some(lease), _) => vec![lease],
        (None, Some(name)) => with_name(locks, name).await?,
        (None, None) => Vec::new(),
    };
    let mut found = false;
    let mut out = io::stdout();
    for lease in targets {
        let what = match locks.provider().force(lease, how).await? {
            Forced::Ended => "ended",
            Forced::Asked => "asked its holder for",
            Forced::NotFound => continue,
        };
        found = true;
        let _ = writeln!(out, "{what} {lease}");
    }
    if found {
        return Ok(Code::OK);
    }
    let _ = writeln!(io::stderr(), "tenure: nothing to release");
    Ok(Code::NOTHING)
}

/// The leases that have `name`. Not those who wait for it: they would only queue again.
async fn with_name(locks: &Locks, name: &Name) -> Result<Vec<Digest>> {
    let leases = row::all(locks.provider().as_ref(), Kind::Leases, name.as_str()).await?;
    let of_name = leases.iter().filter(|lease| lease.names.iter().any(|one| one == name));
    Ok(of_name.map(|lease| lease.lease).collect())
}
