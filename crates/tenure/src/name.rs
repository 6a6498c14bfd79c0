//! What is locked: [`Name`], and the sorted set [`Names`] of one claim.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;

use crate::error::Error;
pub use crate::naming::Advice;

/// The name of a lock: 1 to 255 bytes of UTF-8 without control characters, compared byte for byte.
///
/// Nothing is folded: `a` and `A`, or two Unicode forms of one letter, are two names. By convention a
/// name is `{entity}:{operation}:{id}`, as in `order:process:42` ([`Name::advice`] tells where it is not). Names may be logged and listed, so keep
/// secrets out of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(CompactString);

impl Name {
    /// The greatest length of a name, in bytes. A bound that every store can index.
    pub const MAX_BYTES: usize = 255;

    /// Parses a name.
    ///
    /// # Errors
    /// `InvalidInput` when it is empty, longer than [`Name::MAX_BYTES`] or has a control character.
    #[inline]
    pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
        Name::of(text.as_ref())
    }

    fn of(text: &str) -> Result<Self, Error> {
        Name::check(text)?;
        Ok(Name(CompactString::new(text)))
    }

    #[inline]
    fn check(text: &str) -> Result<(), Error> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES;
        if fits && (is_printable_ascii(text.as_bytes()) || !text.chars().any(char::is_control)) {
            return Ok(());
        }
        Err(unfit(text))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Why a text is no name.
#[cold]
fn unfit(text: &str) -> Error {
    match text.len() {
        0 => Error::invalid("name", "a name has at least 1 byte"),
        1..=Name::MAX_BYTES => Error::invalid("name", "a name has no control characters"),
        length => Error::invalid("name", format!("a name has at most 255 bytes bytes={length}")),
    }
}

/// Whether all bytes are from 0x20 to 0x7e: settles most names, eight bytes at a time.
fn is_printable_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The high bit of each byte that is above 0x7f, below 0x20 or 0x7f; exact as long as no byte is above 0x7f.
    let odd = |eight: u64| (eight | eight.wrapping_sub(ONES * 0x20) | eight.wrapping_add(ONES)) & HIGH;
    let Some(last) = bytes.last_chunk::<8>() else {
        let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) else {
            return bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
        };
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return odd(u64::from(first) << 32 | u64::from(last)) == 0;
    };
    // The last eight may overlap the chunks before them.
    let (chunks, _) = bytes.as_chunks::<8>();
    let whole = chunks.iter().fold(0, |found, chunk| found | odd(u64::from_le_bytes(*chunk)));
    (whole | odd(u64::from_le_bytes(*last))) == 0
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The names of one claim: at least one, without duplicates; sorted by their bytes, or ranked by the caller.
#[derive(Clone)]
pub struct Names(Few);

/// As small as a name: requests and guards are moved about with it, and nearly all have one name.
#[derive(Clone)]
enum Few {
    One(Name),
    Two(Box<[Name; 2]>),
    Many(Arc<[Name]>),
}

impl Names {
    /// One name.
    #[inline]
    pub fn one(name: Name) -> Self {
        Names(Few::One(name))
    }

    /// Several names, in any order.
    ///
    /// # Errors
    /// `InvalidInput` when there is none, or one of them twice.
    pub fn new(names: impl IntoIterator<Item = Name>) -> Result<Self, Error> {
        let mut slot = None;
        Names::collect_over(&mut slot, names.into_iter().map(Ok))?;
        slot.ok_or_else(none)
    }

    /// Several names in the order in which they are preferred: what a claim on any of them takes first.
    ///
    /// # Errors
    /// `InvalidInput` when there is none, or one of them twice.
    pub fn ranked(names: impl IntoIterator<Item = Name>) -> Result<Self, Error> {
        let names: Vec<Name> = names.into_iter().collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        check_sorted(&sorted)?;
        Ok(Names::few(names))
    }

    /// Parses and collects several names, in any order.
    ///
    /// # Errors
    /// As [`Name::new`] and [`Names::new`].
    pub fn parse<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let mut slot = None;
        Names::parse_over(&mut slot, names)?;
        slot.ok_or_else(none)
    }

    /// Parses one name, over names that are not needed any more: where one was, its place is written and not copied to.
    #[inline]
    pub(crate) fn one_over(slot: &mut Option<Names>, text: &str) -> Result<(), Error> {
        Name::check(text)?;
        if let Some(Names(Few::One(Name(old)))) = slot {
            old.clear();
            old.push_str(text);
        } else {
            *slot = Some(Names::one(Name(CompactString::new(text))));
        }
        Ok(())
    }

    /// As [`parse`](Self::parse), over names that are not needed any more: two are written where two were.
    #[inline]
    pub(crate) fn parse_over<S: AsRef<str>>(
        slot: &mut Option<Names>,
        names: impl IntoIterator<Item = S>,
    ) -> Result<(), Error> {
        Names::collect_over(slot, names.into_iter().map(Name::new))
    }

    /// Collects names; one and two, by far the most usual, without a list.
    #[inline]
    fn collect_over(
        slot: &mut Option<Names>,
        mut names: impl Iterator<Item = Result<Name, Error>>,
    ) -> Result<(), Error> {
        let first = names.next().ok_or_else(none)??;
        let Some(second) = names.next().transpose()? else {
            *slot = Some(Names::one(first));
            return Ok(());
        };
        let Some(third) = names.next().transpose()? else {
            return Names::two_over(slot, first, second);
        };
        let mut all = vec![first, second, third];
        for name in names {
            all.push(name?);
        }
        all.sort_unstable();
        check_sorted(&all)?;
        *slot = Some(Names::few(all));
        Ok(())
    }

    #[inline]
    fn two_over(slot: &mut Option<Names>, one: Name, other: Name) -> Result<(), Error> {
        let sorted = match one.cmp(&other) {
            Ordering::Less => [one, other],
            Ordering::Greater => [other, one],
            Ordering::Equal => return Err(twice(&one)),
        };
        match slot {
            Some(Names(Few::Two(both))) => **both = sorted,
            _ => *slot = Some(Names(Few::Two(Box::new(sorted)))),
        }
        Ok(())
    }

    fn few(names: Vec<Name>) -> Self {
        let names = match <[Name; 1]>::try_from(names) {
            Ok([name]) => return Names::one(name),
            Err(names) => names,
        };
        match <[Name; 2]>::try_from(names) {
            Ok(two) => Names(Few::Two(Box::new(two))),
            Err(names) => Names(Few::Many(names.into())),
        }
    }

    /// The names in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Name> {
        self.as_slice().iter()
    }

    /// The names as a slice, in order.
    pub fn as_slice(&self) -> &[Name] {
        match &self.0 {
            Few::One(name) => std::slice::from_ref(name),
            Few::Two(names) => names.as_slice(),
            Few::Many(names) => names,
        }
    }

    /// How many there are; never zero.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The first of them.
    pub fn first(&self) -> &Name {
        self.as_slice().first().expect("names are never empty")
    }

    /// The only name, when there is one alone.
    pub fn single(&self) -> Option<&Name> {
        match &self.0 {
            Few::One(name) => Some(name),
            Few::Two(_) | Few::Many(_) => None,
        }
    }
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Names {}

fn check_sorted(names: &[Name]) -> Result<(), Error> {
    if names.is_empty() {
        return Err(none());
    }
    let mut pairs = names.iter().zip(names.iter().skip(1));
    if let Some((name, _)) = pairs.find(|(one, next)| one == next) {
        return Err(twice(name));
    }
    Ok(())
}

#[cold]
fn none() -> Error {
    Error::invalid("names", "a claim has at least 1 name")
}

#[cold]
fn twice(name: &Name) -> Error {
    Error::invalid("names", format!("a claim has each name once name={name}"))
}

impl<'a> IntoIterator for &'a Names {
    type Item = &'a Name;
    type IntoIter = std::slice::Iter<'a, Name>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Name> for Names {
    fn from(name: Name) -> Self {
        Names::one(name)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(name.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_and_255_bytes_are_taken_and_0_and_256_refused() {
        assert!(Name::new("a").is_ok());
        assert!(Name::new("a".repeat(255)).is_ok());
        assert!(Name::new("").is_err());
        assert!(Name::new("a".repeat(256)).is_err());
    }

    #[test]
    fn the_quick_test_for_printable_bytes_agrees_with_the_plain_one() {
        for (length, position) in (1..=12).flat_map(|length| (0..length).map(move |at| (length, at))) {
            for byte in 0..=u8::MAX {
                let mut bytes = *b"account:1234";
                bytes[position] = byte;
                let printable = (0x20..0x7f).contains(&byte);
                assert_eq!(is_printable_ascii(&bytes[..length]), printable, "{length} {position} {byte:#x}");
            }
        }
    }

    #[test]
    fn a_short_name_is_as_free_of_control_characters_as_a_long_one() {
        for byte in 0..0x80 {
            let printable = (0x20..0x7f).contains(&byte);
            assert_eq!(is_printable_ascii(&[b'a', byte]), printable, "{byte:#x}");
            assert_eq!(
                Name::new(std::str::from_utf8(&[b'a', byte]).unwrap()).is_ok(),
                printable,
                "{byte:#x}"
            );
        }
    }

    #[test]
    fn control_characters_are_refused_and_other_unicode_is_kept() {
        for bad in ["a\nb", "\0", "\u{7f}", "\u{85}", "tab\there"] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Name::new("Grüße:🔒").unwrap().as_str(), "Grüße:🔒");
    }

    #[test]
    fn names_are_sorted_and_a_duplicate_is_an_error() {
        let names = Names::parse(["b", "a"]).unwrap();
        assert_eq!(names.to_string(), "a b");
        assert!(Names::parse(["a", "b", "a"]).unwrap_err().to_string().contains("name=a"));
        assert!(Names::parse([""; 0]).is_err());
        let ranked = Names::ranked(["b", "a"].map(|name| Name::new(name).unwrap())).unwrap();
        assert_eq!(ranked.to_string(), "b a");
    }
}
