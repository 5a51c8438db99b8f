//! What each profile's specimen says.

use ca_core::pki::{AltName, DnsName, EmailName, HardwareModule, Identifier, PermanentIdentifier, SpiffeId, UriName};
use ca_core::profile::{Attribute, BrcacSubject, LeafContent, LeafShape, OpenBankingSubject, Psd2, Psd2Role, Subject};

/// The names that a specimen's authority may issue for.
pub(super) const fn permitted(shape: LeafShape) -> &'static [&'static str] {
    match shape {
        LeafShape::Client => &["dns:*.example.com", "ip:10.0.0.0/8", "uri:https://example.com/*", "email:*@example.com"],
        LeafShape::Spiffe => &["dns:*.example.com", "uri:spiffe://example.com/ns/*"],
        // Java and GnuTLS hold the common name of a certificate without dNSName to the dNSName constraints.
        LeafShape::Obwac | LeafShape::Obseal => &["dns:*.example.com", "dns:0015800001hqqrzaax"],
        LeafShape::Server | LeafShape::Kubernetes | LeafShape::Brcac | LeafShape::Ocsp => &["dns:*.example.com"],
    }
}

fn dns(name: &str) -> DnsName {
    DnsName::parse(name).unwrap()
}

fn open_banking() -> (OpenBankingSubject, Psd2) {
    let subject = OpenBankingSubject {
        country: "GB".to_owned(),
        organization: "Example Bank plc".to_owned(),
        organization_identifier: "PSDGB-FCA-123456".to_owned(),
        common_name: "0015800001HQQrZAAX".to_owned(),
    };
    let psd2 = Psd2 {
        roles: vec![Psd2Role::PaymentInitiation, Psd2Role::AccountInformation],
        nca_name: "Financial Conduct Authority".to_owned(),
        nca_id: "GB-FCA".to_owned(),
    };
    (subject, psd2)
}

/// A content of this shape: the least that it may say, or with everything that it may.
pub fn content(shape: LeafShape, full: bool) -> LeafContent {
    let name = "payments.example.com";
    let common_name = full.then(|| name.to_owned());
    match shape {
        LeafShape::Client => {
            let mut names = vec![AltName::Dns(dns(name))];
            if full {
                names.push(AltName::Ip([10, 0, 0, 1].into()));
                names.push(AltName::Uri(UriName::parse("https://example.com/payments").unwrap()));
                names.push(AltName::Email(EmailName::parse("payments@example.com").unwrap()));
                names.push(AltName::PermanentIdentifier(PermanentIdentifier::parse("TERMINAL-7/1.3.6.1.4.1.32473.1").unwrap()));
                names.push(AltName::HardwareModule(HardwareModule::parse("M-1/1.3.6.1.4.1.32473.2").unwrap()));
            }
            LeafContent::Client { common_name, names }
        }
        LeafShape::Server => LeafContent::Server { common_name, names: vec![Identifier::Dns(dns(name))] },
        LeafShape::Spiffe => {
            let list = if full { vec![(Attribute::Country, "GB"), (Attribute::Organization, "Example Bank plc")] } else { vec![] };
            let list = list.into_iter().map(|(attribute, text)| (attribute, text.to_owned())).collect();
            LeafContent::Spiffe { id: SpiffeId::parse("spiffe://example.com/ns/payments").unwrap(), subject: Subject::new(list).unwrap() }
        }
        LeafShape::Kubernetes => {
            let groups = if full { vec!["deployers".to_owned(), "auditors".to_owned()] } else { vec![] };
            LeafContent::Kubernetes { user: name.to_owned(), groups }
        }
        LeafShape::Obwac => {
            let (subject, psd2) = open_banking();
            let names = if full { vec![AltName::Dns(dns(name))] } else { vec![] };
            LeafContent::Obwac { subject, names, psd2 }
        }
        LeafShape::Obseal => {
            let (subject, psd2) = open_banking();
            LeafContent::Obseal { subject, psd2 }
        }
        LeafShape::Brcac => LeafContent::Brcac {
            subject: BrcacSubject {
                business_category: "Private Organization".to_owned(),
                cnpj: "11222333000181".to_owned(),
                organization: "Banco Exemplo S.A.".to_owned(),
                state: "SP".to_owned(),
                locality: "São Paulo".to_owned(),
                organization_identifier: "OFBBR-4b75db2e-a0c0-4359-a077-684e88fa695c".to_owned(),
                software_statement: "d7384bd0-842f-43c5-be02-9d2b2d5efc2c".to_owned(),
                common_name: dns(name),
            },
            names: if full { vec![dns(name), dns("accounts.example.com")] } else { vec![dns(name)] },
        },
        LeafShape::Ocsp => LeafContent::Ocsp { common_name: "OCSP responder of example".to_owned() },
    }
}
