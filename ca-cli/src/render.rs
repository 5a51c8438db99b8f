//! Reports as text and JSON.

use std::io::{self, Write as _};

use ca_core::pki::Timestamp;
pub(crate) use ca_service::span;
use serde::Serialize;

/// Prints text to standard output. A reader that went away, as with `| head`, is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}

/// Prints JSON, indented.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// A table: a header, rows, columns two spaces apart, no trailing blanks.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([header[i].chars().count()]).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut out = String::new();
    let mut line = |cells: [&str; N]| {
        let mut text = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            let cell = plain(cell);
            text.push_str(&cell);
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(header);
    for row in rows {
        line(std::array::from_fn(|i| row[i].as_str()));
    }
    out
}

/// Text without control characters: what came from outside must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// So many of something: `1 certificate`, `2 certificates`.
pub(crate) fn many(number: impl std::fmt::Display + PartialEq + From<u8>, noun: &str) -> String {
    let plural = if number == 1.into() { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// A word for a POSIX shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/:._-+=@%,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A time seen from now: `in 5 h`, `3 min ago`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    if time > now { format!("in {}", span(time.since(now))) } else { format!("{} ago", span(now.since(time))) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [["a".to_owned(), "é".to_owned(), String::new()], ["longer".to_owned(), "x\u{1b}[31m".to_owned(), "z".to_owned()]];
        assert_eq!(table(["ONE", "TWO", "THREE"], &rows), "ONE     TWO     THREE\na       é\nlonger  x\u{fffd}[31m  z\n");
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_unix(1_000_000);
        assert_eq!(relative(Timestamp::from_unix(1_000_060), now), "in 60 s");
        assert_eq!(relative(Timestamp::from_unix(1_000_000 - 7200), now), "2 h ago");
        assert_eq!(span(Duration::from_secs(30 * 86_400)), "30 days");
        assert_eq!(span(Duration::from_secs(600)), "10 min");
    }

    #[test]
    fn things_are_counted_as_people_do() {
        assert_eq!([many(0u64, "row"), many(1usize, "row"), many(2u32, "serial number")], ["0 rows", "1 row", "2 serial numbers"]);
    }

    #[test]
    fn words_survive_a_shell() {
        for text in ["plain/path.toml", "with blank", "it's", "$HOME", "", "a\"b"] {
            let output = std::process::Command::new("sh").arg("-c").arg(format!("printf %s {}", quoted(text))).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
