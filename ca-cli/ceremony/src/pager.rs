//! Long texts on a terminal: a screenful at a time, so that nothing scrolls away before it was read aloud.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

/// Rows of a screenful; the 24th is for the prompt.
const ROWS: usize = 23;

/// Prints `text`; on a terminal it waits for Enter after each screenful. A reader that went away is no failure.
pub(crate) fn print_paged(text: &str) {
    let text = text.trim_end();
    let mut out = std::io::stdout();
    if !(out.is_terminal() && std::io::stdin().is_terminal()) {
        let _ = writeln!(out, "{text}");
        return;
    }
    let pages = pages(text);
    for (i, page) in pages.iter().enumerate() {
        let _ = writeln!(out, "{page}");
        if i + 1 < pages.len() {
            let _ = write!(out, "-- {} of {}, Enter for more --", i + 1, pages.len());
            let _ = out.flush();
            // At the end of the input the rest is printed at once.
            let _ = std::io::stdin().lock().read_line(&mut String::new());
        }
    }
}

/// The text in pieces of a screenful. A line that is wider than 80 columns takes several rows.
fn pages(text: &str) -> Vec<String> {
    let mut pages = vec![(0, Vec::new())];
    for line in text.lines() {
        let rows = line.chars().count().max(1).div_ceil(80);
        if pages.last().is_some_and(|(used, lines): &(usize, Vec<&str>)| used + rows > ROWS && !lines.is_empty()) {
            pages.push((0, Vec::new()));
        }
        if let Some((used, lines)) = pages.last_mut() {
            *used += rows;
            lines.push(line);
        }
    }
    pages.into_iter().map(|(_, lines)| lines.join("\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_screenful_scrolls_away() {
        let long = "x".repeat(161);
        let text: Vec<String> = (0..60).map(|i| if i % 10 == 0 { long.clone() } else { format!("line {i}") }).collect();
        let text = text.join("\n");
        let pages = pages(&text);
        assert!(pages.len() > 2);
        assert_eq!(pages.join("\n"), text);
        for page in &pages {
            let rows: usize = page.lines().map(|l| l.chars().count().max(1).div_ceil(80)).sum();
            assert!(rows <= 23, "{rows}");
        }
    }
}
