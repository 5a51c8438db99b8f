//! Sample configurations.

/// The first line that sets a key, or would without its `# `, and has no comment above it.
pub fn unexplained(sample: &str) -> Option<&str> {
    let lines: Vec<&str> = sample.lines().collect();
    let is_key = |line: &str| {
        let bare = line.trim_start_matches("# ");
        bare.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    };
    let explained = |i: usize| i > 0 && lines[i - 1].starts_with('#');
    lines.iter().enumerate().find(|(i, line)| is_key(line) && !explained(*i)).map(|(_, line)| *line)
}
