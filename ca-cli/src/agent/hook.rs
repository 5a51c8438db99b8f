//! The reload hook: how the service is told of a new certificate.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::error::AgentError;

const MAX_TIME: Duration = Duration::from_secs(60);
const MAX_COMPLAINT: u64 = 2000;

/// Splits a command line into words: white space separates, single and double quotes hold together, a backslash
/// outside single quotes takes the next character as it is. Nothing else of a shell's language means anything.
pub(super) fn split(line: &str) -> Result<Vec<String>, AgentError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(AgentError::Configuration("--reload-cmd: a quote is not closed".to_owned()));
    }
    words.extend(word);
    if words.is_empty() {
        return Err(AgentError::Configuration("--reload-cmd is empty".to_owned()));
    }
    Ok(words)
}

/// Runs the hook, without a shell unless `shell`. The certificate's directory is in `COUNTERSIGN_LIVE`.
pub(super) async fn run(line: &str, shell: bool, live: &Path) -> Result<(), AgentError> {
    let words = if shell { vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()] } else { split(line)? };
    let failed = |reason: String| AgentError::Local(format!("the reload command `{line}` failed: {reason}"));
    let (program, arguments) = words.split_first().ok_or_else(|| failed("it is empty".to_owned()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("COUNTERSIGN_LIVE", live)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| failed(e.to_string()))?;
    let complaint = child.stderr.take();
    let finish = async {
        let mut text = Vec::new();
        if let Some(stderr) = complaint {
            // What it says beyond the bound is read and dropped, so that it is not stuck on a full pipe. A daemon
            // that it leaves behind keeps the pipe open; the hook itself is what is waited for.
            let mut stderr = stderr;
            let mut start = (&mut stderr).take(MAX_COMPLAINT);
            tokio::select! {
                status = child.wait() => {
                    let rest = tokio::time::timeout(Duration::from_millis(100), start.read_to_end(&mut text)).await;
                    drop(rest);
                    return status.map(|s| (s, text));
                }
                read = start.read_to_end(&mut text) => { read?; }
            }
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        }
        child.wait().await.map(|status| (status, text))
    };
    match tokio::time::timeout(MAX_TIME, finish).await {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, text))) => Err(failed(format!("{status}: {}", String::from_utf8_lossy(&text).trim()))),
        Ok(Err(e)) => Err(failed(e.to_string())),
        Err(_) => Err(failed(format!("it did not end within {} seconds", MAX_TIME.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |line: &str, expected: &[&str]| assert_eq!(split(line).unwrap(), expected, "{line}");
        check("systemctl reload nginx", &["systemctl", "reload", "nginx"]);
        check("  a\t'b c'  \"d 'e'\" ", &["a", "b c", "d 'e'"]);
        check(r#"a\ b "c\"d" 'e\f' "" x''y"#, &["a b", "c\"d", r"e\f", "", "xy"]);
        check("a; b && $(c) | d > e", &["a;", "b", "&&", "$(c)", "|", "d", ">", "e"]);
        assert!(split("a 'b").is_err());
        assert!(split("  ").is_err());
    }

    #[tokio::test]
    async fn failure_is_reported_with_what_the_hook_said() {
        let live = Path::new("/somewhere/live");
        run("true", false, live).await.unwrap();
        run("test \"$COUNTERSIGN_LIVE\" = /somewhere/live", true, live).await.unwrap();
        let error = run("echo no such service >&2; exit 3", true, live).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3: no such service"), "{error}");
        let error = run("/nonexistent/program", false, live).await.unwrap_err().to_string();
        assert!(error.contains("`/nonexistent/program` failed"), "{error}");
        // The semicolon means nothing without a shell.
        assert!(run("false ; true", false, live).await.is_err());
        // More than a pipe holds.
        run("head -c 300000 /dev/zero >&2", true, live).await.unwrap();
    }
}
