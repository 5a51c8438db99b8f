//! What can be made to go wrong.

use std::str::FromStr;

/// A moment around a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Before it has any effect.
    Before,
    /// After its effect is durable, before it is answered.
    After,
}

/// Something that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Every session ends.
    DropSessions,
    /// The log is filled up.
    FillLog,
    /// The storage is filled up, with objects in domain 16.
    FillStorage,
    /// The power goes away around a command, and comes back at once.
    CutPower {
        /// When.
        moment: Moment,
        /// Only at commands with this code; none: at any inside a session.
        command: Option<u8>,
        /// How many of them pass first.
        skip: u32,
    },
    /// The connector answers that many messages with 503.
    HttpErrors(u32),
    /// The device is taken out: the connector answers with 502.
    Unplug,
    /// It is put back, and starts.
    Plug,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let usage = || {
            format!(
                "`{text}` is no fault (hint: drop-sessions, fill-log, fill-storage, http-errors N, unplug, plug, \
                 cut-power before|after SKIP [COMMAND-IN-HEX])"
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |text: &str| text.parse::<u32>().map_err(|_| usage());
        match words.as_slice() {
            ["drop-sessions"] => Ok(Self::DropSessions),
            ["fill-log"] => Ok(Self::FillLog),
            ["fill-storage"] => Ok(Self::FillStorage),
            ["unplug"] => Ok(Self::Unplug),
            ["plug"] => Ok(Self::Plug),
            ["http-errors", count] => Ok(Self::HttpErrors(number(count)?)),
            ["cut-power", moment @ ("before" | "after"), skip, command @ ..] if command.len() <= 1 => {
                let moment = if *moment == "before" { Moment::Before } else { Moment::After };
                let command = command.first().map(|c| u8::from_str_radix(c, 16)).transpose().map_err(|_| usage())?;
                Ok(Self::CutPower { moment, command, skip: number(skip)? })
            }
            _ => Err(usage()),
        }
    }
}
