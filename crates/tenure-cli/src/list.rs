//! `tenure list`.

use std::io::{self, Write as _};

use tenure::Settings;
use tenure::lease::Kind;

use crate::args::ListArgs;
use crate::exit::Code;
use crate::row::{self, Json};
use crate::store;

/// Prints who holds what, or who waits.
pub(crate) async fn list(url: Option<&str>, args: &ListArgs) -> anyhow::Result<Code> {
    let kind = if args.waiters { Kind::Waiters } else { Kind::Leases };
    let locks = store::connect(url, Settings::default()).await?;
    let entries = row::all(locks.provider().as_ref(), kind, &args.prefix).await;
    locks.close(store::CLOSE_WITHIN).await;
    let entries = entries?;
    let text = if args.json {
        let rows: Vec<Json<'_>> = entries.iter().map(Json::from).collect();
        format!("{}\n", serde_json::to_string_pretty(&rows)?)
    } else {
        row::table(&entries, kind)
    };
    // Who reads no further (`| head`) has what it wants.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(Code::OK)
}
