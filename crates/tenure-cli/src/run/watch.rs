//! The front's eye on its keeper: a keeper that was stopped neither renews the lease nor ends the command.

use std::time::Duration;

use tenure::clock::Instant;

/// Between two questions, unless a short lease needs more of them.
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// How long an answer may take, whatever the deadline: after the front itself was stopped, both have to wake up first.
const MAX_ANSWER: Duration = Duration::from_secs(1);

/// What the front knows of the lease.
#[derive(Debug)]
pub(super) struct Watch {
    until: Instant,
    ask_at: Instant,
    asked: Option<Instant>,
    pause: Duration,
    answer: Duration,
    margin: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Do {
    /// Nothing for so long.
    Wait(Duration),
    /// Ask the keeper.
    Ask,
    /// Kill the keeper: it sleeps, and the lease is running out.
    Kill,
}

impl Watch {
    /// The watch over a lease of `ttl` that is safe until `until`, where the keeper itself acts `margin` before.
    pub(super) fn new(now: Instant, until: Instant, ttl: Duration, margin: Duration) -> Self {
        let (pause, answer) = ((ttl / 10).min(MAX_PAUSE), (ttl / 5).min(MAX_ANSWER));
        let mut watch = Watch { until, ask_at: now, asked: None, pause, answer, margin: margin / 2 };
        watch.answered(now, until);
        watch
    }

    /// The keeper says that the lease is safe until `until`.
    pub(super) fn answered(&mut self, now: Instant, until: Instant) {
        self.until = until;
        self.asked = None;
        self.ask_at = now + (now.until(until) / 2).max(self.pause);
    }

    /// What to do now. `Ask` is said once for each answer.
    pub(super) fn look(&mut self, now: Instant) -> Do {
        let Some(asked) = self.asked else {
            if now >= self.ask_at {
                self.asked = Some(now);
                return Do::Ask;
            }
            return Do::Wait(now.until(self.ask_at));
        };
        let kill_at = (self.until - self.margin).max(asked + self.answer);
        if now >= kill_at { Do::Kill } else { Do::Wait(now.until(kill_at)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);
    const MARGIN: Duration = Duration::from_millis(500);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(0) + Duration::from_millis(ms)
    }

    #[test]
    fn a_keeper_that_does_not_answer_is_killed_before_the_lease_ends_and_not_earlier() {
        let mut watch = Watch::new(at(0), at(30_000), TTL, MARGIN);
        assert_eq!(watch.look(at(14_999)), Do::Wait(Duration::from_millis(1)));
        assert_eq!(watch.look(at(15_000)), Do::Ask);
        assert_eq!(watch.look(at(29_749)), Do::Wait(Duration::from_millis(1)));
        assert_eq!(watch.look(at(29_750)), Do::Kill);
    }

    #[test]
    fn a_keeper_that_answers_is_never_killed() {
        let mut watch = Watch::new(at(0), at(30_000), TTL, MARGIN);
        assert_eq!(watch.look(at(15_000)), Do::Ask);
        watch.answered(at(15_001), at(40_000));
        assert_eq!(watch.look(at(29_750)), Do::Ask);
        watch.answered(at(40_100), at(40_000));
        assert_eq!(watch.look(at(40_199)), Do::Wait(Duration::from_millis(1)));
        assert_eq!(watch.look(at(40_200)), Do::Ask);
        assert_eq!(watch.look(at(41_199)), Do::Wait(Duration::from_millis(1)));
    }

    #[test]
    fn after_the_front_itself_was_stopped_the_keeper_has_a_second_to_answer() {
        let mut watch = Watch::new(at(0), at(30_000), TTL, MARGIN);
        assert_eq!(watch.look(at(90_000)), Do::Ask);
        assert_eq!(watch.look(at(90_999)), Do::Wait(Duration::from_millis(1)));
        assert_eq!(watch.look(at(91_000)), Do::Kill);
    }
}
