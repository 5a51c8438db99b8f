//! `ca key …`

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::KeyBlock;
use ca_core::pki::{Certificate, Csr, PublicKey, pem_decode_all};
use ca_core::profile::{BlockedKeys, judge_key};
use ca_service::blocked_keys::read_blocked_keys;
use serde_json::json;

use super::{confirm, submit};
use crate::cli::{KeyCommand, Output};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::{print, print_json, table};

/// Most octets of a file with a key.
const MAX_FILE: u64 = 1 << 20;

/// `config` is not read where a file is enough.
pub(crate) async fn key(config: impl Fn() -> anyhow::Result<Config>, command: KeyCommand) -> anyhow::Result<()> {
    match command {
        KeyCommand::Check { file, blocked, badkeys, output } => {
            let lists = read_blocked_keys(&blocked, badkeys.as_deref())?;
            check(&read_key(&file)?, &lists, output)
        }
        KeyCommand::Block { file, spki_sha256, reason, yes, signing, output } => {
            let spki_sha256 = match (file, spki_sha256) {
                (Some(file), _) => read_key(&file)?.spki_sha256(),
                (None, Some(digest)) => digest,
                (None, None) => return Err(failure(Exit::Usage, "name a FILE or --spki-sha256")),
            };
            confirm(&format!("Block the key {spki_sha256} for good"), yes)?;
            let operation = Operation::KeyBlock { spki_sha256, reason };
            let OperatorReply::KeyBlocked { new } = submit(&config()?, &signing, operation).await? else {
                return Err(unexpected());
            };
            if output.json {
                return print_json(&json!({ "spki_sha256": spki_sha256, "new": new }));
            }
            print(&if new {
                format!(
                    "Blocked the key {spki_sha256}. Certificates that have it stay valid (hint: `ca cert revoke SERIAL --reason keyCompromise` of one of them revokes them all).\n"
                )
            } else {
                format!("The key {spki_sha256} was blocked before; nothing changed.\n")
            })
        }
        KeyCommand::Blocked { limit, output } => blocked_keys(&config()?, limit, output).await,
    }
}

async fn blocked_keys(config: &Config, limit: u32, output: Output) -> anyhow::Result<()> {
    let ControlAnswer::BlockedKeys { keys } = ask(&config.control.socket, &ControlRequest::BlockedKeys { limit }).await? else {
        return Err(unexpected());
    };
    if output.json {
        return print_json(&keys);
    }
    let rows: Vec<[String; 3]> = keys
        .iter()
        .map(|key| {
            let why = match &key.block {
                KeyBlock::Statement { reason, .. } => reason.clone(),
                block @ KeyBlock::Compromised { .. } => block.to_string(),
            };
            [key.spki_sha256.to_string(), key.block.at().to_string(), why]
        })
        .collect();
    print(&table(["SPKI SHA-256", "SINCE", "WHY"], &rows))
}

fn check(key: &PublicKey, lists: &BlockedKeys, output: Output) -> anyhow::Result<()> {
    let report = judge_key(key).map_err(|e| failure(Exit::Failed, e.to_string()))?;
    let listed = if lists.has(key) { Err("a list has it: its private half is known") } else { Ok(()) };
    let mut rules = vec![("kind-and-size", "BR 6.1.5", Ok(()))];
    rules.extend(report.verdicts);
    if !lists.is_empty() {
        rules.push(("blocked-lists", "BR 6.1.1.3", listed));
    }
    let broken = rules.iter().filter(|(_, _, verdict)| verdict.is_err()).count();
    if output.json {
        let rules: Vec<_> = rules
            .iter()
            .map(|(name, clause, verdict)| json!({ "rule": name, "clause": clause, "ok": verdict.is_ok(), "reason": verdict.err() }))
            .collect();
        let algorithm = report.algorithm.name();
        print_json(&json!({ "algorithm": algorithm, "spki_sha256": key.spki_sha256(), "ok": broken == 0, "rules": rules }))?;
    } else {
        let rows: Vec<[String; 3]> = rules
            .iter()
            .map(|(name, clause, verdict)| {
                [(*name).to_owned(), verdict.map_or_else(|why| format!("BROKEN: {why}"), |()| "ok".to_owned()), (*clause).to_owned()]
            })
            .collect();
        print(&format!("{} key, SPKI SHA-256 {}\n\n", report.algorithm.name(), key.spki_sha256()))?;
        print(&table(["RULE", "VERDICT", "CLAUSE"], &rows))?;
    }
    match broken {
        0 => Ok(()),
        n => Err(failure(Exit::Failed, format!("the key breaks {n} of {} rules: it would not be certified", rules.len()))),
    }
}

/// The key in a PEM file: a public key, or that of the first certificate or request.
fn read_key(path: &Path) -> anyhow::Result<PublicKey> {
    let wrong = |why: String| failure(Exit::Failed, format!("{}: {why}", path.display()));
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    read.map_err(|e| wrong(format!("cannot be read as a text: {e} (hint: PEM is wanted, not DER)")))?;
    let first = |label: &str| pem_decode_all(&text, label).map(|blocks| blocks.into_iter().next().unwrap_or_default());
    if let Ok(der) = first("CERTIFICATE") {
        return Certificate::from_der(&der).map(|c| c.public_key().clone()).map_err(|e| wrong(e.to_string()));
    }
    if let Ok(der) = first("CERTIFICATE REQUEST") {
        return Csr::from_der(&der).map(|csr| csr.public_key().clone()).map_err(|e| wrong(e.to_string()));
    }
    match first("PUBLIC KEY") {
        Ok(der) => Ok(PublicKey::from_spki_der(der)),
        Err(_) => Err(wrong("no PEM block PUBLIC KEY, CERTIFICATE or CERTIFICATE REQUEST is in it".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use ca_core::pki::pem_encode;
    use ca_testkit::acme::ClientKey;
    use ca_testkit::weak_keys::WeakKey;

    use super::*;

    fn judged(file: &Path, blocked: &[&Path]) -> Result<(), String> {
        let texts: Vec<_> = blocked.iter().map(|p| (*p).to_owned()).collect();
        let lists = read_blocked_keys(&texts, None).unwrap();
        let outputs = [Output { json: false }, Output { json: true }];
        let results = outputs.map(|output| read_key(file).and_then(|key| check(&key, &lists, output)).map_err(|e| e.to_string()));
        assert_eq!(results[0], results[1]);
        results[0].clone()
    }

    #[test]
    fn a_key_is_judged_from_any_pem() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let csr = ClientKey::default().csr(&["a.demo.test"], None);
        let key = Csr::from_der(&csr).unwrap().public_key().clone();
        let request = file("csr.pem", &pem_encode("CERTIFICATE REQUEST", &csr));
        let public = file("key.pem", &pem_encode("PUBLIC KEY", key.spki_der()));
        assert_eq!(judged(&request, &[]), Ok(()));
        assert_eq!(judged(&public, &[]), Ok(()));
        let list = file("list", &key.spki_sha256().to_string());
        assert_eq!(judged(&public, &[&list]).unwrap_err(), "the key breaks 1 of 3 rules: it would not be certified");
        for weak in WeakKey::all() {
            let request = file("weak.pem", &pem_encode("CERTIFICATE REQUEST", &weak.csr(&["a.demo.test"])));
            assert!(judged(&request, &[]).unwrap_err().contains("rules: it would not be certified"), "{}", weak.refused);
        }
        assert!(judged(&list, &[]).unwrap_err().contains("no PEM block"));
        assert!(judged(&folder.path().join("none"), &[]).unwrap_err().contains("cannot be read"));
        assert!(
            judged(&file("der", "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n"), &[])
                .unwrap_err()
                .contains("SubjectPublicKeyInfo")
        );
    }
}
