//! Fencing tokens: [`FencingToken`], and the [`TokenBlock`] that a grant reserves.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::str::FromStr;

use crate::error::Error;

/// The number by which a resource tells a newer holder from an older one.
///
/// Of two grants of a name where one ended before the other was asked for, the later has the greater
/// token, in every mode, and no token is given twice (G2). Give it to the resource with the first read and
/// with every write; the resource refuses what is smaller than the greatest it has seen.
///
/// Positive, 63 bits: an epoch of 31 bits above a counter of 32. It fits an `i64` column. On every wire it
/// is a decimal string, since JSON numbers and Lua lose integers above 2^53.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(NonZeroU64);

impl FencingToken {
    /// The smallest token.
    pub(crate) const MIN: FencingToken = FencingToken(NonZeroU64::MIN);

    /// The greatest token.
    pub const MAX: FencingToken = FencingToken(NonZeroU64::new(i64::MAX as u64).expect("not zero"));

    /// A token from its number.
    ///
    /// # Errors
    /// `InvalidInput` when it is zero or above 63 bits.
    pub fn new(number: u64) -> Result<Self, Error> {
        match NonZeroU64::new(number).map(FencingToken) {
            Some(token) if token <= Self::MAX => Ok(token),
            _ => Err(Error::invalid("token", format!("a token is from 1 to 2^63-1 token={number}"))),
        }
    }

    /// The token of `epoch` and `counter`.
    pub fn of(epoch: Epoch, counter: u32) -> Self {
        let number = (u64::from(epoch.0) << 32) | u64::from(counter);
        FencingToken(NonZeroU64::new(number).expect("an epoch is not zero"))
    }

    /// Its number.
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// Its epoch: the incarnation of the store that gave it.
    pub fn epoch(self) -> Epoch {
        Epoch(u32::try_from(self.get() >> 32).unwrap_or(u32::MAX))
    }

    /// The token `steps` after this one.
    pub(crate) fn plus(self, steps: u32) -> Self {
        FencingToken(self.0.saturating_add(u64::from(steps)).min(Self::MAX.0))
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.get() >> 32, self.get() & 0xffff_ffff)
    }
}

impl FromStr for FencingToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let number = text.parse().map_err(|_| Error::invalid("token", "a token is a decimal number"))?;
        FencingToken::new(number)
    }
}

/// The number of a store's incarnation: a restart, a failover or a wipe is a new one. From 1 to 2^31 - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch(u32);

impl Epoch {
    /// An epoch from its number.
    ///
    /// # Errors
    /// `InvalidInput` when it is zero or above 31 bits.
    pub fn new(number: u32) -> Result<Self, Error> {
        if number == 0 || number > u32::MAX >> 1 {
            return Err(Error::invalid("epoch", format!("an epoch is from 1 to 2^31-1 epoch={number}")));
        }
        Ok(Epoch(number))
    }

    /// Its number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// Tokens that a grant reserved, one after the other: one for each hand-off inside the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenBlock {
    first: FencingToken,
    count: NonZeroU32,
}

impl TokenBlock {
    /// `count` tokens from `first` on.
    pub fn new(first: FencingToken, count: NonZeroU32) -> Self {
        TokenBlock { first, count }
    }

    /// A single token.
    pub fn one(token: FencingToken) -> Self {
        TokenBlock { first: token, count: NonZeroU32::MIN }
    }

    /// The smallest token of the block: the one that the grant itself uses.
    pub fn first(&self) -> FencingToken {
        self.first
    }

    /// How many tokens there are.
    pub fn count(&self) -> NonZeroU32 {
        self.count
    }

    /// Takes the smallest token off the block: the token, and what is left.
    pub fn take(self) -> (FencingToken, Option<TokenBlock>) {
        let left = NonZeroU32::new(self.count.get() - 1);
        (self.first, left.map(|count| TokenBlock { first: self.first.plus(1), count }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_epoch_above_counter_and_its_wire_form_is_decimal() {
        let token = FencingToken::of(Epoch::new(1_048_576).unwrap(), 1);
        assert_eq!(token.to_string(), "4503599627370497");
        assert_eq!("4503599627370497".parse::<FencingToken>().unwrap(), token);
        assert_eq!(token.epoch().get(), 1_048_576);
    }

    #[test]
    fn zero_sixty_four_bits_and_text_are_refused() {
        for bad in ["0", "9223372036854775808", "-1", "1.0", ""] {
            assert!(bad.parse::<FencingToken>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_block_gives_its_tokens_in_order_and_then_ends() {
        let block = TokenBlock::new(FencingToken::new(7).unwrap(), NonZeroU32::new(2).unwrap());
        let (first, rest) = block.take();
        let (second, end) = rest.unwrap().take();
        assert_eq!((first.get(), second.get(), end), (7, 8, None));
    }
}
