//! The conformance suite on every store.

use tenure_testkit::conformance;

use crate::stands::MemoryStand;

conformance!(memory, MemoryStand);
