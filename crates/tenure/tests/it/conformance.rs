//! The conformance suite on every store.

use tenure_testkit::conformance;

use crate::stands::{
    AdvisoryStand, ChaosStand, FileStand, HttpStand, MemoryStand, PooledRowsStand, RedisStand, RowsStand,
    WireStand,
};

conformance!(memory, MemoryStand);
conformance!(wire, WireStand);
conformance!(file, FileStand);
conformance!(http, HttpStand);
conformance!(redis, RedisStand);
conformance!(redis_chaos, ChaosStand);
conformance!(postgres_advisory, AdvisoryStand);
conformance!(postgres_rows, RowsStand);
conformance!(postgres_rows_pooled, PooledRowsStand);
