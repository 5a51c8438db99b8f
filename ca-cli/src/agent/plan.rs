//! What the agent does next, and when: a function of what is known. No IO, no clock, no randomness.

use std::time::Duration;

use ca_core::pki::Timestamp;
use serde::{Deserialize, Serialize};

/// A part of a life, in millionths.
pub(super) const WHOLE: u32 = 1_000_000;
/// Two thirds: when to renew where the CA names no window.
pub(super) const TWO_THIRDS: u32 = 666_667;

const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
const LONGEST_BACKOFF_WITHOUT_CERTIFICATE: Duration = Duration::from_secs(300);
// RFC 9773 §4.3.2 leaves sane limits on Retry-After to the client.
const MAX_WINDOW_CHECK: Duration = Duration::from_secs(86_400);
const MIN_WINDOW_CHECK: Duration = Duration::from_secs(60);

/// A renewal window that the CA suggested (RFC 9773 §4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// The certificate in use.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// When the agent got it; certificates begin a little in the past.
    pub(super) obtained: Timestamp,
    /// Drawn once for each certificate, below [`WHOLE`]: where in a window it is renewed.
    pub(super) draw: u32,
    pub(super) window: Option<Window>,
    /// When to ask for the window; none where the CA has no such service.
    pub(super) check_window_at: Option<Timestamp>,
    /// Whether it carries the names that are wanted.
    pub(super) names_fit: bool,
}

/// All that the next step depends on.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) held: Option<Held>,
    /// When to renew without a window, in millionths of the life.
    pub(super) renew_at: u32,
    /// After a failure: not before.
    pub(super) retry_at: Option<Timestamp>,
    /// The reload hook is owed, and is to be run then.
    pub(super) reload_at: Option<Timestamp>,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Action {
    /// Get a first certificate.
    Enrol,
    /// Get the next certificate.
    Renew,
    /// Ask the CA for its renewal window.
    CheckWindow,
    /// Run the reload hook.
    Reload,
}

/// The next step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) at: Timestamp,
    pub(super) reason: &'static str,
}

/// The next step. One that lies in the past is due now.
pub(super) fn next(facts: &Facts) -> Step {
    let wait = |at: Timestamp| facts.retry_at.map_or(at, |retry| retry.max(at));
    let mut step = match &facts.held {
        None => Step { action: Action::Enrol, at: wait(Timestamp::from_unix(0)), reason: "there is no certificate yet" },
        Some(held) => {
            let (at, reason) = renewal(held, facts.renew_at);
            Step { action: Action::Renew, at: wait(at), reason: if wait(at) == at { reason } else { "the last attempt failed" } }
        }
    };
    let mut sooner = |action, at: Option<Timestamp>, reason| {
        if let Some(at) = at.filter(|at| *at < step.at) {
            step = Step { action, at, reason };
        }
    };
    sooner(Action::CheckWindow, facts.held.as_ref().and_then(|h| h.check_window_at), "the CA may suggest another time");
    sooner(Action::Reload, facts.reload_at, "the service has not taken the certificate up yet");
    step
}

/// When a certificate is renewed, failures aside, and why then.
pub(super) fn renewal(held: &Held, renew_at: u32) -> (Timestamp, &'static str) {
    let start = held.obtained.max(held.not_before).min(held.not_after);
    let life = held.not_after.since(start);
    // A CA that always answers "now" must not be asked without pause.
    let earliest = start.plus((life / 10).min(Duration::from_secs(60)));
    if !held.names_fit {
        return (earliest, "the names that are wanted have changed");
    }
    let (at, reason) = match held.window {
        Some(window) => {
            // RFC 9773 §4.2: a uniformly random time within the window.
            let at = window.start.plus(part(window.end.since(window.start), held.draw));
            // The suggestion cannot make the certificate lapse.
            let latest = held.not_after.minus(life / 10);
            if at <= latest { (at, "the CA's renewal window") } else { (latest, "nine tenths of its life") }
        }
        // Spread over a twentieth of the life, so that a fleet does not come at once.
        None => (start.plus(part(life, renew_at)).minus(part(life / 20, held.draw)), "its share of its life"),
    };
    if at < earliest { (earliest, reason) } else { (at, reason) }
}

fn part(whole: Duration, millionths: u32) -> Duration {
    let seconds = u128::from(whole.as_secs()) * u128::from(millionths.min(WHOLE)) / u128::from(WHOLE);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
}

/// How long to wait after the `failures`th failure in a row: doubling from one second, between half of that and all
/// of it by `draw`; at most an hour, and at most a twentieth of the certificate's life. What the server asks for
/// (`Retry-After`) is respected within those bounds' twelvefold.
pub(super) fn backoff(failures: u32, life: Option<Duration>, draw: u32, asked: Option<Duration>) -> Duration {
    let doubled = Duration::from_secs(1u64 << failures.saturating_sub(1).min(20)).min(ceiling(life));
    let jittered = doubled / 2 + doubled * draw.min(WHOLE) / WHOLE / 2;
    asked.map_or(jittered, |asked| jittered.max(asked.min(longest_backoff(life)))).max(Duration::from_secs(1))
}

/// The longest [`backoff`].
pub(super) fn longest_backoff(life: Option<Duration>) -> Duration {
    ceiling(life) * 12
}

fn ceiling(life: Option<Duration>) -> Duration {
    life.map_or(LONGEST_BACKOFF_WITHOUT_CERTIFICATE, |life| (life / 20).min(LONGEST_BACKOFF)).max(Duration::from_secs(1))
}

/// When to ask for the window again: as the CA asked, but at least daily, and for short lives four times a life.
pub(super) fn window_check(now: Timestamp, life: Duration, asked: Duration) -> Timestamp {
    let (shortest, longest) = window_check_bounds(life);
    now.plus(asked.clamp(shortest, longest))
}

/// The longest that [`window_check`] waits.
pub(super) fn longest_window_check(life: Duration) -> Duration {
    window_check_bounds(life).1
}

fn window_check_bounds(life: Duration) -> (Duration, Duration) {
    let shortest = MIN_WINDOW_CHECK.min(life / 4).max(Duration::from_secs(1));
    (shortest, MAX_WINDOW_CHECK.min(life / 4).max(shortest))
}

/// What waits until `at`, where it waits at most `longest`. A time beyond that is of a clock that was ahead, and has been set
/// back since: then it is due now.
pub(super) fn within_reach(at: Option<Timestamp>, now: Timestamp, longest: Duration) -> Option<Timestamp> {
    // Waits are rounded up to whole seconds.
    at.map(|at| if at > now.plus(longest + Duration::from_secs(1)) { now } else { at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds)
    }

    /// Lives 60 seconds from 1000 on, though its notBefore lies 60 seconds earlier.
    fn short() -> Held {
        Held { not_before: t(940), not_after: t(1060), obtained: t(1000), draw: 0, window: None, check_window_at: None, names_fit: true }
    }

    fn facts(held: Option<Held>) -> Facts {
        Facts { held, renew_at: TWO_THIRDS, retry_at: None, reload_at: None }
    }

    fn check(facts: &Facts, action: Action, at: i64) {
        let step = next(facts);
        assert_eq!((step.action, step.at.unix()), (action, at), "{facts:?}");
    }

    #[test]
    fn without_a_window_it_is_two_thirds_of_the_life_with_jitter() {
        check(&facts(Some(short())), Action::Renew, 1040);
        check(&facts(Some(Held { draw: WHOLE - 1, ..short() })), Action::Renew, 1038);
        let month = Held { not_before: t(-60), not_after: t(2_592_000), obtained: t(0), ..short() };
        check(&facts(Some(month.clone())), Action::Renew, 1_728_000);
        check(&facts(Some(Held { draw: 500_000, ..month })), Action::Renew, 1_728_000 - 64_800);
        check(&Facts { renew_at: WHOLE / 2, ..facts(Some(short())) }, Action::Renew, 1030);
    }

    #[test]
    fn a_window_is_used_at_the_drawn_point() {
        let within = |start, end, draw| Held { window: Some(Window { start: t(start), end: t(end) }), draw, ..short() };
        check(&facts(Some(within(1020, 1040, 0))), Action::Renew, 1020);
        check(&facts(Some(within(1020, 1040, WHOLE / 2))), Action::Renew, 1030);
        // A window in the past means now (RFC 9773 §4.2), but never in a tight loop.
        check(&facts(Some(within(0, 10, 0))), Action::Renew, 1006);
        // A window past the end would let it lapse; one turned round counts from its start.
        check(&facts(Some(within(5000, 6000, 0))), Action::Renew, 1054);
        check(&facts(Some(within(1030, 1020, WHOLE / 2))), Action::Renew, 1030);
    }

    #[test]
    fn failures_names_and_duties_come_in() {
        check(&facts(None), Action::Enrol, 0);
        check(&Facts { retry_at: Some(t(77)), ..facts(None) }, Action::Enrol, 77);
        check(&Facts { retry_at: Some(t(1050)), ..facts(Some(short())) }, Action::Renew, 1050);
        check(&Facts { retry_at: Some(t(1001)), ..facts(Some(short())) }, Action::Renew, 1040);
        check(&facts(Some(Held { names_fit: false, ..short() })), Action::Renew, 1006);
        check(&facts(Some(Held { check_window_at: Some(t(1015)), ..short() })), Action::CheckWindow, 1015);
        check(&facts(Some(Held { check_window_at: Some(t(1041)), ..short() })), Action::Renew, 1040);
        check(&Facts { reload_at: Some(t(1010)), ..facts(Some(short())) }, Action::Reload, 1010);
    }

    #[test]
    fn nonsense_times_do_not_overflow() {
        let extreme = [t(i64::MIN), t(0), t(i64::MAX)];
        for not_before in extreme {
            for not_after in extreme {
                for obtained in extreme {
                    let window = Some(Window { start: not_after, end: not_before });
                    let _ = next(&facts(Some(Held { not_before, not_after, obtained, window, ..short() })));
                    let _ = next(&facts(Some(Held { not_before, not_after, obtained, ..short() })));
                }
            }
        }
    }

    #[test]
    fn backoff_doubles_within_bounds() {
        let check = |failures, life: Option<u64>, draw, asked: Option<u64>, expected_ms: u64| {
            let wait = backoff(failures, life.map(Duration::from_secs), draw, asked.map(Duration::from_secs));
            assert_eq!(wait, Duration::from_millis(expected_ms), "{failures} {life:?} {draw} {asked:?}");
        };
        check(1, None, 0, None, 1000);
        check(4, None, 0, None, 4000);
        check(4, None, WHOLE, None, 8000);
        check(40, None, WHOLE, None, 300_000);
        check(9, Some(60), WHOLE, None, 3000);
        check(40, Some(2_592_000), WHOLE, None, 3_600_000);
        check(1, None, 0, Some(30), 30_000);
        check(1, None, 0, Some(1_000_000), 3_600_000);
        check(1, Some(60), 0, Some(1_000_000), 36_000);
        check(u32::MAX, Some(0), WHOLE, None, 1000);
    }

    #[test]
    fn nothing_waits_longer_than_it_may() {
        let check = |at, longest, expected| {
            assert_eq!(within_reach(Some(t(at)), t(1000), Duration::from_secs(longest)), Some(t(expected)), "{at} {longest}");
        };
        check(900, 60, 900);
        check(1061, 60, 1061);
        check(1062, 60, 1000);
        check(i64::MAX, 60, 1000);
        assert_eq!(within_reach(None, t(1000), Duration::ZERO), None);
        for life in [None, Some(0), Some(60), Some(2_592_000)].map(|life| life.map(Duration::from_secs)) {
            let longest = longest_backoff(life);
            assert!(backoff(u32::MAX, life, WHOLE, Some(Duration::MAX)) <= longest, "{life:?}");
            let life = life.unwrap_or_default();
            assert!(window_check(t(0), life, Duration::MAX) <= t(0).plus(longest_window_check(life)), "{life:?}");
        }
    }

    #[test]
    fn the_window_is_asked_for_at_sane_intervals() {
        let check = |life, asked, expected| {
            assert_eq!(window_check(t(0), Duration::from_secs(life), Duration::from_secs(asked)).unix(), expected, "{life} {asked}");
        };
        check(2_592_000, 21_600, 21_600);
        check(2_592_000, 0, 60);
        check(2_592_000, 10_000_000, 86_400);
        check(60, 21_600, 15);
        check(1, 0, 1);
    }
}
