//! docs/oracles.md, written from what the oracles said.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ca_testkit::specimens::Specimen;

use crate::expected::{Expected, is_caught};
use crate::finding::{Judgement, Severity};

pub(crate) fn render(good: &[Specimen], flawed: &[Specimen], judgements: &[(Judgement, Judgement)], expected: &Expected) -> String {
    let mut out = String::from(
        "# What other implementations say of what this CA issues\n\n\
         `make lint-oracles` wrote this page: it issued every profile with every kind of key under an authority of every kind of \
         key, with CRLs and OCSP answers, and let each oracle judge all of it that such an oracle judges. A number says how many \
         specimens an oracle judged; it found no error in any of them. `3 of 5`: the others it can't read, by limits of its \
         own that are named below. A star: findings stand, of lower severity or disputed, for the reasons below.\n\n## Profiles × oracles\n\n",
    );
    let names: Vec<_> = judgements.iter().map(|(j, _)| format!("{} {}", j.oracle, j.version)).collect();
    let head = |out: &mut String, first: &str| {
        writeln!(out, "| {first} | {} |\n| --- |{}", names.join(" | "), " --- |".repeat(names.len())).unwrap();
    };
    head(&mut out, "profile");
    let mut profiles: Vec<&str> = Vec::new();
    good.iter().for_each(|s| {
        if !profiles.contains(&s.profile) {
            profiles.push(s.profile);
        }
    });
    for profile in &profiles {
        row(&mut out, profile, judgements.iter().map(|(j, _)| cell(j, good, expected, &|s| s.profile == *profile)));
    }
    let without_revocation = |s: &Specimen| s.name.contains("no-rev-avail");
    row(&mut out, "any, with noRevAvail", judgements.iter().map(|(j, _)| cell(j, good, expected, &without_revocation)));
    out += "\n## Keys × oracles\n\nThe subject's key; of a CRL or an OCSP answer, the signer's.\n\n";
    head(&mut out, "key");
    let keys: BTreeSet<_> = good.iter().map(|s| s.key).collect();
    for key in keys {
        row(&mut out, key.name(), judgements.iter().map(|(j, _)| cell(j, good, expected, &|s| s.key == key)));
    }

    out += "\n## Flawed specimens\n\nEach oracle also judges specimens with one thing wrong, signed all the same, so that one which \
            looks at nothing is found out.\n\n";
    head(&mut out, "flaw");
    for specimen in flawed {
        let cells = judgements.iter().map(|(_, j)| match j.judged.contains(&specimen.name) {
            true if is_caught(j, &specimen.name) => "caught".to_owned(),
            true => "not its matter".to_owned(),
            false => "—".to_owned(),
        });
        row(&mut out, specimen.name.trim_start_matches("broken/"), cells);
    }

    out += "\n## Findings that stand\n\n| oracle | severity | rule | in | why it stands |\n| --- | --- | --- | --- | --- |\n";
    let lists = [(&expected.finding, ""), (&expected.disputed, ", disputed"), (&expected.unread, ", by its own limits")];
    for (standing, what) in lists.iter().flat_map(|(list, what)| list.iter().map(move |standing| (standing, what))) {
        let severity = format!("{:?}{what}", standing.severity).to_lowercase();
        let patterns = standing.specimens.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(" ");
        writeln!(out, "| {} | {severity} | `{}` | {patterns} | {} |", standing.oracle, standing.rule, standing.reason).unwrap();
    }
    out
}

fn row(out: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    writeln!(out, "| {first} | {} |", cells.collect::<Vec<_>>().join(" | ")).unwrap();
}

/// How many of these specimens it judged, and read.
fn cell(judgement: &Judgement, good: &[Specimen], expected: &Expected, is_wanted: &dyn Fn(&Specimen) -> bool) -> String {
    let wanted: BTreeSet<_> = good.iter().filter(|s| is_wanted(s)).map(|s| s.name.as_str()).collect();
    let judged: BTreeSet<_> = judgement.judged.iter().map(String::as_str).filter(|name| wanted.contains(name)).collect();
    let findings = judgement.findings.iter().filter(|f| wanted.contains(f.specimen.as_str()) && f.severity > Severity::Info);
    let (unread, stand): (Vec<_>, Vec<_>) = findings.partition(|f| expected.unread.iter().any(|s| s.covers(judgement.oracle, f)));
    let unread: BTreeSet<_> = unread.iter().map(|f| &f.specimen).collect();
    let star = if stand.is_empty() { "" } else { "*" };
    match (judged.len(), unread.len()) {
        (0, _) => "—".to_owned(),
        (count, 0) => format!("{count}{star}"),
        (count, unread) => format!("{} of {count}{star}", count - unread),
    }
}
