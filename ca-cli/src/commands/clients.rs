//! Ready commands for stock ACME clients, as `ca grant create` hands them over.
//!
//! None of them contains the grant's secret: they read it from [`SECRET_FILE`], so that they can be passed on, kept
//! and printed again. They use the directory of one authority and profile, which every client knows how to ask for,
//! whether or not it knows profiles.

use ca_core::model::{Authority, AuthorityName, Grant};
use ca_core::pki::{KeyAlgorithm, pem_encode};
use ca_core::policy::NamePattern;

use crate::render::quoted;

mod cert_manager;

/// Where the commands expect the secret, in the folder that they run in.
pub(crate) const SECRET_FILE: &str = "eab.key";

/// Where the commands expect the CA's root certificates.
pub(crate) const BUNDLE_FILE: &str = "ca-bundle.pem";

/// What stands for a name where the grant has patterns only.
const NAME: &str = "NAME";

/// The directory that offers one profile of one authority, below the service's base URL.
pub(crate) fn profile_directory(base: &str, authority: &AuthorityName, profile: &str) -> String {
    format!("{}/a/{authority}/acme/p/{profile}/directory", base.trim_end_matches('/'))
}

/// The roots as PEM: what a client must trust to reach the ACME service.
pub(crate) fn bundle(roots: &[Authority]) -> String {
    roots.iter().map(|root| pem_encode("CERTIFICATE", &root.certificate)).collect()
}

/// The kinds of keys that a client can make, its default first, each with what asks for it.
type Kinds = [(KeyAlgorithm, &'static str)];

const CERTBOT: &Kinds = &[
    (KeyAlgorithm::P256, ""),
    (KeyAlgorithm::P384, " --key-type ecdsa --elliptic-curve secp384r1"),
    (KeyAlgorithm::Rsa2048, " --key-type rsa --rsa-key-size 2048"),
    (KeyAlgorithm::Rsa3072, " --key-type rsa --rsa-key-size 3072"),
    (KeyAlgorithm::Rsa4096, " --key-type rsa --rsa-key-size 4096"),
];
const LEGO: &Kinds = &[
    (KeyAlgorithm::P256, ""),
    (KeyAlgorithm::P384, " --key-type ec384"),
    (KeyAlgorithm::Rsa2048, " --key-type rsa2048"),
    (KeyAlgorithm::Rsa4096, " --key-type rsa4096"),
    // Last: older versions do not make it.
    (KeyAlgorithm::Rsa3072, " --key-type rsa3072"),
];
const ACME_SH: &Kinds = &[
    (KeyAlgorithm::P256, ""),
    (KeyAlgorithm::P384, " --keylength ec-384"),
    (KeyAlgorithm::Rsa2048, " --keylength 2048"),
    (KeyAlgorithm::Rsa3072, " --keylength 3072"),
    (KeyAlgorithm::Rsa4096, " --keylength 4096"),
];
const UACME: &Kinds = &[
    (KeyAlgorithm::Rsa2048, ""),
    (KeyAlgorithm::P256, " --type EC --bits 256"),
    (KeyAlgorithm::P384, " --type EC --bits 384"),
    (KeyAlgorithm::Rsa3072, " --bits 3072"),
    (KeyAlgorithm::Rsa4096, " --bits 4096"),
];
const DEHYDRATED: &Kinds = &[
    (KeyAlgorithm::P384, ""),
    (KeyAlgorithm::P256, "KEY_ALGO=prime256v1\n"),
    (KeyAlgorithm::Rsa2048, "KEY_ALGO=rsa\nKEYSIZE=2048\n"),
    (KeyAlgorithm::Rsa3072, "KEY_ALGO=rsa\nKEYSIZE=3072\n"),
    (KeyAlgorithm::Rsa4096, "KEY_ALGO=rsa\nKEYSIZE=4096\n"),
];
const CADDY: &Kinds = &[
    (KeyAlgorithm::P256, ""),
    (KeyAlgorithm::P384, "\t\tkey_type p384\n"),
    (KeyAlgorithm::Rsa2048, "\t\tkey_type rsa2048\n"),
    (KeyAlgorithm::Rsa4096, "\t\tkey_type rsa4096\n"),
    (KeyAlgorithm::Ed25519, "\t\tkey_type ed25519\n"),
];
/// The project's own.
const AGENT: &Kinds = &[
    (KeyAlgorithm::P256, ""),
    (KeyAlgorithm::P384, " --key-algorithm p384"),
    (KeyAlgorithm::Ed25519, " --key-algorithm ed25519"),
    (KeyAlgorithm::Rsa2048, " --key-algorithm rsa2048"),
    (KeyAlgorithm::Rsa3072, " --key-algorithm rsa3072"),
    (KeyAlgorithm::Rsa4096, " --key-algorithm rsa4096"),
    (KeyAlgorithm::MlDsa65, " --key-algorithm ml-dsa-65"),
    (KeyAlgorithm::MlDsa87, " --key-algorithm ml-dsa-87"),
];

/// For each client its name and what to run; the secret is not in it. `certifies` says which kinds of keys the grant has
/// certified.
pub(crate) fn commands(
    grant: &Grant,
    directory: &str,
    bundle: &str,
    certifies: impl Fn(KeyAlgorithm) -> bool,
) -> Vec<(&'static str, String)> {
    let key = |kinds: &'static Kinds| kinds.iter().find(|(kind, _)| certifies(*kind)).map(|(_, option)| *option);
    let (dns, addresses) = plain_names(grant);
    let mail = format!("hostmaster@{}", dns.first().filter(|name| *name != NAME).map_or("localhost", String::as_str));
    let all = |options: [(&str, &[String]); 2]| {
        options.iter().flat_map(|(option, names)| names.iter().map(move |name| format!(" {option}{name}"))).collect::<String>()
    };
    let each = |option: &str| all([(option, &dns), (option, &addresses)]);
    let (kid, url, secret) = (quoted(grant.id.as_str()), quoted(directory), format!("\"$(cat {SECRET_FILE})\""));
    let certbot = |key| {
        format!(
            "REQUESTS_CA_BUNDLE={BUNDLE_FILE} certbot certonly --standalone --non-interactive --agree-tos \
             --register-unsafely-without-email --server {url} --eab-kid {kid} --eab-hmac-key {secret}{key}{}",
            // Only newer versions take addresses, and only so.
            all([("-d ", &dns), ("--ip-address ", &addresses)])
        )
    };
    let lego = |key| {
        format!(
            "LEGO_CA_CERTIFICATES={BUNDLE_FILE} lego --server {url} --accept-tos --email {mail} --eab --kid {kid} --hmac {secret}{key} --http{} run",
            each("--domains ")
        )
    };
    let acme_sh = |key| {
        format!(
            "acme.sh --register-account --server {url} --ca-bundle {BUNDLE_FILE} --eab-kid {kid} --eab-hmac-key {secret}\n\
             acme.sh --issue --server {url} --ca-bundle {BUNDLE_FILE}{key} --webroot .{}",
            each("-d ")
        )
    };
    let uacme = |key| {
        format!(
            "# uacme trusts the system's certificates only: add {BUNDLE_FILE} to them first.\n\
             uacme --confdir uacme --acme-url {url} --yes --eab {kid}:{secret} new\n\
             uacme --confdir uacme --acme-url {url}{key} issue{}",
            each("")
        )
    };
    let dehydrated = |key| {
        format!(
            // Whole paths, found when the configuration is read: its timer runs it in another folder. The secret stays in
            // its file. dehydrated parts CURL_OPTS at blanks, whatever quotes are around them.
            "mkdir -p dehydrated/challenges\n\
             cat > dehydrated/config <<'END'\n\
             CA=\"{directory}\"\n\
             EAB_KID=\"{id}\"\n\
             BASEDIR=\"$(cd \"$BASEDIR\" && pwd)\"\n\
             EAB_HMAC_KEY=\"$(cat \"$BASEDIR/../{SECRET_FILE}\")\"\n\
             WELLKNOWN=\"$BASEDIR/challenges\"\n\
             CURL_OPTS=\"--cacert $BASEDIR/../{BUNDLE_FILE}\"\n\
             if [ \"$BASEDIR\" != \"$(printf %s \"$BASEDIR\" | tr -d '[:space:]')\" ]; then\n\
             \x20 echo \"dehydrated trusts no CA in a folder with a blank in its name: $BASEDIR\" >&2; exit 1\n\
             fi\n\
             {key}END\n\
             dehydrated --config dehydrated/config --register --accept-terms\n\
             dehydrated --config dehydrated/config --cron{}",
            all([("--domain ", &dns), ("--domain ip:", &addresses)]),
            id = grant.id,
        )
    };
    let caddy = |key| {
        format!(
            "cat > Caddyfile <<'END'\n\
             {sites} {{\n\ttls {{\n{key}\t\tissuer acme {{\n\
             \t\t\tdir {directory}\n\t\t\ttrusted_roots {BUNDLE_FILE}\n\t\t\teab {id} {{$EAB_HMAC}}\n\
             \t\t}}\n\t}}\n\trespond \"ok\"\n}}\nEND\n\
             EAB_HMAC={secret} caddy run --config Caddyfile",
            id = grant.id,
            sites = caddy_sites(&dns, &addresses),
        )
    };
    let agent = |key| {
        format!(
            "ca agent enrol --dir agent --directory {url} --ca-bundle {BUNDLE_FILE} --eab-kid {kid} --eab-hmac-file {SECRET_FILE}{key}{}\n\
             # It goes on renewing as a service of the system: ca agent run --dir agent",
            each("--name ")
        )
    };
    let commands: [(&'static str, Option<String>); 8] = [
        ("certbot", key(CERTBOT).map(certbot)),
        ("lego", key(LEGO).map(lego)),
        ("acme.sh", key(ACME_SH).map(acme_sh)),
        ("uacme", key(UACME).map(uacme)),
        ("dehydrated", key(DEHYDRATED).map(dehydrated)),
        ("caddy", key(CADDY).map(caddy)),
        ("cert-manager", key(cert_manager::KINDS).map(|key| cert_manager::manifest(grant, directory, bundle, key, &dns, &addresses))),
        ("ca agent", key(AGENT).map(agent)),
    ];
    let none = |client| format!("# {client} makes no keys of the kinds that this grant certifies.");
    commands.into_iter().map(|(client, command)| (client, command.unwrap_or_else(|| none(client)))).collect()
}

/// What Caddy serves. The site says itself which issuer it has: from the same options for all sites Caddy would not see that
/// its addresses have that issuer too, and certify them itself.
fn caddy_sites(dns: &[String], addresses: &[String]) -> String {
    let bracketed = addresses.iter().map(|a| if a.contains(':') { format!("https://[{a}]") } else { format!("https://{a}") });
    dns.iter().cloned().chain(bracketed).collect::<Vec<_>>().join(", ")
}

/// The names that the grant covers one by one; a placeholder where it has patterns only.
fn plain_names(grant: &Grant) -> (Vec<String>, Vec<String>) {
    let (mut dns, mut addresses) = (Vec::new(), Vec::new());
    for pattern in &grant.names {
        match pattern {
            NamePattern::Dns(labels) if labels.iter().all(|label| label != "*") => dns.push(labels.join(".")),
            NamePattern::Ip(address, bits) if *bits == if address.is_ipv4() { 32 } else { 128 } => addresses.push(address.to_string()),
            NamePattern::Dns(_)
            | NamePattern::DnsWildcard(_)
            | NamePattern::Ip(..)
            | NamePattern::Uri(_)
            | NamePattern::Email(..)
            | NamePattern::PermanentIdentifier(_)
            | NamePattern::HardwareModule(_) => {}
        }
    }
    if dns.is_empty() && addresses.is_empty() {
        dns.push(NAME.to_owned());
    }
    (dns, addresses)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ca_core::policy::SubjectParts;

    use super::*;

    pub(super) fn grant(names: &[&str]) -> Grant {
        Grant {
            id: "grant-x".parse().unwrap(),
            version: 1,
            service: "payments".into(),
            authority: "demo".parse().unwrap(),
            profiles: vec!["client".into()],
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            enrol_by: None,
            valid_until: None,
            max_accounts: None,
            uri: None,
            emails: vec![],
            subject: SubjectParts::default(),
            limits: ca_core::model::GrantLimits::default(),
        }
    }

    #[test]
    fn a17_every_stock_client_has_a_command_with_kid_profile_and_names() {
        let directory = profile_directory("https://ca.bank.test:14000/", &"demo".parse().unwrap(), "client");
        assert_eq!(directory, "https://ca.bank.test:14000/a/demo/acme/p/client/directory");
        let commands = commands(&grant(&["dns:pay.bank.test", "ip:10.0.0.7/32", "dns:*.bank.test"]), &directory, "PEM", |_| true);
        let clients: Vec<_> = commands.iter().map(|(client, _)| *client).collect();
        assert_eq!(clients, ["certbot", "lego", "acme.sh", "uacme", "dehydrated", "caddy", "cert-manager", "ca agent"]);
        for (client, text) in &commands {
            for part in [directory.as_str(), "grant-x", "pay.bank.test", "10.0.0.7", SECRET_FILE] {
                assert!(text.contains(part), "{client} lacks {part}: {text}");
            }
            assert!(text.contains(BUNDLE_FILE) || text.contains(&STANDARD.encode("PEM")), "{client} trusts nothing: {text}");
            assert!(!text.contains('*'), "a pattern is no name: {client}: {text}");
        }
    }

    #[test]
    fn a_grant_of_patterns_only_leaves_the_name_to_the_reader() {
        for names in [&["dns:*.bank.test"][..], &["ip:10.0.0.0/8"], &["dns-wildcard:bank.test"]] {
            for (client, text) in commands(&grant(names), "https://ca.test/directory", "", |_| true) {
                assert!(text.contains(NAME), "{client}: {text}");
            }
        }
    }

    #[test]
    fn a14_each_command_asks_for_a_key_that_the_grant_certifies() {
        let check = |kinds: &[KeyAlgorithm], expected: [&str; 8]| {
            let commands = commands(&grant(&["dns:pay.bank.test"]), "https://ca.test/directory", "", |kind| kinds.contains(&kind));
            for ((client, text), part) in commands.iter().zip(expected) {
                assert!(text.contains(part), "{client} lacks {part}: {text}");
                let default = part.is_empty();
                assert!(
                    !default
                        || !["key_type", "--key-type", "--keylength", "KEY_ALGO", "--bits", "privateKey:", "--key-algorithm"]
                            .iter()
                            .any(|o| text.contains(o)),
                    "{text}"
                );
            }
        };
        check(&KeyAlgorithm::ALL, [""; 8]);
        check(
            &[KeyAlgorithm::P256],
            [
                "",
                "",
                "",
                " --type EC --bits 256 issue ",
                "\nKEY_ALGO=prime256v1\nEND\n",
                "",
                "privateKey:\n    algorithm: ECDSA\n    size: 256\n  dnsNames",
                "",
            ],
        );
        check(
            &[KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096],
            [
                " --key-type rsa --rsa-key-size 3072 -d ",
                " --key-type rsa4096 --http",
                " --keylength 3072 --webroot",
                " --bits 3072 issue ",
                "\nKEY_ALGO=rsa\nKEYSIZE=3072\nEND\n",
                "\n\t\tkey_type rsa4096\n\t\tissuer acme",
                "algorithm: RSA\n    size: 3072",
                " --key-algorithm rsa3072 --name ",
            ],
        );
        let none = "makes no keys of the kinds that this grant certifies";
        check(
            &[KeyAlgorithm::Ed25519],
            [none, none, none, none, none, "key_type ed25519", "algorithm: Ed25519", " --key-algorithm ed25519"],
        );
    }

    #[test]
    fn a14_each_command_names_addresses_as_its_client_does() {
        let commands = commands(&grant(&["ip:10.0.0.7/32", "ip:2001:db8::7/128"]), "https://ca.test/directory", "", |_| true);
        let expected = [
            " --ip-address 10.0.0.7 --ip-address 2001:db8::7",
            " --http --domains 10.0.0.7 --domains 2001:db8::7 run",
            " -d 10.0.0.7 -d 2001:db8::7",
            " issue 10.0.0.7 2001:db8::7",
            " --domain ip:10.0.0.7 --domain ip:2001:db8::7",
            "\nhttps://10.0.0.7, https://[2001:db8::7] {\n\ttls {\n\t\tissuer acme {\n",
            "ipAddresses:\n    - \"10.0.0.7\"\n    - \"2001:db8::7\"\n",
            " --name 10.0.0.7 --name 2001:db8::7\n",
        ];
        for ((client, text), part) in commands.iter().zip(expected) {
            assert!(text.contains(part), "{client} lacks {part}: {text}");
            assert!(!text.contains(NAME), "{text}");
        }
    }
}
