//! The conformance suite on every store.

use tenure_testkit::conformance;

use crate::stands::{AdvisoryStand, ChaosStand, FileStand, HttpStand, MemoryStand, RedisStand, WireStand};

conformance!(memory, MemoryStand);
conformance!(wire, WireStand);
conformance!(file, FileStand);
conformance!(http, HttpStand);
conformance!(redis, RedisStand);
conformance!(redis_chaos, ChaosStand);
conformance!(postgres_advisory, AdvisoryStand);
