//! Events between processes: the form that they have in a datagram.
//!
//! Each event is a byte for its kind, the lease id, and what the kind has to say. A datagram that cannot be read is
//! passed over, as one that was lost: waiters ask again every second.

use std::num::NonZeroU32;

use super::rows::{self, why_number, why_of};
use crate::claim::LeaseId;
use crate::clock::Instant;
use crate::lease::Grant;
use crate::provider::Event;
use crate::token::{FencingToken, TokenBlock};

/// Bytes of a datagram. Each grant is below it: 256 names of 255 bytes are above, and are fetched instead.
pub(super) const MOST: usize = 32 * 1024;

const GRANTED: u8 = 1;
const GRANTED_FETCH: u8 = 2;
const CONTENDED: u8 = 3;
const REVOKED: u8 = 4;
const LOST: u8 = 5;

/// The datagrams that carry `events`.
pub(super) fn write(events: &[Event]) -> Vec<Vec<u8>> {
    let mut datagrams = vec![Vec::new()];
    for event in events {
        let mut one = Vec::new();
        write_one(&mut one, event);
        if let Some(last) = datagrams.last_mut().filter(|last| last.len() + one.len() <= MOST) {
            last.append(&mut one);
        } else {
            datagrams.push(one);
        }
    }
    datagrams.retain(|datagram| !datagram.is_empty());
    datagrams
}

fn write_one(out: &mut Vec<u8>, event: &Event) {
    let mut head = |kind: u8, lease: &LeaseId| {
        out.push(kind);
        out.extend_from_slice(&lease.to_bytes());
    };
    match event {
        Event::Granted(lease, grant) => match grant.as_deref().map(|grant| (grant, rows::join(&grant.names)))
        {
            Some((grant, names)) if names.len() < MOST / 2 => {
                head(GRANTED, lease);
                out.extend_from_slice(&grant.tokens.first().get().to_le_bytes());
                out.extend_from_slice(&grant.tokens.count().get().to_le_bytes());
                out.extend_from_slice(&grant.deadline.as_nanos().to_le_bytes());
                out.push(u8::from(grant.contended));
                out.extend_from_slice(&u16::try_from(names.len()).unwrap_or(0).to_le_bytes());
                out.extend_from_slice(names.as_bytes());
            }
            _ => head(GRANTED_FETCH, lease),
        },
        Event::Contended(lease) => head(CONTENDED, lease),
        Event::Revoked(lease) => head(REVOKED, lease),
        Event::Lost(lease, why) => {
            head(LOST, lease);
            out.push(why_number(*why));
        }
        _ => {}
    }
}

/// The events of a datagram, up to the first that cannot be read.
pub(super) fn read(datagram: &[u8]) -> Vec<Event> {
    let mut rest = datagram;
    std::iter::from_fn(|| read_one(&mut rest)).collect()
}

fn read_one(rest: &mut &[u8]) -> Option<Event> {
    let [kind] = take(rest)?;
    let lease = LeaseId::from_bytes(take(rest)?);
    match kind {
        GRANTED => Some(Event::Granted(lease, Some(Box::new(read_grant(rest)?)))),
        GRANTED_FETCH => Some(Event::Granted(lease, None)),
        CONTENDED => Some(Event::Contended(lease)),
        REVOKED => Some(Event::Revoked(lease)),
        LOST => {
            let [why] = take(rest)?;
            Some(Event::Lost(lease, why_of(why)))
        }
        _ => None,
    }
}

fn read_grant(rest: &mut &[u8]) -> Option<Grant> {
    let first = FencingToken::new(u64::from_le_bytes(take(rest)?)).ok()?;
    let count = NonZeroU32::new(u32::from_le_bytes(take(rest)?))?;
    let deadline = Instant::from_nanos(u64::from_le_bytes(take(rest)?));
    let [contended] = take(rest)?;
    let length = usize::from(u16::from_le_bytes(take(rest)?));
    let (names, after) = rest.split_at_checked(length)?;
    *rest = after;
    let names = rows::names(std::str::from_utf8(names).ok()?).ok()?;
    let mut grant = Grant::new(names, TokenBlock::new(first, count), deadline);
    grant.contended = contended != 0;
    Some(grant)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Why;
    use crate::name::{Name, Names};

    #[test]
    fn events_are_read_as_they_were_written_and_garbage_is_passed_over() {
        let lease = LeaseId::random();
        let tokens = TokenBlock::new(FencingToken::new(77).unwrap(), NonZeroU32::new(5).unwrap());
        let mut grant = Grant::new(
            Names::ranked(["grüße", "a"].map(|n| Name::new(n).unwrap())).unwrap(),
            tokens,
            Instant::from_nanos(123),
        );
        grant.contended = true;
        let events = [
            Event::Granted(lease, Some(Box::new(grant))),
            Event::Granted(lease, None),
            Event::Contended(lease),
            Event::Revoked(lease),
            Event::Lost(lease, Why::Forced),
        ];
        let [datagram] = write(&events).try_into().unwrap();
        assert_eq!(format!("{:?}", read(&datagram)), format!("{events:?}"));
        for cut in 0..datagram.len() {
            assert!(read(&datagram[..cut]).len() < events.len());
        }
        assert!(read(&[255; 64]).is_empty());
    }

    #[test]
    fn a_grant_of_many_long_names_is_told_without_its_names() {
        let names = Names::parse((0..256).map(|n| format!("{n:0>255}"))).unwrap();
        let grant = Grant::new(names, TokenBlock::one(FencingToken::new(1).unwrap()), Instant::from_nanos(1));
        let datagrams = write(&[Event::Granted(LeaseId::random(), Some(Box::new(grant)))]);
        assert!(datagrams.iter().all(|datagram| datagram.len() <= MOST));
        assert!(matches!(read(&datagrams[0])[..], [Event::Granted(_, None)]));
    }
}
