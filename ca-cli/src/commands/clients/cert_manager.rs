//! What makes cert-manager enrol under a grant: manifests for Kubernetes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_core::model::Grant;
use ca_core::pki::KeyAlgorithm;

use super::{Kinds, SECRET_FILE};

/// The kinds of keys that cert-manager makes, its default first, each with what asks for it in the Certificate.
pub(super) const KINDS: &Kinds = &[
    (KeyAlgorithm::Rsa2048, ""),
    (KeyAlgorithm::P256, "  privateKey:\n    algorithm: ECDSA\n    size: 256\n"),
    (KeyAlgorithm::P384, "  privateKey:\n    algorithm: ECDSA\n    size: 384\n"),
    (KeyAlgorithm::Rsa3072, "  privateKey:\n    algorithm: RSA\n    size: 3072\n"),
    (KeyAlgorithm::Rsa4096, "  privateKey:\n    algorithm: RSA\n    size: 4096\n"),
    (KeyAlgorithm::Ed25519, "  privateKey:\n    algorithm: Ed25519\n"),
];

/// The secret, an Issuer and a Certificate, ready to be applied.
pub(super) fn manifest(grant: &Grant, directory: &str, bundle: &str, key: &str, dns: &[String], addresses: &[String]) -> String {
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
         spec:\n  secretName: countersign-tls\n  issuerRef:\n    name: countersign\n{key}{}{}END",
        STANDARD.encode(bundle),
        grant.id,
        list("dnsNames", dns),
        list("ipAddresses", addresses),
    )
}

/// What is printed is read here as Kubernetes and cert-manager would: no cluster is at hand. The fields are those of
/// cert-manager.io/v1 as its versions 1.15 to 1.21 declare them, as far as they are printed; any other is refused.
#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::super::tests::grant;
    use super::super::{commands, profile_directory};
    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Object<Spec> {
        api_version: String,
        kind: String,
        metadata: Name,
        spec: Spec,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Name {
        name: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct IssuerSpec {
        acme: Acme,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Acme {
        server: String,
        /// A `[]byte`: standard base64, padded, in one line.
        #[serde(rename = "caBundle")]
        ca_bundle: String,
        /// Without a `key` it is `tls.key`.
        private_key_secret_ref: Name,
        external_account_binding: Binding,
        solvers: Vec<Solver>,
    }

    /// `keyAlgorithm` is deprecated: HS256 it is.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Binding {
        #[serde(rename = "keyID")]
        key_id: String,
        key_secret_ref: SecretKey,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SecretKey {
        name: String,
        key: String,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Solver {
        http01: Http01,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Http01 {
        ingress: Ingress,
    }

    /// Every field of it is optional.
    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(deny_unknown_fields)]
    struct Ingress {}

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct CertificateSpec {
        secret_name: String,
        /// Without a `kind` it is an Issuer.
        issuer_ref: Name,
        private_key: Option<PrivateKey>,
        #[serde(default)]
        dns_names: Vec<String>,
        #[serde(default)]
        ip_addresses: Vec<IpAddr>,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct PrivateKey {
        algorithm: Algorithm,
        size: Option<u32>,
    }

    #[derive(Deserialize)]
    enum Algorithm {
        #[serde(rename = "RSA")]
        Rsa,
        #[serde(rename = "ECDSA")]
        Ecdsa,
        Ed25519,
    }

    /// The kind of key that cert-manager makes.
    fn kind(key: Option<&PrivateKey>) -> KeyAlgorithm {
        match key.map(|key| (&key.algorithm, key.size)) {
            None | Some((Algorithm::Rsa, None | Some(2048))) => KeyAlgorithm::Rsa2048,
            Some((Algorithm::Rsa, Some(3072))) => KeyAlgorithm::Rsa3072,
            Some((Algorithm::Rsa, Some(4096))) => KeyAlgorithm::Rsa4096,
            Some((Algorithm::Ecdsa, None | Some(256))) => KeyAlgorithm::P256,
            Some((Algorithm::Ecdsa, Some(384))) => KeyAlgorithm::P384,
            Some((Algorithm::Ed25519, None)) => KeyAlgorithm::Ed25519,
            Some((_, size)) => panic!("no such size: {size:?}"),
        }
    }

    /// A node as JSON has it, which is what an API server stores.
    fn json(node: &Yaml<'_>) -> Value {
        match node {
            Yaml::Value(Scalar::String(text)) => Value::String(text.to_string()),
            Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
            Yaml::Value(Scalar::Boolean(yes)) => Value::Bool(*yes),
            Yaml::Sequence(nodes) => nodes.iter().map(json).collect(),
            Yaml::Mapping(members) => {
                members.iter().map(|(name, value)| (name.as_str().expect("a member has a name").to_owned(), json(value))).collect()
            }
            other => panic!("not a value of a manifest: {other:?}"),
        }
    }

    fn object<Spec: DeserializeOwned>(node: &Yaml<'_>) -> Object<Spec> {
        serde_json::from_value(json(node)).expect("the fields are cert-manager's")
    }

    /// RFC 1123 label, as Kubernetes has names be.
    fn is_name(text: &str) -> bool {
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&text.len()) && text.chars().all(inside) && !text.starts_with('-') && !text.ends_with('-')
    }

    /// Reads what is printed for a grant of these names and this kind of key.
    fn check(id: &str, names: &[&str], certified: KeyAlgorithm, dns: &[&str], addresses: &[&str]) {
        const BUNDLE: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        let mut grant = grant(names);
        grant.id = id.parse().unwrap();
        let directory = profile_directory("https://ca.bank.test:14000", &"demo".parse().unwrap(), "client");
        let printed = commands(&grant, &directory, BUNDLE, |kind| kind == certified);
        let printed = &printed.iter().find(|(client, _)| *client == "cert-manager").unwrap().1;

        let (create, rest) = printed.split_once('\n').unwrap();
        let yaml = rest.strip_prefix("kubectl apply -f - <<'END'\n").unwrap().strip_suffix("END").unwrap();
        assert!(!yaml.lines().any(|line| line == "END"), "{yaml}");
        let nodes = Yaml::load_from_str(yaml).unwrap();
        let [issuer, certificate] = &nodes[..] else { panic!("{} objects: {yaml}", nodes.len()) };

        let issuer: Object<IssuerSpec> = object(issuer);
        assert_eq!((issuer.api_version.as_str(), issuer.kind.as_str()), ("cert-manager.io/v1", "Issuer"));
        let acme = issuer.spec.acme;
        assert_eq!(acme.server, directory);
        assert_eq!(STANDARD.decode(&acme.ca_bundle).unwrap(), BUNDLE.as_bytes());
        assert_eq!(acme.external_account_binding.key_id, id);
        let eab = acme.external_account_binding.key_secret_ref;
        // The file as it is: cert-manager decodes base64url without padding, which is how the secret was printed.
        assert_eq!(create, format!("kubectl create secret generic {} --from-file={}={SECRET_FILE}", eab.name, eab.key));
        assert_eq!(acme.solvers.into_iter().map(|solver| solver.http01.ingress).collect::<Vec<_>>(), [Ingress {}]);

        let certificate: Object<CertificateSpec> = object(certificate);
        assert_eq!((certificate.api_version.as_str(), certificate.kind.as_str()), ("cert-manager.io/v1", "Certificate"));
        assert_eq!(certificate.spec.issuer_ref.name, issuer.metadata.name);
        assert_eq!(kind(certificate.spec.private_key.as_ref()), certified);
        assert_eq!(certificate.spec.dns_names, dns);
        assert_eq!(certificate.spec.ip_addresses, addresses.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>());
        // Three secrets, none of which is another.
        let secrets = [&eab.name, &acme.private_key_secret_ref.name, &certificate.spec.secret_name];
        assert!(secrets.iter().all(|name| is_name(name)) && is_name(&issuer.metadata.name) && is_name(&certificate.metadata.name));
        assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2] && secrets[0] != secrets[2], "{secrets:?}");
    }

    #[test]
    fn a14_the_manifests_have_the_fields_of_cert_manager_for_every_kind_of_key() {
        for (kind, _) in KINDS {
            check("grant-x", &["dns:pay.bank.test", "dns:till.bank.test"], *kind, &["pay.bank.test", "till.bank.test"], &[]);
        }
    }

    #[test]
    fn a14_the_manifests_name_addresses_as_cert_manager_does() {
        check("grant-x", &["ip:10.0.0.7/32", "ip:2001:db8::7/128"], KeyAlgorithm::P256, &[], &["10.0.0.7", "2001:db8::7"]);
        check("grant-x", &["ip:10.0.0.7/32", "dns:pay.bank.test"], KeyAlgorithm::P256, &["pay.bank.test"], &["10.0.0.7"]);
    }

    /// What YAML takes for a number or a truth value unless it is quoted.
    #[test]
    fn a14_a_key_id_and_a_name_stay_texts() {
        for id in ["12345678901234567890123456789012", "00000000000000000000000000012e34", "0x10", "true", "null"] {
            check(id, &["dns:no", "dns:null"], KeyAlgorithm::P256, &["no", "null"], &[]);
        }
    }

    #[test]
    fn a_field_that_cert_manager_has_not_is_refused() {
        let read = |text: &str| serde_json::from_value::<CertificateSpec>(json(&Yaml::load_from_str(text).unwrap()[0]));
        let good = "secretName: a\nissuerRef:\n  name: b\nprivateKey:\n  algorithm: RSA\n  size: 3072\n";
        assert!(read(good).is_ok());
        for bad in [
            format!("{good}keyAlgorithm: rsa\n"),
            good.replace("RSA", "rsa"),
            good.replace("3072", "\"3072\""),
            good.replace("name: b", "name: 7"),
            format!("{good}ipAddresses:\n  - pay.bank.test\n"),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
