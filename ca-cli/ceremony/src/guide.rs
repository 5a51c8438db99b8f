//! What the people in the room read: one page at a time, for a terminal of 80 columns and 24 rows, to be read aloud.

use std::path::Path;

use ca_core::ceremony::{Duty, grouped, spoken};
use ca_core::pki::{Sha256Digest, sha256};

use crate::files::{Folder, TRANSCRIPT, read};
use crate::room::record_subject;
use crate::steps::Step;
use crate::{Error, Needed, VerifiedBundle};

/// Columns of a page.
const WIDTH: usize = 80;
const INDENT: &str = "            ";

/// What stands on a page.
struct Page<'a> {
    step: Step,
    who: String,
    act: String,
    command: Option<String>,
    digest: Option<(&'a str, Sha256Digest)>,
    expected: String,
    seen: String,
}

impl Page<'_> {
    fn render(&self) -> String {
        let rule = "=".repeat(WIDTH - 1);
        let head = format!(" STEP {} of {}   {}", self.step.number(), Step::ALL.len(), self.step.title());
        let mut out = vec![head, rule];
        labelled(&mut out, "WHO", &self.who);
        labelled(&mut out, "DO", &self.act);
        if let Some(command) = &self.command {
            out.extend(wrapped(command, WIDTH - 7, " \\").into_iter().map(|line| format!("    {line}")));
        }
        if let Some((what, digest)) = &self.digest {
            let [first, second] = grouped(digest);
            out.push(format!(" {:<10} SHA-256 of {what} {first}", "COMPARE"));
            out.push(format!("{INDENT}{:>width$}", second, width = "SHA-256 of ".len() + what.len() + 1 + first.len()));
            out.extend(spoken(digest).into_iter().map(|row| format!("{INDENT}{row}")));
        }
        labelled(&mut out, "EXPECTED", &self.expected);
        labelled(&mut out, "SEEN", &self.seen);
        out.join("\n")
    }
}

fn labelled(out: &mut Vec<String>, label: &str, text: &str) {
    for (i, line) in wrapped(text, WIDTH - 1 - INDENT.len(), "").into_iter().enumerate() {
        out.push(if i == 0 { format!(" {label:<10} {line}") } else { format!("{INDENT}{line}") });
    }
}

/// Breaks at blanks; a word that is longer than the width stays whole, because it is a path or a digest.
fn wrapped(text: &str, width: usize, continuation: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() + continuation.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    let last = lines.len().saturating_sub(1);
    lines.iter_mut().take(last).for_each(|line| line.push_str(continuation));
    lines
}

/// What a duty is, on one line.
pub(crate) fn duty_line(duty: &Duty) -> String {
    match duty {
        Duty::Attend { role, missing, of } => format!("the attendance of {missing} more as {role} ({})", of.join(", ")),
        Duty::ConfirmClock { missing } => format!("{missing} more people who compare their own clock"),
        Duty::Sign { record, who } => format!("the signature of {who} on the record {record}"),
        Duty::Acknowledge { name, holds } => format!("the acknowledgement of {name}, who keeps {holds}"),
        Duty::Bag { what } => format!("the number of the tamper bag `{what}`"),
        Duty::Media { what } => format!("the digest of the medium `{what}`"),
        Duty::Dispose { line, what, .. } => format!("a disposition of the exception on line {line}: {what}"),
    }
}

/// The page for what people owe first.
pub(crate) fn duties(bundle: &Path, namespace: &str, duties: &[Duty]) -> Result<String, Error> {
    let folder = Folder(bundle.to_owned());
    let shown = bundle.display();
    let Some(first) = duties.first() else { return Ok(String::new()) };
    let note = |rest: String| Some(format!("ca ceremony note {shown} {rest}"));
    let room = duties.iter().any(|d| matches!(d, Duty::Attend { .. } | Duty::ConfirmClock { .. }));
    let attends = matches!(first, Duty::Sign { record, .. } if record.starts_with("attendance-"));
    let step = if room || attends { Step::Room } else { Step::Evidence };
    let seen = format!("still missing: {}", duties.iter().map(duty_line).collect::<Vec<_>>().join("; "));
    let seen = if seen.chars().count() > 300 { format!("{} things are missing, first {}", duties.len(), duty_line(first)) } else { seen };
    let mut page = Page {
        step,
        who: String::new(),
        act: String::new(),
        command: None,
        digest: None,
        expected: "the command prints what to sign, or that it is on record".to_owned(),
        seen,
    };
    match first {
        Duty::Attend { role, missing, of } => {
            page.who = format!("{missing} more as {role}: {}", of.join(", "));
            page.act = "Show who you are, read the time on your own watch aloud (UTC), and let the administrator type it:".to_owned();
            page.command = note("attendance NAME --own-clock 2026-01-31T12:00:00Z".to_owned());
        }
        Duty::ConfirmClock { missing } => {
            page.who = format!("{missing} more of those who are here");
            page.act =
                "Read the time on your own watch aloud (UTC). The attendance is written again with it, which is an exception:".to_owned();
            page.command = note("attendance NAME --own-clock 2026-01-31T12:00:00Z --again REASON".to_owned());
        }
        Duty::Sign { record, who } => {
            let file = folder.record(record);
            page.who = who.clone();
            page.act = "Read the record, compare, sign it with your own key:".to_owned();
            page.digest = Some(("the record", sha256(&read(&file)?)));
            let signature = folder.path("sigs").join(format!("{}.{who}.sig", record_subject(record)));
            page.command = Some(sign_command(namespace, &file, &signature));
            page.expected = "a new file in sigs/".to_owned();
        }
        Duty::Acknowledge { name, holds } => {
            page.who = name.clone();
            page.act = format!("Receive {holds} in its sealed bag, read the bag's number aloud:");
            page.command = note(format!("custody {name} --bag NUMBER"));
        }
        Duty::Bag { what } => {
            page.who = "administrator; a witness reads".to_owned();
            page.act = format!("Seal `{what}` in its tamper bag, and read the number printed on it aloud:");
            page.command = note(format!("bag {what} NUMBER"));
        }
        Duty::Media { what } => {
            page.who = "administrator; a witness compares".to_owned();
            page.act = format!("Take the digest of the medium `{what}`:");
            page.command = note(format!("media {what} --file IMAGE"));
        }
        Duty::Dispose { line, what, done } => {
            page.who = "an officer and a witness decide together".to_owned();
            page.act = format!("Something was not in the script: {what}. {done} Say what it means, and decide:");
            page.command = Some(format!("ca ceremony exception dispose {shown} {line} DECISION --by OFFICER,WITNESS"));
        }
    }
    Ok(format!("{}\n\nThen run this again; it goes on from here.", page.render()))
}

fn sign_command(namespace: &str, file: &Path, signature: &Path) -> String {
    format!("ssh-keygen -Y sign -n {namespace} -f KEY < {} > {}", file.display(), signature.display())
}

/// The page for the first file that waits for signatures.
pub(crate) fn signatures(bundle: &Path, needed: &[Needed]) -> Result<String, Error> {
    let Some(first) = needed.first() else { return Ok(String::new()) };
    let Needed { file, signature, namespace, threshold, signed } = first;
    let name = |n: &Needed| n.file.file_name().and_then(|f| f.to_str()).unwrap_or_default().to_owned();
    let is_plan = file.file_name().is_some_and(|f| f == crate::files::PLAN);
    let by = if signed.is_empty() { String::new() } else { format!(" ({})", signed.join(", ")) };
    let after: Vec<String> = needed[1..].iter().map(name).collect();
    let after = if after.is_empty() { String::new() } else { format!("; the same way after it: {}", after.join(", ")) };
    let page = Page {
        step: if is_plan { Step::Plan } else { Step::Statements },
        who: format!("{threshold} officers, each with an own key"),
        act: format!("Look first: ca ceremony show {} - compare, then each officer signs (NAME for OFFICER):", bundle.display()),
        command: Some(sign_command(namespace, file, signature)),
        digest: Some(("this file", sha256(&read(file)?))),
        expected: "a new file in sigs/ for each officer".to_owned(),
        seen: format!("{}: {} of {threshold} officers signed{by}{after}", name(first), signed.len()),
    };
    Ok(format!("{}\n\nSignatures are missing. Then run this again; it goes on from here.", page.render()))
}

/// The page of the end.
pub(crate) fn complete(bundle: &Path, verified: &VerifiedBundle) -> Result<String, Error> {
    let folder = Folder(bundle.to_owned());
    let transcript = folder.path(TRANSCRIPT);
    let signature = folder.path("sigs").join(format!("{}.NAME.sig", crate::files::TRANSCRIPT_SUBJECT));
    let signed: Vec<&str> = verified.cosigners.iter().map(|(name, _)| name.as_str()).collect();
    let page = Page {
        step: Step::CoSigning,
        who: "officers and witnesses; then the auditor, elsewhere".to_owned(),
        act: "Compare the digest, sign the closed transcript, take the root's key store offline:".to_owned(),
        command: Some(sign_command(verified.roster.kind.namespace(), &transcript, &signature)),
        digest: Some(("transcript.jsonl", sha256(&read(&transcript)?))),
        expected: "a new file in sigs/ for each person".to_owned(),
        seen: format!("signed by {}", if signed.is_empty() { "nobody yet".to_owned() } else { signed.join(", ") }),
    };
    Ok(page.render())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ca_core::ceremony::Role;

    #[track_caller]
    fn fits(page: &str) {
        let lines: Vec<&str> = page.lines().collect();
        // One row is the next prompt's.
        assert!(lines.len() <= 23, "{} rows:\n{page}", lines.len());
        let wide = lines.iter().find(|l| l.chars().count() > WIDTH);
        assert!(wide.is_none(), "{wide:?}");
        for part in ["STEP ", "WHO ", "DO ", "EXPECTED ", "SEEN "] {
            assert!(page.contains(part), "{part}:\n{page}");
        }
    }

    #[test]
    fn every_page_fits_a_small_terminal() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        let folder = Folder(dir.path().to_owned());
        folder.create().unwrap();
        std::fs::write(folder.record("attendance-ana"), "x").unwrap();
        std::fs::write(folder.path("plan.toml"), "x").unwrap();
        let text = |t: &str| t.to_owned();
        let all = [
            Duty::Attend { role: Role::Officer, missing: 2, of: ["ana", "bela", "cora", "dana", "emil"].map(text).to_vec() },
            Duty::ConfirmClock { missing: 1 },
            Duty::Sign { record: text("attendance-ana"), who: text("ana") },
            Duty::Acknowledge { name: text("ana"), holds: text("share 1 of 3 of the root key store's secret") },
            Duty::Bag { what: text("root-keys") },
            Duty::Media { what: text("boot") },
            Duty::Dispose { line: 12, what: "w".repeat(40) + &" word".repeat(30), done: text("The key is used.") },
        ];
        for duty in &all {
            fits(&duties(dir.path(), "ceremony@countersign", std::slice::from_ref(duty)).unwrap());
        }
        fits(&duties(dir.path(), "ceremony@countersign", &all).unwrap());
        let needed = Needed {
            file: folder.path("plan.toml"),
            signature: folder.path("sigs/plan.OFFICER.sig"),
            namespace: "ceremony@countersign",
            threshold: 2,
            signed: vec![text("ana")],
        };
        let page = signatures(dir.path(), &vec![needed; 5]).unwrap();
        fits(&page);
        assert!(page.contains("1 of 2 officers signed (ana)"), "{page}");
        // Nothing of the digest is cut off.
        assert!(grouped(&sha256(b"x")).iter().chain(&spoken(&sha256(b"x"))).all(|part| page.contains(part)), "{page}");
    }
}
