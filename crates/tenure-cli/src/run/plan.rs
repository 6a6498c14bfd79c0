//! When the command is told to end and when it is killed: pure arithmetic on what is left of the lease.

use std::time::Duration;

/// Between SIGTERM and SIGKILL at the most: what `docker stop` gives, too.
const MAX_GRACE: Duration = Duration::from_secs(10);

/// What is kept back for the kill itself: a sweep over a loaded machine's processes takes tens of milliseconds.
const MAX_MARGIN: Duration = Duration::from_millis(500);

/// How often at the least the plan is looked at: a timer stands still while the machine is suspended.
const LOOK: Duration = Duration::from_secs(1);

/// When the command of a lease is ended, as far as the lease is not renewed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    grace: Duration,
    margin: Duration,
}

/// What is to be done about the command.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Step {
    /// Nothing: the lease is safe.
    Let,
    /// Ask the command to end.
    Term,
    /// Kill it and all of its descendants.
    Kill,
}

impl Plan {
    /// The plan for a lease that lasts `ttl` from a renewal on.
    ///
    /// A renewal comes every third of a ttl, and what a healthy lease has left is more than half of it. So a short
    /// lease has a grace of a quarter and a margin of a tenth, and is asked to end only after a renewal failed.
    pub(super) fn new(ttl: Duration) -> Self {
        Plan { grace: (ttl / 4).min(MAX_GRACE), margin: (ttl / 10).min(MAX_MARGIN) }
    }

    /// Between SIGTERM and SIGKILL.
    pub(super) fn grace(self) -> Duration {
        self.grace
    }

    /// What is kept back for the kill.
    pub(super) fn margin(self) -> Duration {
        self.margin
    }

    /// What to do when `remaining` is left of the lease.
    pub(super) fn step(self, remaining: Duration) -> Step {
        if remaining <= self.margin {
            Step::Kill
        } else if remaining <= self.grace + self.margin {
            Step::Term
        } else {
            Step::Let
        }
    }

    /// How long to wait before looking at the lease again.
    pub(super) fn next_look(self, remaining: Duration) -> Duration {
        let until = match self.step(remaining) {
            Step::Let => remaining.saturating_sub(self.grace + self.margin),
            Step::Term => remaining.saturating_sub(self.margin),
            Step::Kill => Duration::ZERO,
        };
        // A timer may fire a little early: without the millisecond it would spin until the time has come.
        until.min(LOOK) + Duration::from_millis(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lease_of_30_s_is_asked_to_end_8_s_before_its_deadline_and_killed_half_a_second_before() {
        let plan = Plan::new(ms(30_000));
        assert_eq!(plan.step(ms(8_001)), Step::Let);
        assert_eq!(plan.step(ms(8_000)), Step::Term);
        assert_eq!(plan.step(ms(501)), Step::Term);
        assert_eq!(plan.step(ms(500)), Step::Kill);
        assert_eq!(plan.step(ms(0)), Step::Kill);
    }

    #[test]
    fn no_healthy_lease_is_asked_to_end_whatever_its_ttl() {
        for ttl in [100, 200, 500, 1_000, 2_000, 5_000, 30_000, 3_600_000, 86_400_000] {
            let ttl = ms(ttl);
            let left_when_renewed = ttl * 2 / 3 - tenure::limits::drift(ttl);
            assert_eq!(Plan::new(ttl).step(left_when_renewed), Step::Let, "{ttl:?}");
        }
    }

    #[test]
    fn the_grace_is_never_above_10_s_and_the_margin_never_above_half_a_second() {
        let plan = Plan::new(ms(86_400_000));
        assert_eq!((plan.grace(), plan.margin()), (ms(10_000), ms(500)));
    }

    #[test]
    fn the_next_look_is_never_later_than_the_next_step_or_a_second() {
        let plan = Plan::new(ms(30_000));
        assert_eq!(plan.next_look(ms(30_000)), ms(1_001));
        assert_eq!(plan.next_look(ms(8_200)), ms(201));
        assert_eq!(plan.next_look(ms(600)), ms(101));
        assert_eq!(plan.next_look(ms(0)), ms(1));
    }
}
