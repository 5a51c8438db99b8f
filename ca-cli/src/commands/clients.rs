//! Ready commands for stock ACME clients, as `ca grant create` hands them over.
//!
//! None of them contains the grant's secret: they read it from [`SECRET_FILE`], so that they can be passed on, kept
//! and printed again. They use the directory of one authority and profile, which every client knows how to ask for,
//! whether or not it knows profiles.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_core::model::{Authority, AuthorityName, Grant};
use ca_core::pki::pem_encode;
use ca_core::policy::NamePattern;

use crate::render::quoted;

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

/// The roots of the instance, as PEM: what a client must trust to reach the ACME service.
pub(crate) fn bundle(authorities: &[Authority]) -> String {
    authorities.iter().filter(|a| a.issuer.is_none()).map(|root| pem_encode("CERTIFICATE", &root.certificate)).collect()
}

/// For each client its name and what to run; the secret is not in it.
pub(crate) fn commands(grant: &Grant, directory: &str, bundle: &str) -> Vec<(&'static str, String)> {
    let (dns, addresses) = plain_names(grant);
    let mail = format!("hostmaster@{}", dns.first().filter(|name| *name != NAME).map_or("localhost", String::as_str));
    let names: Vec<&String> = dns.iter().chain(&addresses).collect();
    let each = |option: &str| names.iter().map(|name| format!(" {option} {name}")).collect::<String>();
    let (kid, url, secret) = (quoted(grant.id.as_str()), quoted(directory), format!("\"$(cat {SECRET_FILE})\""));
    let certbot = format!(
        "REQUESTS_CA_BUNDLE={BUNDLE_FILE} certbot certonly --standalone --non-interactive --agree-tos \
         --register-unsafely-without-email --server {url} --eab-kid {kid} --eab-hmac-key {secret}{}",
        each("-d")
    );
    let lego = format!(
        "LEGO_CA_CERTIFICATES={BUNDLE_FILE} lego --server {url} --accept-tos --email {mail} --eab --kid {kid} --hmac {secret} --http{} run",
        each("--domains")
    );
    let acme_sh = format!(
        "acme.sh --register-account --server {url} --ca-bundle {BUNDLE_FILE} --eab-kid {kid} --eab-hmac-key {secret}\n\
         acme.sh --issue --server {url} --ca-bundle {BUNDLE_FILE} --webroot .{}",
        each("-d")
    );
    let uacme = format!(
        "# uacme trusts the system's certificates only: add {BUNDLE_FILE} to them first.\n\
         uacme --confdir uacme --acme-url {url} --yes --eab {kid}:{secret} new\n\
         uacme --confdir uacme --acme-url {url} issue{}",
        names.iter().map(|name| format!(" {name}")).collect::<String>()
    );
    let dehydrated = format!(
        "mkdir -p dehydrated/challenges\n\
         cat > dehydrated/config <<'END'\n\
         CA=\"{directory}\"\n\
         EAB_KID=\"{id}\"\n\
         EAB_HMAC_KEY=\"$(cat {SECRET_FILE})\"\n\
         CURL_OPTS=\"--cacert {BUNDLE_FILE}\"\n\
         BASEDIR=\"$PWD/dehydrated\"\n\
         WELLKNOWN=\"$PWD/dehydrated/challenges\"\n\
         END\n\
         dehydrated --config dehydrated/config --register --accept-terms\n\
         dehydrated --config dehydrated/config --cron{}",
        each("--domain"),
        id = grant.id,
    );
    let caddy = format!(
        "cat > Caddyfile <<'END'\n\
         {{\n\tacme_ca {directory}\n\tacme_ca_root {BUNDLE_FILE}\n\tacme_eab {{\n\t\tkey_id {id}\n\t\tmac_key {{$EAB_HMAC}}\n\t}}\n}}\n\
         {sites} {{\n\trespond \"ok\"\n}}\n\
         END\n\
         EAB_HMAC={secret} caddy run --config Caddyfile",
        id = grant.id,
        sites = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "),
    );
    vec![
        ("certbot", certbot),
        ("lego", lego),
        ("acme.sh", acme_sh),
        ("uacme", uacme),
        ("dehydrated", dehydrated),
        ("caddy", caddy),
        ("cert-manager", cert_manager(grant, directory, bundle, &dns, &addresses)),
    ]
}

fn cert_manager(grant: &Grant, directory: &str, bundle: &str, dns: &[String], addresses: &[String]) -> String {
    let list = |field: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("  {field}:\n") + &names.iter().map(|name| format!("    - \"{name}\"\n")).collect::<String>(),
    };
    format!(
        "kubectl create secret generic countersign-eab --from-file=secret={SECRET_FILE}\n\
         kubectl apply -f - <<'END'\n\
         apiVersion: cert-manager.io/v1\n\
         kind: Issuer\n\
         metadata:\n  name: countersign\n\
         spec:\n  acme:\n    server: \"{directory}\"\n    caBundle: {}\n\
         \x20   privateKeySecretRef:\n      name: countersign-account\n\
         \x20   externalAccountBinding:\n      keyID: \"{}\"\n      keySecretRef:\n        name: countersign-eab\n        key: secret\n\
         \x20   solvers:\n      - http01:\n          ingress: {{}}\n\
         ---\n\
         apiVersion: cert-manager.io/v1\n\
         kind: Certificate\n\
         metadata:\n  name: countersign\n\
         spec:\n  secretName: countersign-tls\n  issuerRef:\n    name: countersign\n{}{}END",
        STANDARD.encode(bundle),
        grant.id,
        list("dnsNames", dns),
        list("ipAddresses", addresses),
    )
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
    use ca_core::policy::SubjectParts;

    use super::*;

    fn grant(names: &[&str]) -> Grant {
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
        let commands = commands(&grant(&["dns:pay.bank.test", "ip:10.0.0.7/32", "dns:*.bank.test"]), &directory, "PEM");
        let clients: Vec<_> = commands.iter().map(|(client, _)| *client).collect();
        assert_eq!(clients, ["certbot", "lego", "acme.sh", "uacme", "dehydrated", "caddy", "cert-manager"]);
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
            for (client, text) in commands(&grant(names), "https://ca.test/directory", "") {
                assert!(text.contains(NAME), "{client}: {text}");
            }
        }
    }
}
