//! A lease or a waiter as the commands show it: in a table, in a line, in JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use tenure::claim::Origin;
use tenure::lease::{Kind, Listed, Query};
use tenure::{Mode, Provider, Result};

use crate::show::{clean, span};

/// All of `kind` whose names begin with `prefix`, in the order of their names.
pub(crate) async fn all(provider: &dyn Provider, kind: Kind, prefix: &str) -> Result<Vec<Listed>> {
    let mut query = Query::new(kind, prefix);
    let mut all = Vec::new();
    loop {
        let page = provider.list(&query).await?;
        all.extend(page.entries);
        query.after = page.next;
        if query.after.is_none() {
            all.sort_by(|a, b| {
                (a.names.as_slice(), a.ahead, a.lease).cmp(&(b.names.as_slice(), b.ahead, b.lease))
            });
            return Ok(all);
        }
    }
}

/// Who holds one of `names`, in words: `: a is held for 3m 5s by host=h pid=7`. Empty when the store does not tell.
pub(crate) async fn in_the_way(provider: &dyn Provider, names: &[String]) -> String {
    for name in names {
        let leases = all(provider, Kind::Leases, name).await.unwrap_or_default();
        if let Some(lease) = leases.iter().find(|lease| lease.names.iter().any(|held| held.as_str() == name))
        {
            let by = holder(lease);
            let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
            return format!(": {} is held for {}{by}", clean(name), span(lease.age));
        }
    }
    String::new()
}

/// One entry in JSON. Tokens are strings, since JSON numbers lose integers above 2^53.
#[derive(Debug, Serialize)]
pub(crate) struct Json<'a> {
    lease: String,
    names: Vec<&'a str>,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    take: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    ttl_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining_ms: Option<u128>,
    age_ms: u128,
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u32>,
    origin: &'static str,
    holder: BTreeMap<&'a str, &'a str>,
}

impl<'a> From<&'a Listed> for Json<'a> {
    fn from(entry: &'a Listed) -> Self {
        let (take, of) = match entry.mode {
            Mode::Permits { take, of } => (Some(take), Some(of)),
            _ => (None, None),
        };
        Json {
            lease: entry.lease.to_string(),
            names: entry.names.iter().map(AsRef::as_ref).collect(),
            mode: entry.mode.word(),
            take,
            of,
            token: entry.token.map(|token| token.to_string()),
            ttl_ms: entry.ttl.as_millis(),
            remaining_ms: entry.remaining.map(|span| span.as_millis()),
            age_ms: entry.age.as_millis(),
            ahead: entry.token.is_none().then_some(entry.ahead),
            origin: match entry.origin {
                Origin::Local => "local",
                Origin::Remote => "remote",
            },
            holder: entry.meta.iter().flat_map(|meta| meta.iter()).collect(),
        }
    }
}

/// A table of `entries`, or of those who wait.
pub(crate) fn table(entries: &[Listed], kind: Kind) -> String {
    let head = match kind {
        Kind::Leases => ["LEASE", "NAMES", "MODE", "TOKEN", "REMAINING", "AGE", "HOLDER"],
        Kind::Waiters => ["CLAIM", "NAMES", "MODE", "AHEAD", "TTL", "WAITING", "HOLDER"],
    };
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(entries.iter().map(|entry| {
        let (fourth, fifth) = match kind {
            Kind::Leases => (entry.token.map(|token| token.to_string()), entry.remaining.map(span)),
            Kind::Waiters => (Some(entry.ahead.to_string()), Some(span(entry.ttl))),
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            entry.lease.to_string(),
            names(entry),
            mode(entry.mode),
            or_dash(fourth),
            or_dash(fifth),
            span(entry.age),
            or_dash(Some(holder(entry)).filter(|text| !text.is_empty())),
        ]
    }));
    align(&rows)
}

/// The names of an entry, fit to be printed.
pub(crate) fn names(entry: &Listed) -> String {
    clean(&entry.names.to_string())
}

/// What the holder says of itself, fit to be printed.
pub(crate) fn holder(entry: &Listed) -> String {
    let fields = entry.meta.iter().flat_map(|meta| meta.iter());
    fields.map(|(key, value)| format!("{}={}", clean(key), clean(value))).collect::<Vec<_>>().join(" ")
}

/// How an entry shares its names: `exclusive`, `shared`, `permit 1/4`.
pub(crate) fn mode(mode: Mode) -> String {
    match mode {
        Mode::Permits { take, of } => format!("permit {take}/{of}"),
        other => other.word().to_owned(),
    }
}

fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;
    use tenure::{LeaseId, Meta, Names};

    fn entry() -> Listed {
        let names = Names::parse(["b", "a\u{202e}"]).unwrap();
        let mut entry = Listed::new(
            LeaseId::random().digest(),
            names,
            Mode::Permits { take: 1, of: 4 },
            Duration::from_secs(30),
            Origin::Local,
        );
        entry.token = Some("4503599627370497".parse().unwrap());
        entry.meta = Some(Arc::new(Meta::new([("pid", "7"), ("host", "\u{200f}h")]).unwrap()));
        entry
    }

    #[test]
    fn a_table_has_a_line_for_each_entry_and_hides_nothing() {
        let entry = entry();
        let table = table(std::slice::from_ref(&entry), Kind::Leases);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 2);
        for part in [
            entry.lease.to_string().as_str(),
            "a\\u{202e} b",
            "permit 1/4",
            "4503599627370497",
            "host=\\u{200f}h pid=7",
        ] {
            assert!(lines[1].contains(part), "{part} in {}", lines[1]);
        }
        assert_eq!(lines[0].find("NAMES"), lines[1].find("a\\u"));
    }

    #[test]
    fn a_token_is_a_string_in_json() {
        let json = serde_json::to_value(Json::from(&entry())).unwrap();
        assert_eq!(json["token"], "4503599627370497");
        assert_eq!(json["of"], 4);
        assert_eq!(json["holder"]["pid"], "7");
        assert!(json.get("ahead").is_none());
    }
}
