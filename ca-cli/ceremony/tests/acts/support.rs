//! Ceremonies that are over, for others to continue.

use crate::common::Ceremony;
use ca_ceremony::VerifiedBundle;
use ca_core::ceremony::Statement;
use std::path::Path;
use std::process::Command;

/// A first ceremony that is over.
pub(crate) async fn begun() -> Ceremony {
    let ceremony = Ceremony::new();
    ceremony.complete().await;
    ceremony
}

/// As [`begun`], with keys that may be backed up.
pub(crate) async fn begun_with_backups() -> Ceremony {
    let ceremony = Ceremony::new();
    ceremony.edit_plan("next_ceremony_days = 330\n", "next_ceremony_days = 330\nwrapping_key = \"backup-2026\"\n");
    ceremony.complete().await;
    ceremony
}

pub(crate) fn openssl(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl is installed");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn intermediate(nonce: &str) -> String {
    format!(
        r#"
[acts]
kind = "intermediate"
nonce = "{nonce}"
[[issuing]]
authority = "bank-b"
key = "bank-b-2027"
algorithm = "p256"
subject = {{ organization = "Bank", common_name = "Bank Issuing B" }}
lifetime_days = 1825
permitted = ["dns:b.bank.test"]
"#
    )
}

pub(crate) fn statements(ceremony: &Ceremony) -> Vec<Statement> {
    ceremony.statements().iter().map(|(path, _)| Statement::parse(&std::fs::read(path).unwrap()).unwrap()).collect()
}

pub(crate) fn key_act(kind: &str, rest: &str, ceremony: &Ceremony, store: &str, label: &str) -> String {
    let digest = ceremony.public_key(store, label);
    format!("[acts]\nkind = \"{kind}\"\n{rest}\n[[acts.key]]\nkey = \"{label}\"\npublic_key_sha256 = \"{digest}\"\n")
}

/// A backup of the root's key that is over.
pub(crate) async fn backed_up(ceremony: &mut Ceremony) -> VerifiedBundle {
    let acts = key_act("backup", "place = \"root\"\nwrapping_key = \"backup-2026\"", ceremony, "root-keys", "bank-root-2026");
    ceremony.next("backup", &acts, &["root", "backup"]);
    ceremony.complete().await
}
