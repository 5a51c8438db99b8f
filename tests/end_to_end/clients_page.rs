//! docs/clients.md: its commands for certbot and lego are run here, as they stand there; tests/interop runs all of them with
//! the newest clients.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Demo, expect_success, serial_of, wait_for};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ca-cli lies in the workspace").to_owned()
}

/// The page's blocks that have a name, `LANGUAGE NAME` behind the fence, with what stands in them.
fn blocks() -> Vec<(String, String)> {
    let page = std::fs::read_to_string(top().join("docs/clients.md")).expect("the page");
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix("```").filter(|name| !name.is_empty()) {
            let inside: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((name.to_owned(), inside.join("\n")));
        }
    }
    blocks
}

/// A service's folder, with its grant.
struct Service {
    folder: PathBuf,
    environment: [(&'static str, String); 3],
}

impl Service {
    const NAME: &str = "shop.demo.test";

    fn new(demo: &Demo) -> Self {
        let created = demo.ca_json(&["grant", "create", "--service", "shop", "--name", Self::NAME, "--profile", "client"]);
        let folder = demo.path("shop");
        std::fs::create_dir(&folder).unwrap();
        let text = |field: &str| created[field].as_str().expect("a text").to_owned();
        std::fs::write(folder.join("eab.key"), text("hmac_key")).unwrap();
        std::fs::write(folder.join("ca-bundle.pem"), text("ca_bundle")).unwrap();
        let (base, _) = demo.fact("ACME_DIRECTORY").split_once("/acme/").expect("the directory's URL");
        let directory = format!("{base}/a/demo/acme/p/client/directory");
        Self { folder, environment: [("DIRECTORY", directory), ("KID", text("kid")), ("NAME", Self::NAME.to_owned())] }
    }

    #[track_caller]
    fn run(&self, block: &str) {
        let commands = blocks().into_iter().find(|(name, _)| name == &format!("sh {block}")).expect("the page has the block").1;
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        let output = Command::new("sh").current_dir(&self.folder).envs(environment).args(["-euc", &commands]).output().expect("sh runs");
        expect_success(block, &output);
    }

    /// Enrols, renews and revokes, by the page's commands for `client`.
    #[track_caller]
    fn check(&self, demo: &Demo, client: &str, certificate: &str) {
        let certificate = self.folder.join(certificate);
        self.run(&format!("{client}-enrol"));
        let first = serial_of(&certificate);
        assert_eq!(demo.ocsp(&certificate), "good");
        self.run(&format!("{client}-renew"));
        assert_ne!(serial_of(&certificate), first, "a new certificate");
        assert_eq!(demo.ocsp(&certificate), "good");
        self.run(&format!("{client}-revoke"));
        wait_for("OCSP to say revoked", || demo.ocsp(&certificate) == "revoked");
    }
}

#[test]
fn a14_certbot_enrols_renews_and_revokes_as_the_page_says() {
    let demo = Demo::start();
    Service::new(&demo).check(&demo, "certbot", "certbot/live/shop.demo.test/cert.pem");
}

#[test]
fn a14_lego_enrols_renews_and_revokes_as_the_page_says() {
    let demo = Demo::start();
    Service::new(&demo).check(&demo, "lego", "lego/certificates/shop.demo.test.crt");
}

/// What no run looks at would rot: each block is run by a script of tests/interop, and each script's blocks are there.
#[test]
fn a14_every_command_of_the_page_is_run_by_interop() {
    let named: BTreeSet<String> = blocks().into_iter().map(|(name, _)| name).collect();
    let mut run = BTreeSet::new();
    for entry in std::fs::read_dir(top().join("tests/interop/clients")).expect("the scripts") {
        let path = entry.expect("an entry").path();
        let script = std::fs::read_to_string(&path).expect("a script");
        let client = path.file_stem().expect("a name").to_string_lossy();
        for line in script.lines() {
            let after = |word: &str| line.split_once(word).map(|(_, rest)| rest);
            // These two run the block that is named for the script.
            if after("renews_as_documented ").is_some() {
                run.insert(format!("sh {client}-renew"));
            } else if after("revokes_as_documented ").is_some() {
                run.insert(format!("sh {client}-revoke"));
            } else if let Some(block) = after("documented ") {
                let end = block.find(|c: char| !(c.is_alphanumeric() || "-.".contains(c))).unwrap_or(block.len());
                run.insert(format!("sh {}", &block[..end]));
            } else if let Some((block, _)) = after("block \"").and_then(|rest| rest.split_once('"')) {
                run.insert(block.to_owned());
            }
        }
    }
    assert!(named.len() > 15, "{named:?}");
    assert_eq!(named, run);
}
