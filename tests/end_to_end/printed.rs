//! What `ca grant create` prints for stock clients, run as it is, by Debian's clients; tests/interop runs it with newer ones, and
//! with those that Debian 12 lacks.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::harness::{Demo, expect_success, serial_of};

/// certbot's state would else go to the machine's own folders.
const CERTBOT_FOLDERS: &str = " --config-dir certbot --work-dir certbot --logs-dir certbot";

/// Runs a printed command as it is, in a folder with the two files that it reads.
#[track_caller]
pub(crate) fn run_printed(folder: &Path, created: &serde_json::Value, client: &str) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("eab.key"), created["hmac_key"].as_str().expect("a secret")).unwrap();
    std::fs::write(folder.join("ca-bundle.pem"), created["ca_bundle"].as_str().expect("roots")).unwrap();
    let command = created["commands"][client].as_str().expect("a command");
    let command = if client == "certbot" { format!("{command}{CERTBOT_FOLDERS}") } else { command.to_owned() };
    let mut shell = if client == "uacme" {
        // It trusts the system's certificates only: for it alone, they are the CA's.
        let mut shell = Command::new("unshare");
        shell.args(["--map-root-user", "--mount", "sh", "-euc"]);
        shell.arg("mount --bind ca-bundle.pem /etc/ssl/certs/ca-certificates.crt; exec sh -euc \"$0\"");
        shell
    } else {
        let mut shell = Command::new("sh");
        shell.arg("-euc");
        shell
    };
    // The agent is what is tested here.
    let own = Path::new(env!("CARGO_BIN_EXE_ca")).parent().expect("the binary lies in a folder");
    let path = format!("{}:{}", own.display(), std::env::var("PATH").expect("a PATH"));
    std::fs::set_permissions(folder.join("eab.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let output = shell.current_dir(folder).env("PATH", path).arg(command).output().expect("sh and unshare run (package util-linux)");
    expect_success(client, &output);
}

/// Where a client puts the certificate whose first name this is.
fn certificate(client: &str, name: &str) -> String {
    match client {
        "certbot" => format!("certbot/live/{name}/cert.pem"),
        "lego" => format!(".lego/certificates/{name}.crt"),
        "uacme" => format!("uacme/{name}/cert.pem"),
        "dehydrated" => format!("dehydrated/certs/{name}/cert.pem"),
        "ca agent" => "agent/live/cert.pem".to_owned(),
        other => panic!("{other} is not run here"),
    }
}

/// The kind of a certificate's key, as openssl tells it.
fn told(kind: &str) -> &'static [&'static str] {
    match kind {
        "p256" => &["id-ecPublicKey", "NIST CURVE: P-256"],
        "p384" => &["id-ecPublicKey", "NIST CURVE: P-384"],
        "rsa2048" => &["rsaEncryption", "Public-Key: (2048 bit)"],
        "rsa3072" => &["rsaEncryption", "Public-Key: (3072 bit)"],
        "rsa4096" => &["rsaEncryption", "Public-Key: (4096 bit)"],
        "ed25519" => &["ED25519 Public-Key"],
        // RFC 9881: id-ml-dsa-65 and id-ml-dsa-87; newer versions have names for them.
        "ml-dsa-65" => &["Public Key Algorithm: 2.16.840.1.101.3.4.3.18\n"],
        "ml-dsa-87" => &["Public Key Algorithm: 2.16.840.1.101.3.4.3.19\n"],
        other => panic!("no client here makes {other}"),
    }
}

/// A grant for each of these kinds of keys alone, and what is printed for it: the certificate has such a key, and the name.
fn check_kinds(client: &str, kinds: &[&str]) {
    let demo = Demo::start();
    for kind in kinds {
        let created = demo.ca_json(&["grant", "create", "--service", "shop", "--name", "shop.demo.test", "--key-types", kind]);
        let folder = demo.path(kind);
        run_printed(&folder, &created, client);
        let shown = show(&folder.join(certificate(client, "shop.demo.test")));
        assert!(told(kind).iter().all(|part| shown.contains(part)), "{client} with {kind}: {shown}");
        assert!(shown.contains("\n                DNS:shop.demo.test\n"), "{client} with {kind}: {shown}");
    }
}

fn show(certificate: &Path) -> String {
    let output = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(certificate).output().expect("openssl runs");
    expect_success("openssl x509", &output)
}

#[test]
fn a14_the_printed_commands_enrol_as_they_are() {
    let demo = Demo::start();
    let create = ["grant", "create", "--service", "shop", "--name", "shop.demo.test", "--profile", "short", "--max-accounts", "5"];
    let created = demo.ca_json(&create);
    let folder = demo.path("printed");
    for client in ["lego", "certbot", "uacme", "dehydrated", "ca agent"] {
        run_printed(&folder, &created, client);
        let serial = serial_of(&folder.join(certificate(client, "shop.demo.test"))).to_lowercase();
        let issued = demo.certificates().into_iter().find(|c| c["serial"].as_str().is_some_and(|s| s.to_lowercase() == serial));
        assert_eq!(issued.expect("the certificate is listed")["profile"], "short", "the command asks for the grant's profile");
    }
}

/// Its configuration is a script that another folder's timer runs too.
#[test]
fn what_is_printed_for_dehydrated_works_where_it_can_and_says_where_not() {
    let demo = Demo::start();
    let created = demo.ca_json(&["grant", "create", "--service", "shop", "--name", "shop.demo.test"]);
    let folder = demo.path("it's-a-\"folder\"-of-$HOME");
    run_printed(&folder, &created, "dehydrated");
    let certificate = folder.join(certificate("dehydrated", "shop.demo.test"));
    let before = serial_of(&certificate);
    let renew = |folder: &Path| {
        Command::new("dehydrated")
            .arg("--config")
            .arg(folder.join("dehydrated/config"))
            .args(["--cron", "--force", "--domain", "shop.demo.test"])
            .current_dir("/")
            .output()
            .expect("dehydrated runs (package dehydrated)")
    };
    expect_success("dehydrated", &renew(&folder));
    assert_ne!(serial_of(&certificate), before);

    let blank = demo.path("a folder");
    std::fs::rename(&folder, &blank).unwrap();
    let output = renew(&blank);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("a folder with a blank in its name"), "{said}");
}

/// A client's usual key is not every grant's: the command asks for one that this grant certifies.
#[test]
fn a14_what_is_printed_for_certbot_asks_for_each_kind_of_key() {
    check_kinds("certbot", &["p256", "p384", "rsa2048", "rsa3072", "rsa4096"]);
}

/// Debian 12's lego makes no RSA keys of 3072 bits.
#[test]
fn a14_what_is_printed_for_lego_asks_for_each_kind_of_key() {
    check_kinds("lego", &["p256", "p384", "rsa2048", "rsa4096"]);
}

// RSA keys of 4096 bits take these seconds to make: tests/interop lets them.

#[test]
fn a14_what_is_printed_for_uacme_asks_for_each_kind_of_key() {
    check_kinds("uacme", &["p256", "p384", "rsa2048", "rsa3072"]);
}

#[test]
fn a14_what_is_printed_for_dehydrated_asks_for_each_kind_of_key() {
    check_kinds("dehydrated", &["p256", "p384", "rsa3072"]);
}

#[test]
fn a14_what_is_printed_for_the_agent_asks_for_each_kind_of_key() {
    check_kinds("ca agent", &["p256", "p384", "ed25519", "rsa2048", "rsa3072", "ml-dsa-65", "ml-dsa-87"]);
}

/// Addresses alone, and one beside a name; of Debian 12's clients only uacme takes addresses.
#[test]
fn a14_what_is_printed_for_addresses_enrols_them() {
    let demo = Demo::start();
    let enrol = |folder: &str, names: &[&str], first: &str, expected: &str| {
        let names: Vec<_> = names.iter().flat_map(|name| ["--name", name]).collect();
        let folder = demo.path(folder);
        let created = demo.ca_json(&[&["grant", "create", "--service", "shop", "--max-accounts", "2"], &names[..]].concat());
        for client in ["uacme", "ca agent"] {
            run_printed(&folder, &created, client);
            let shown = show(&folder.join(certificate(client, first)));
            assert!(shown.contains(&format!("\n                {expected}\n")), "{client}: {shown}");
        }
    };
    enrol("alone", &["127.0.0.1", "::1"], "127.0.0.1", "IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1");
    enrol("beside", &["127.0.0.1", "shop.demo.test"], "shop.demo.test", "DNS:shop.demo.test, IP Address:127.0.0.1");
}

#[test]
fn a14_a_client_that_makes_no_such_keys_is_told_of() {
    let demo = Demo::start();
    let none = demo.ca_json(&["grant", "create", "--service", "till", "--name", "till.demo.test", "--key-types", "ed25519"]);
    for client in ["certbot", "lego", "acme.sh", "uacme", "dehydrated"] {
        assert_eq!(none["commands"][client], format!("# {client} makes no keys of the kinds that this grant certifies."));
    }
}
