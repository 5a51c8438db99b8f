//! The site as its operators, subscribers and relying parties see it.

use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountBuilder, ExternalAccountKey, Identifier, NewAccount, NewOrder};

use super::{Site, User};
use crate::harness::{expect_success, succeeds};
use crate::wire::Facts;

impl Facts for Site {
    fn fact(&self, name: &str) -> &str {
        Site::fact(self, name)
    }
}

impl Site {
    /// `ca` as the worker's user, who may use the control socket.
    pub(crate) fn ca(&self, arguments: &[&str]) -> Output {
        User::Worker.command(self.path("bin/ca")).arg("--config").arg(self.path("worker/var/worker.toml")).args(arguments).output().unwrap()
    }

    pub(crate) fn ca_json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = expect_success("ca", &self.ca(&[arguments, &["--json"]].concat()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"))
    }

    pub(crate) fn certificates(&self) -> Vec<serde_json::Value> {
        let listed = self.ca_json(&["cert", "list", "--limit", "100000"]);
        listed.as_array().or_else(|| listed["certificates"].as_array()).expect("a list").clone()
    }

    pub(crate) async fn account(&self) -> Account {
        let builder = Account::builder_with_root(self.fact("CA_BUNDLE")).unwrap();
        self.account_by(builder).await.expect("the account is accepted")
    }

    /// The same with a client of the caller's.
    pub(crate) async fn account_by(&self, builder: AccountBuilder) -> Result<Account, instant_acme::Error> {
        let secret = URL_SAFE_NO_PAD.decode(self.fact("EAB_HMAC")).unwrap();
        let binding = ExternalAccountKey::new(self.fact("EAB_KID").to_owned(), &secret);
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        Ok(builder.create(&new, self.fact("ACME_DIRECTORY").to_owned(), Some(&binding)).await?.0)
    }

    /// Orders a certificate and gives its chain.
    pub(crate) async fn issue(&self, account: &Account) -> Result<String, instant_acme::Error> {
        let identifiers = [Identifier::Dns(self.fact("DEMO_NAME").to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        order.finalize().await?;
        order.poll_certificate(&crate::harness::patience()).await
    }

    /// Asks OCSP about a certificate: good, revoked or unknown; or the client's words where there was no such answer.
    pub(crate) fn ocsp(&self, certificate: &Path) -> String {
        let output = Command::new("openssl")
            // Without a nonce: what is signed once may be kept, and must be dropped at a revocation.
            .args([
                "ocsp",
                "-no_nonce",
                "-issuer",
                self.fact("ISSUER_CERT"),
                "-CAfile",
                self.fact("CA_BUNDLE"),
                "-url",
                self.fact("OCSP_URL"),
                "-cert",
            ])
            .arg(certificate)
            .output()
            .expect("openssl runs (package openssl)");
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let verdict = printed
            .lines()
            .find_map(|line| ["good", "revoked", "unknown"].into_iter().find(|word| line.trim_end().ends_with(&format!(": {word}"))));
        match verdict {
            Some(word) if printed.contains("Response verify OK") => word.to_owned(),
            _ => printed,
        }
    }

    /// The published CRL as openssl prints it.
    pub(crate) fn crl_text(&self) -> String {
        let file = self.path("fetched.crl");
        if !succeeds(Command::new("curl").args(["-sf", "-o"]).arg(&file).arg(self.fact("CRL_URL"))) {
            return String::new();
        }
        let output = Command::new("openssl").args(["crl", "-inform", "DER", "-noout", "-text", "-in"]).arg(&file).output().unwrap();
        expect_success("openssl crl", &output)
    }
}
