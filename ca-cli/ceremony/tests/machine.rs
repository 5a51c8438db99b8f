//! The binary on a real machine: network namespaces, core dumps, secrets, paper.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use ca_core::ceremony::{Plan, Transcript, TranscriptEvent, spoken};
use ca_core::pki::sha256;
use common::{ANY_MACHINE, Ceremony, text};

/// Opens a ceremony by the binary up to the officers' signatures on the plan.
fn signed(kind: &'static str, environment: &'static str) -> Ceremony {
    let ceremony = Ceremony::for_binary(kind, environment);
    ceremony.secret_file("pass", "correct horse\n");
    assert_eq!(ceremony.tool(&ceremony.run_args()).status.code(), Some(5));
    ceremony.sign_plan(&["ana", "bela"]);
    ceremony
}

/// Runs the binary in a new network namespace, after `setup` there.
fn in_namespace(ceremony: &Ceremony, setup: &str, args: &[&str]) -> std::process::Output {
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", &format!("{setup}\nexec \"$@\""), "sh", env!("CARGO_BIN_EXE_ca-ceremony")])
        .args(args)
        .current_dir(ceremony.dir.path())
        .stdin(std::process::Stdio::null())
        .output()
        .expect("unshare is installed (Debian: util-linux)");
    let said = text(&output);
    assert!(
        !said.contains("unshare failed"),
        "this test needs to make a network namespace: run it as root, or allow unprivileged user namespaces: {said}"
    );
    output
}

fn found(ceremony: &Ceremony) -> Vec<Vec<String>> {
    let transcript = Transcript::parse(&std::fs::read_to_string(ceremony.bundle().join("transcript.jsonl")).unwrap()).unwrap();
    let found =
        transcript.events().filter_map(|e| if let TranscriptEvent::Started { findings, .. } = e { Some(findings.clone()) } else { None });
    found.collect()
}

const OFFLINE: &str = "offline = true\nno_swap = false\nno_core_dumps = true";

#[test]
fn ceremony_13_a_live_interface_is_refused_where_the_plan_says_offline() {
    let ceremony = signed("production", OFFLINE);
    // With only loopback, even up, it goes on: attendance is next.
    let offline = in_namespace(&ceremony, "ip link set lo up", &ceremony.run_args());
    assert_eq!(offline.status.code(), Some(5), "{}", text(&offline));
    assert!(text(&offline).contains("STEP 2 of 9"), "{}", text(&offline));
    // One more interface, as the kernel has it: a tunnel device needs no module, and is up at once.
    let live = in_namespace(&ceremony, "ip tuntap add dev wire0 mode tun && ip link set wire0 up", &ceremony.run_args());
    assert_eq!(live.status.code(), Some(4), "{}", text(&live));
    assert!(text(&live).contains("the plan says offline") && text(&live).contains("wire0"), "{}", text(&live));
    assert_eq!(std::fs::read_dir(ceremony.dir.path().join("root-keys")).unwrap().count(), 1, "no key was made, only the serial number");
    let runs = found(&ceremony);
    assert!(runs[0].is_empty() && runs[1][0].contains("wire0"), "{runs:?}");
    // A rehearsal goes on, and says so in its transcript.
    let rehearsal = signed("rehearsal", OFFLINE);
    let live = in_namespace(&rehearsal, "ip tuntap add dev wire0 mode tun && ip link set wire0 up", &rehearsal.run_args());
    assert_eq!(live.status.code(), Some(5), "{}", text(&live));
    assert!(found(&rehearsal)[0][0].contains("wire0"));
}

/// Every file below `folder`.
fn files(folder: &Path, out: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn ceremony_15_a_canary_secret_is_nowhere_and_no_core_dump_is_left() {
    const CANARY: &str = "canary-7f3a91-yellow-bird-of-the-mine";
    // Once with a wrong one, because errors are where secrets slip out.
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    ceremony.secret_file("pass", &format!("{CANARY}\n"));
    let mut printed = ceremony.complete_by_binary();
    let other = signed("production", ANY_MACHINE);
    other.secret_file("pass", &format!("{CANARY}\u{1}\n"));
    printed.push_str(&text(&other.tool_command(&other.run_args()).env("RUST_LOG", "trace").output().unwrap()));
    for args in [["report", "bundle", "--format", "md"], ["report", "bundle", "--format", "html"], ["exception", "list", "bundle", ""]] {
        let args: Vec<&str> = args.into_iter().filter(|a| !a.is_empty()).collect();
        printed.push_str(&text(&ceremony.tool(&args)));
    }
    assert!(printed.len() > 10_000, "everything that was printed is looked at");
    let mut all = vec![("what was printed".to_owned(), printed.into_bytes())];
    files(ceremony.dir.path(), &mut all);
    files(&other.bundle(), &mut all);
    assert!(all.len() > 50, "every file is looked at");
    let hex: String = CANARY.bytes().map(|b| format!("{b:02x}")).collect();
    let encode = |shift: usize| base64::engine::general_purpose::STANDARD_NO_PAD.encode(&CANARY.as_bytes()[shift..]);
    // Base64 has three alignments; the last octets of each depend on what follows.
    let base64 = [0, 1, 2].map(|shift| encode(shift)[..40].to_owned());
    let file_key = std::fs::read(ceremony.dir.path().join("file-key")).unwrap();
    let file_key = String::from_utf8_lossy(&file_key).trim().to_owned();
    assert!(file_key.len() >= 32);
    let mut needles = vec![CANARY.to_owned(), hex.to_uppercase(), hex, file_key];
    needles.extend(base64);
    for (name, bytes) in &all {
        if name.ends_with("/pass") || name.ends_with("/file-key") {
            continue;
        }
        for needle in &needles {
            let found = bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
            assert!(!found, "{name} holds the canary as {needle}");
        }
    }
    // The same search does find it where it is.
    assert!(all.iter().any(|(name, bytes)| name.ends_with("/pass") && bytes.windows(CANARY.len()).any(|w| w == CANARY.as_bytes())));

    // With core dumps asked for, the process closes itself to them before it reads a secret.
    let plan = signed("production", ANY_MACHINE);
    let unlimited = "ulimit -c unlimited; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", unlimited, "sh", env!("CARGO_BIN_EXE_ca-ceremony")]).args(plan.run_args()).current_dir(plan.dir.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(found(&plan)[0].is_empty(), "{:?}", found(&plan));
}

#[test]
fn ceremony_07_the_script_is_numbered_and_rendered_from_the_plan() {
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let plan = Plan::parse(&std::fs::read_to_string(ceremony.plan()).unwrap()).unwrap();
    let md = text(&ceremony.tool(&["script", "plan.toml"]));
    let html = text(&ceremony.tool(&["script", "plan.toml", "--format", "html"]));
    assert!(md.contains("| # | who | command or act | expected | initials | time (UTC) |"), "{md}");
    for number in 1..=9 {
        assert!(md.contains(&format!("\n| {number} | everyone |")) && md.contains(&format!("\n| {number}.1 |")), "step {number}: {md}");
    }
    for form in [&md, &html] {
        // Everyone, everything that is signed, every field to be filled in, and the plan in words.
        for part in [
            "ana",
            "bela",
            "cora",
            "dora",
            "wim",
            "1-root",
            "2-bank",
            "3-root-crl",
            "4-policy",
            "bag root-keys",
            "media bundle-copy",
            "custody ana",
        ] {
            assert!(form.contains(part), "{part}: {form}");
        }
        assert!(spoken(&plan.sha256).iter().all(|row| form.contains(row)));
    }
    assert!(html.starts_with("<!DOCTYPE html>") && html.contains("break-inside:avoid") && !html.contains("<script"));
    // Another plan, another script: what it renders is the plan's.
    ceremony.edit_plan("title = \"First ceremony\"", "title = \"<b>Other</b> | ceremony\"");
    let html = text(&ceremony.tool(&["script", "plan.toml", "--format", "html"]));
    assert!(html.contains("&lt;b&gt;Other&lt;/b&gt; | ceremony") && !html.contains("<b>"), "{html}");
    assert!(text(&ceremony.tool(&["script", "plan.toml"])).contains("&lt;b\\>Other&lt;/b\\> \\| ceremony"));

    // And the filled transcript afterwards.
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    ceremony.secret_file("pass", "correct horse\n");
    ceremony.complete_by_binary();
    let report = text(&ceremony.tool(&["report", "bundle"]));
    let digest = sha256(&std::fs::read(ceremony.bundle().join("transcript.jsonl")).unwrap());
    for part in ["TB-0001", "ana (officer), bela (officer), wim (witness)", "attendance-dora", "key made", "closed"] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(spoken(&digest).iter().all(|row| report.contains(row)), "{report}");
}

/// A transcript without what differs each time: keys, digests, signatures, serial numbers, times.
fn normalised(text: &str) -> String {
    fn walk(key: &str, value: &mut serde_json::Value) {
        use serde_json::Value;
        match value {
            Value::Object(fields) => {
                if key == "files" {
                    fields.values_mut().for_each(|v| *v = Value::from("<digest>"));
                }
                fields.iter_mut().for_each(|(k, v)| walk(k, v));
            }
            Value::Array(items) if items.iter().all(Value::is_number) && items.len() > 8 => *value = Value::from("<octets>"),
            Value::Array(items) => items.iter_mut().for_each(|v| walk(key, v)),
            Value::String(text) => {
                let hex = text.len() >= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
                let json = text.starts_with("{\n").then(|| serde_json::from_str::<Value>(text).ok()).flatten();
                if let Some(mut inner) = json {
                    walk("", &mut inner);
                    *value = inner;
                } else if matches!(key, "serial" | "boot" | "attempt") || hex || text.len() > 120 {
                    *value = Value::from(format!("<{key}>"));
                } else if key == "software" {
                    *value = Value::from("<software>");
                }
            }
            Value::Number(_) if matches!(key, "at" | "uptime" | "issued_at" | "expires_at" | "own_clock") => *value = Value::from("<time>"),
            Value::Number(_) if matches!(key, "not_before" | "not_after" | "this_update" | "next_update" | "number") => {
                *value = Value::from(format!("<{key}>"));
            }
            _ => {}
        }
    }
    let lines = text.lines().map(|line| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        walk("", &mut value);
        value.to_string() + "\n"
    });
    lines.collect()
}

#[test]
fn ceremony_05_a_dry_run_of_the_same_binary_gives_the_golden_transcript() {
    let run = |kind| {
        let ceremony = Ceremony::for_binary(kind, "offline = false\nno_swap = false\nno_core_dumps = true");
        ceremony.secret_file("pass", "correct horse\n");
        ceremony.complete_by_binary();
        (normalised(&std::fs::read_to_string(ceremony.bundle().join("transcript.jsonl")).unwrap()), ceremony)
    };
    let (rehearsal, ceremony) = run("rehearsal");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rehearsal.jsonl");
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if rehearsal != expected {
        let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rehearsal.jsonl");
        std::fs::write(&found, &rehearsal).unwrap();
        panic!("the rehearsal's transcript is in {}; compare it with {}", found.display(), golden.display());
    }
    // The production goes the same way: only its kind and its names tell them apart.
    let (production, _) = run("production");
    assert_eq!(rehearsal.replace("\"rehearsal\"", "\"production\"").replace("REHEARSAL ", ""), production);
    // What was signed for the one is nothing for the other: the namespaces differ.
    let sig = std::fs::read_to_string(ceremony.bundle().join("sigs/plan.ana.sig")).unwrap();
    let body: String = sig.lines().filter(|l| !l.starts_with("---")).collect();
    let body = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    assert!(body.windows(21).any(|w| w == b"rehearsal@countersign"));
}

#[test]
fn ceremony_39_a_stranger_verifies_the_bundle_with_nothing_but_the_roster() {
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    ceremony.secret_file("pass", "correct horse\n");
    ceremony.complete_by_binary();
    // A copy that everybody may read, another user, an empty environment, no network.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let tool = elsewhere.path().join("ca-ceremony");
    // By another process: what this one has open to write may be a child's of another test for a moment, and then it can't
    // be executed (ETXTBSY).
    assert!(Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_ca-ceremony")]).arg(&tool).status().unwrap().success());
    let copied = Command::new("cp").arg("-r").arg(ceremony.bundle()).arg(elsewhere.path().join("bundle")).status().unwrap();
    assert!(copied.success());
    std::fs::rename(elsewhere.path().join("bundle/roster.toml"), elsewhere.path().join("roster.toml")).unwrap();
    std::fs::copy(elsewhere.path().join("roster.toml"), elsewhere.path().join("bundle/roster.toml")).unwrap();
    let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(elsewhere.path()).status().unwrap();
    assert!(opened.success());
    let output = Command::new("unshare")
        .args(["--net", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"])
        .arg(&tool)
        .args(["verify", "bundle", "--roster", "roster.toml", "--require-cosigned"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .current_dir(elsewhere.path())
        .output()
        .expect("unshare and setpriv are installed (Debian: util-linux)");
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "this test changes the user and the network namespace, so it runs as root: {said}");
    assert!(said.contains("as trusted") && said.contains("enough"), "{said}");
}
