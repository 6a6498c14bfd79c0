//! Where a store's tokens come from: one counter for all names.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::token::{Epoch, FencingToken, TokenBlock};

/// A counter of 63 bits: the epoch above, the count below. When a count is used up, the next token has the next
/// epoch, and leases stay.
#[derive(Debug)]
pub struct TokenSource(AtomicU64);

impl TokenSource {
    /// A source whose first token is the first of `epoch`.
    pub fn new(epoch: Epoch) -> Self {
        TokenSource(AtomicU64::new(FencingToken::of(epoch, 1).get()))
    }

    /// The next `count` tokens, greater than all that were reserved before.
    pub fn reserve(&self, count: NonZeroU32) -> TokenBlock {
        // The counter is the only thing that is shared here; the order of grants comes from the locks around it.
        let first = self.0.fetch_add(u64::from(count.get()), Ordering::Relaxed);
        TokenBlock::new(FencingToken::new(first).expect("63 bits last for centuries of grants"), count)
    }
}

impl TokenSource {
    /// The number of the next token.
    pub(crate) fn next(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// From here on, tokens from the number `next` on, unless they are beyond it already.
    #[cfg(feature = "postgres")]
    pub(crate) fn raise(&self, next: u64) {
        self.0.fetch_max(next, Ordering::Relaxed);
    }

    /// A source whose first token has the number `next`, as kept elsewhere.
    pub(crate) fn from_next(next: u64) -> Self {
        TokenSource(AtomicU64::new(next))
    }
}
