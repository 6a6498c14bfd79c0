//! The steps that the differential test takes, and how often.

use std::time::Duration;

use proptest::prelude::*;
use tenure::provider::Force;

/// Lease ids that are in use at a time: few, so that steps meet the same ones again and again.
pub(super) const SLOTS: usize = 10;

/// A step of the test.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Claims with a fresh id for the slot.
    Claim {
        slot: usize,
        names: &'static str,
        how: How,
        wait: bool,
        ttl: Duration,
        linger: Duration,
        local: bool,
    },
    /// Claims with one that gives up what another slot holds.
    Replace {
        slot: usize,
        other: usize,
        names: &'static str,
    },
    /// Claims again with the same id.
    Again {
        slot: usize,
    },
    Keep {
        slot: usize,
        tokens: u32,
    },
    End {
        slot: usize,
    },
    Force {
        slot: usize,
        how: Force,
    },
    /// Takes by the immediate way in, where there is one.
    Take {
        names: &'static str,
    },
    /// Gives back what was taken so.
    Give {
        which: usize,
    },
    Pass {
        span: Duration,
    },
}

/// How a claim shares its names, or how many it wants.
#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Exclusive,
    Shared,
    Any(u32),
    Permits(u32, u32),
}

/// Any step, the frequent ones more often.
pub(super) fn op() -> impl Strategy<Value = Op> {
    let slot = 0..SLOTS;
    let names = prop::sample::select(vec!["a", "b", "c", "a b", "b c", "a c", "a b c"]);
    let how = prop_oneof![
        4 => Just(How::Exclusive),
        3 => Just(How::Shared),
        1 => Just(How::Any(1)),
        1 => (1_u32..=3).prop_map(|take| How::Permits(take, 3)),
        1 => Just(How::Permits(1, 2)),
    ];
    let ttl = prop::sample::select(vec![200_u64, 1_000, 2_500, 30_000]).prop_map(Duration::from_millis);
    let linger = prop_oneof![6 => Just(0_u64), 1 => Just(700)].prop_map(Duration::from_millis);
    let force = prop::sample::select(vec![Force::Revoke, Force::Now]);
    let span = prop::sample::select(vec![1_u64, 60, 150, 700, 1_000, 3_100]).prop_map(Duration::from_millis);
    let claim = (slot.clone(), names.clone(), how, any::<bool>(), ttl, linger, any::<bool>()).prop_map(
        |(slot, names, how, wait, ttl, linger, local)| Op::Claim {
            slot,
            names,
            how,
            wait,
            ttl,
            linger,
            local,
        },
    );
    prop_oneof![
        10 => claim,
        1 => (slot.clone(), slot.clone(), names.clone()).prop_map(|(slot, other, names)| Op::Replace { slot, other, names }),
        2 => slot.clone().prop_map(|slot| Op::Again { slot }),
        6 => (slot.clone(), prop_oneof![4 => Just(0_u32), 1 => 1_u32..5]).prop_map(|(slot, tokens)| Op::Keep { slot, tokens }),
        6 => slot.clone().prop_map(|slot| Op::End { slot }),
        1 => (slot, force).prop_map(|(slot, how)| Op::Force { slot, how }),
        4 => names.prop_map(|names| Op::Take { names }),
        4 => (0_usize..4).prop_map(|which| Op::Give { which }),
        3 => span.prop_map(|span| Op::Pass { span }),
    ]
}
