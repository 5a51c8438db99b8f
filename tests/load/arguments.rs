//! What the program is asked to do.

use std::process::exit;
use std::time::Duration;

const USAGE: &str = "\
usage: cargo bench -p ca-cli --bench load [-- quick | -- soak [ORDERS]]
  without an argument  every measurement, a few minutes
  quick                the same for about a second each: whether it works, not how fast
  soak [ORDERS]        this many orders (100000) and nothing else: whether memory stays flat";

/// How many orders a soak has.
const SOAK: u64 = 100_000;

pub(crate) enum Mode {
    Bench(Scale),
    Soak { orders: u64 },
}

/// How much is done for each measurement.
pub(crate) struct Scale {
    /// How long clients order.
    pub(crate) span: Duration,
    /// How long OCSP is asked.
    pub(crate) asking: Duration,
    /// Checks of a key.
    pub(crate) checks: u32,
    /// Connections that say nothing.
    pub(crate) idle: u64,
}

impl Scale {
    const FULL: Self = Self { span: Duration::from_secs(8), asking: Duration::from_secs(5), checks: 2000, idle: 10_000 };
    const QUICK: Self = Self { span: Duration::from_secs(1), asking: Duration::from_secs(1), checks: 100, idle: 200 };
}

impl Mode {
    /// The mode of this process. Ends it where the arguments make none.
    pub(crate) fn of_process() -> Self {
        // cargo adds one of its own.
        let given: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let mode = match given[..] {
            [] => Some(Self::Bench(Scale::FULL)),
            ["quick"] => Some(Self::Bench(Scale::QUICK)),
            ["soak"] => Some(Self::Soak { orders: SOAK }),
            ["soak", orders] => orders.parse().ok().filter(|orders| *orders > 0).map(|orders| Self::Soak { orders }),
            _ => None,
        };
        mode.unwrap_or_else(|| {
            eprintln!("{USAGE}");
            exit(2)
        })
    }
}
