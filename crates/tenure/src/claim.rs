//! The ask: a [`Claim`] on names, and the identities that go with it.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use uuid::{Uuid, Variant};

use crate::error::{Error, Result};
use crate::limits;
use crate::name::Names;
use crate::provider::Caps;
use crate::token::FencingToken;

/// The identity of one claim, made by its caller, fresh for every claim at the store.
///
/// Acquire, renew and release are idempotent by it. It is the holder's secret (122 random bits): who knows it
/// can release the lease. It is never logged or listed; what people see is its [`Digest`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(Uuid);

impl LeaseId {
    /// A fresh random id.
    pub fn random() -> Self {
        LeaseId(Uuid::new_v4())
    }

    /// The id as 16 bytes, to be stored.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The id that [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        LeaseId(Uuid::from_bytes(bytes))
    }

    /// The id in its wire form, a hyphenated UUID. It is a secret: send it to the store and nowhere else.
    pub fn reveal(&self) -> String {
        self.0.hyphenated().to_string()
    }

    /// The id of a lease that has none of its own since it was taken inside the process: its token, and a number
    /// that tells its names apart. Never random, so no claim that was parsed from a wire can name it.
    pub(crate) fn inward(token: FencingToken, part: u64) -> Self {
        // Two zero bits at the top of the lower half are a variant that no random UUID has.
        LeaseId(Uuid::from_u64_pair(token.get(), part >> 2))
    }

    /// What people may see of it.
    pub fn digest(&self) -> Digest {
        let bytes = self.0.as_bytes();
        // All names of one inward lease are one lease to people: only its token counts.
        let counts = if self.0.get_variant() == Variant::RFC4122 { 16 } else { 8 };
        let hash = Sha256::digest(bytes.get(..counts).expect("a UUID has 16 bytes"));
        let mut short = [0; 8];
        short.copy_from_slice(hash.get(..8).expect("a SHA-256 has 32 bytes"));
        Digest(short)
    }
}

impl FromStr for LeaseId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("lease", "a lease id is a hyphenated random UUID");
        let id = Uuid::try_parse(text).map_err(|_| bad())?;
        if text.len() != 36 || id.get_version_num() != 4 || id.get_variant() != Variant::RFC4122 {
            return Err(bad());
        }
        Ok(LeaseId(id))
    }
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}", self.digest())
    }
}

/// What people see of a [`LeaseId`]: the first 8 bytes of its SHA-256, as 16 hexadecimal digits.
///
/// It names a lease in lists, logs and administration, and cannot renew or release it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 8]);

impl Digest {
    /// The digest as bytes, to be stored.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// The digest that [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: [u8; 8]) -> Self {
        Digest(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        let number = number.ok_or_else(|| Error::invalid("digest", "a digest has 16 hexadecimal digits"))?;
        Ok(Digest(number.to_be_bytes()))
    }
}

/// The identity of one [`Locks`](crate::Locks) of one process: random, not a secret.
///
/// A store uses it to tell waiters of one process from those of others, and never as an owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ProcessId(u64);

impl ProcessId {
    /// A fresh random identity.
    pub fn random() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        ProcessId((high ^ low) >> 1)
    }

    /// As a number below 2^63, to be stored.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The identity that [`get`](Self::get) gave.
    pub fn from_number(number: u64) -> Self {
        ProcessId(number)
    }
}

/// How a claim shares its names with others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Mode {
    /// Nobody else.
    Exclusive,
    /// Other shared claims, but no exclusive one.
    Shared,
    /// `take` of the `of` permits that a name has. Every claim on the name must state the same `of`.
    Permits {
        /// How many permits this claim takes, from 1 to `of`.
        take: u32,
        /// How many permits the name has, at most [`limits::MAX_PERMITS`].
        of: u32,
    },
}

impl Mode {
    /// Its word on every wire: `exclusive`, `shared` or `permit`.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
            Mode::Permits { .. } => "permit",
        }
    }
}

/// How many of its names a claim wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Pick {
    /// All of them, or none.
    All,
    /// `count` of them, the first that are free in the order of the claim's names.
    Any {
        /// How many, from 1 to the number of names.
        count: u32,
    },
}

/// What a lease is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Origin {
    /// To the process that claimed it: it ends when the process does, as soon as the store can tell. In the
    /// memory provider it has no other end than that, `end` and force, for the store is the process.
    Local,
    /// To its lease id alone: it ends by release, ttl or force, whatever becomes of the process that asked for
    /// it on behalf of its holder (a lock server).
    Remote,
}

/// Who holds or waits, in words for people: `host`, `pid`, a job's id. At most 1 KiB in all.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Meta(BTreeMap<String, String>);

impl Meta {
    /// Metadata from its fields.
    ///
    /// # Errors
    /// `InvalidInput` when keys and values have more than 1,024 bytes together, or a control character.
    pub fn new<K: Into<String>, V: Into<String>>(fields: impl IntoIterator<Item = (K, V)>) -> Result<Self> {
        let fields: BTreeMap<String, String> =
            fields.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let bytes: usize = fields.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > limits::MAX_META_BYTES {
            return Err(Error::invalid(
                "holder",
                format!("holder metadata has at most 1024 bytes bytes={bytes}"),
            ));
        }
        if fields.iter().any(|(key, value)| key.chars().chain(value.chars()).any(char::is_control)) {
            return Err(Error::invalid("holder", "holder metadata has no control characters"));
        }
        Ok(Meta(fields))
    }

    /// The fields, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The ask for a lease.
///
/// Every field has its value after [`Claim::new`]; change what differs. A claim is checked once, by
/// [`Claim::check`], before it goes to a provider.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// Its identity. Asking again with the same one gives the same answer.
    pub lease: LeaseId,
    /// Who asks.
    pub process: ProcessId,
    /// What is asked for.
    pub names: Names,
    /// How it is shared. Default exclusive.
    pub mode: Mode,
    /// How many of the names. Default all.
    pub pick: Pick,
    /// How long the lease lasts unless it is renewed. Default 30 s, from 100 ms to 24 h.
    pub ttl: Duration,
    /// Whether to queue when it is busy. A queued claim must be touched by `keep` every second, or it is passed
    /// over after three. Default no.
    pub wait: bool,
    /// How many tokens to reserve, for hand-offs inside the process. Default 1. A store may give fewer, at least
    /// 1; claims that are not exclusive get 1.
    pub tokens: NonZeroU32,
    /// Leases of the same process that end in the same step, before the claim is looked at.
    pub replaces: Vec<LeaseId>,
    /// For how long from the grant on the names stay taken although the lease was ended before. Default zero.
    pub linger: Duration,
    /// Whether the holder wants to be told of claims that find the lease in their way and do not wait, so that it can give back
    /// what it keeps without need. A hint, which a store may pass over. Default no.
    pub revocable: bool,
    /// What the lease is bound to. Default the process.
    pub origin: Origin,
    /// Who holds it, for people.
    pub meta: Option<Arc<Meta>>,
}

impl Claim {
    /// An exclusive claim that does not wait, on all of `names`, with a fresh lease id and the defaults above.
    pub fn new(process: ProcessId, names: impl Into<Names>) -> Self {
        Claim {
            lease: LeaseId::random(),
            process,
            names: names.into(),
            mode: Mode::Exclusive,
            pick: Pick::All,
            ttl: limits::DEFAULT_TTL,
            wait: false,
            tokens: NonZeroU32::MIN,
            replaces: Vec::new(),
            linger: Duration::ZERO,
            revocable: false,
            origin: Origin::Local,
            meta: None,
        }
    }

    /// Whether the claim is within the limits of the library and of `caps`.
    ///
    /// # Errors
    /// `InvalidInput` that names the field and the limit.
    pub fn check(&self, caps: &Caps) -> Result<()> {
        let names = self.names.len();
        if names > caps.max_names {
            let most = caps.max_names;
            return Err(Error::invalid("names", format!("a claim has at most {most} names names={names}")));
        }
        limits::check_ttl(self.ttl)?;
        if self.linger > limits::MAX_TTL {
            return Err(Error::invalid("hold_at_least", "a lease is held for at least 24 h at most"));
        }
        if let Mode::Permits { take, of } = self.mode
            && !(1..=limits::MAX_PERMITS).contains(&of)
        {
            return Err(Error::invalid(
                "of",
                format!("a name has from 1 to 65536 permits of={of} take={take}"),
            ));
        }
        if let Mode::Permits { take, of } = self.mode
            && !(1..=of).contains(&take)
        {
            return Err(Error::invalid(
                "take",
                format!("a claim takes from 1 to all permits take={take} of={of}"),
            ));
        }
        if let Pick::Any { count } = self.pick
            && !(1..=names).contains(&(count as usize))
        {
            let what = format!("any takes from 1 to all of the names count={count} names={names}");
            return Err(Error::invalid("count", what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_id_is_never_shown_by_debug() {
        let lease = LeaseId::random();
        let shown = format!("{lease:?}");
        assert!(!shown.contains(&lease.reveal()) && shown.contains(&lease.digest().to_string()));
    }

    #[test]
    fn a_lease_id_and_a_digest_are_read_back_from_their_text() {
        let lease = LeaseId::random();
        assert_eq!(lease.reveal().parse::<LeaseId>().unwrap(), lease);
        assert_eq!(lease.digest().to_string().parse::<Digest>().unwrap(), lease.digest());
    }

    #[test]
    fn a_lease_id_that_is_not_random_is_refused() {
        for bad in ["", "x", "00000000-0000-0000-0000-000000000000", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"] {
            assert!(bad.parse::<LeaseId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_above_a_kibibyte_is_refused() {
        assert!(Meta::new([("k", "v".repeat(1_023))]).is_ok());
        assert!(Meta::new([("k", "v".repeat(1_024))]).is_err());
        assert!(Meta::new([("k", "a\nb")]).is_err());
    }
}
