//! The machine of a ceremony: what must hold of it, judged from what the shell saw (requirements 13 to 15).
//!
//! Sans-IO: the shell reads the operating system and passes [`MachineFacts`]. What cannot be read counts against the
//! machine: the shell says so in the fact.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::pki::Timestamp;

/// What the plan asks of the machine. Each is said out loud: there is no default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentPlan {
    /// No network interface but loopback is up.
    pub offline: bool,
    /// No swap is in use: memory never reaches a disk.
    pub no_swap: bool,
    /// No crash leaves the process's memory in a file.
    pub no_core_dumps: bool,
}

/// What would happen to the process's memory if it crashed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreDumps {
    /// The limit on a core file's size in octets; none is no limit.
    pub limit: Option<u64>,
    /// The kernel's `core_pattern`; one that begins with `|` is a program that the limit does not hold.
    pub pattern: String,
    /// Whether the process may be dumped at all.
    pub dumpable: bool,
}

/// What the shell saw of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MachineFacts {
    /// The kernel's identifier of this boot.
    pub boot: String,
    /// Seconds since that boot, by the monotonic clock.
    pub uptime: u64,
    /// Network interfaces other than loopback that are up, or whose state could not be read.
    pub interfaces_up: Vec<String>,
    /// Swap areas in use.
    pub swaps: Vec<String>,
    /// Core dumps.
    pub core: CoreDumps,
}

/// In what the machine is not as the plan says; empty where it is.
pub fn findings(plan: EnvironmentPlan, facts: &MachineFacts) -> Vec<String> {
    let mut out = Vec::new();
    if plan.offline && !facts.interfaces_up.is_empty() {
        out.push(format!(
            "the plan says offline, and these network interfaces are up: {} (hint: take them down, or out)",
            facts.interfaces_up.join(", ")
        ));
    }
    if plan.no_swap && !facts.swaps.is_empty() {
        out.push(format!("the plan says no swap, and in use is: {} (hint: swapoff -a)", facts.swaps.join(", ")));
    }
    let CoreDumps { limit, pattern, dumpable } = &facts.core;
    let piped = pattern.starts_with('|');
    if plan.no_core_dumps && *dumpable && (piped || *limit != Some(0)) {
        let how = if piped { "the kernel hands them to a program" } else { "the limit is not zero" };
        out.push(format!(
            "the plan says no core dumps, and a crash would leave one: {how} (hint: ulimit -c 0; sysctl kernel.core_pattern=core)"
        ));
    }
    out
}

/// Wall clock and monotonic clock at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClockMark {
    /// The wall clock.
    pub at: Timestamp,
    /// The boot.
    pub boot: String,
    /// Seconds since the boot.
    pub uptime: u64,
}

/// How far the wall clock may drift from the monotonic one between two looks.
const MAX_DRIFT: Duration = Duration::from_secs(5);

/// How far a person's own clock may be from the machine's.
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(120);

/// Tells a jump of the wall clock between two looks: against the monotonic clock within one boot, and in any case
/// backwards (requirement 14).
pub fn clock_jump(before: &ClockMark, now: &ClockMark) -> Option<String> {
    if now.at < before.at {
        let by = before.at.since(now.at).as_secs();
        return Some(format!("the clock went back by {by} seconds: it was {} and is {}", before.at, now.at));
    }
    if now.boot != before.boot {
        return None;
    }
    let (wall, monotonic) = (now.at.since(before.at), Duration::from_secs(now.uptime.saturating_sub(before.uptime)));
    let difference = wall.abs_diff(monotonic);
    (difference > MAX_DRIFT).then(|| {
        format!(
            "the clock jumped by {} seconds: since {} it went {} seconds, and the monotonic clock {}",
            difference.as_secs(),
            before.at,
            wall.as_secs(),
            monotonic.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> MachineFacts {
        let core = CoreDumps { limit: Some(0), pattern: "core".to_owned(), dumpable: true };
        MachineFacts { boot: "b1".to_owned(), uptime: 100, interfaces_up: vec![], swaps: vec![], core }
    }

    const STRICT: EnvironmentPlan = EnvironmentPlan { offline: true, no_swap: true, no_core_dumps: true };

    #[track_caller]
    fn check(change: impl FnOnce(&mut MachineFacts), expected: &[&str]) {
        let mut facts = facts();
        change(&mut facts);
        let found = findings(STRICT, &facts);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(text, part)| text.contains(part)), "{found:?}");
        let lax = EnvironmentPlan { offline: false, no_swap: false, no_core_dumps: false };
        assert!(findings(lax, &facts).is_empty());
    }

    #[test]
    fn the_machine_is_judged_by_the_plan() {
        check(|_| {}, &[]);
        check(|f| f.interfaces_up.push("eth0".to_owned()), &["interfaces are up: eth0"]);
        check(|f| f.swaps.push("/dev/sda2".to_owned()), &["/dev/sda2"]);
        check(|f| f.core.limit = None, &["limit is not zero"]);
        check(|f| f.core.limit = Some(1), &["limit is not zero"]);
        check(|f| f.core.pattern = "|/usr/lib/handler %p".to_owned(), &["to a program"]);
        check(
            |f| {
                f.core = CoreDumps { limit: None, pattern: "|handler".to_owned(), dumpable: false };
            },
            &[],
        );
        check(
            |f| {
                f.interfaces_up.push("wlan0".to_owned());
                f.swaps.push("/swap".to_owned());
            },
            &["wlan0", "/swap"],
        );
    }

    #[test]
    fn a_jump_of_the_clock_is_told_from_time_passing() {
        let mark = |at: i64, boot: &str, uptime: u64| ClockMark { at: Timestamp::from_unix(at), boot: boot.to_owned(), uptime };
        let check = |now: ClockMark, part: Option<&str>| {
            let found = clock_jump(&mark(1000, "b1", 100), &now);
            assert_eq!(found.is_some(), part.is_some(), "{found:?}");
            assert!(part.is_none_or(|p| found.as_ref().is_some_and(|f| f.contains(p))), "{found:?}");
        };
        check(mark(1060, "b1", 160), None);
        check(mark(1064, "b1", 160), None);
        check(mark(1160, "b1", 160), Some("jumped by 100 seconds"));
        check(mark(1001, "b1", 160), Some("jumped by 59 seconds"));
        check(mark(999, "b1", 160), Some("went back by 1 seconds"));
        // Another boot counts from zero again; only a step back shows.
        check(mark(9000, "b2", 3), None);
        check(mark(900, "b2", 3), Some("went back by 100"));
    }
}
