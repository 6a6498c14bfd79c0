//! A client of `tenure serve`.
