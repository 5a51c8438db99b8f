//! A device enrols by what its hardware attests: a stock ACME client, hardware made of the testkit's keys and certificates.

use std::process::Command;

use ca_core::pki::{Identifier as Name, KeyAlgorithm};
use ca_testkit::attestation::{Maker, Tpm, apple, csr, step, yubikey_serial};
use ca_testkit::specimens::Key;
use instant_acme::{Account, ChallengeType, DeviceAttestation, Error, Identifier, NewOrder, Order, OrderStatus};

use crate::harness::{Demo, block_on, expect_success, patience, wait_for};

const REFUSED: &str = "urn:ietf:params:acme:error:badAttestationStatement";

/// What a device makes of a token and of a key authorization.
type Attests<'a> = &'a dyn Fn(&str, &str) -> Vec<u8>;

/// Orders a certificate for a device and answers the challenge.
async fn attested(account: &Account, identifier: Identifier, attests: Attests<'_>) -> (Order, Result<OrderStatus, Error>) {
    let identifiers = [identifier];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await.unwrap();
    let mut authorizations = order.authorizations();
    let mut authorization = authorizations.next().await.unwrap().unwrap();
    let mut challenge = authorization.challenge(ChallengeType::DeviceAttest01).expect("the challenge is offered");
    let object = attests(&challenge.token.clone(), challenge.key_authorization().as_str());
    challenge.send_device_attestation(&DeviceAttestation { att_obj: object.into() }).await.unwrap();
    let status = order.poll_ready(&patience()).await;
    (order, status)
}

#[test]
fn a12_a_stock_client_enrols_devices_by_attestation() {
    let mut demo = Demo::start_as(&["--log", "info"]);
    let maker = Maker::new("Maker");
    // The maker's CRL, which names none of its certificates yet; each has the serial number 1.
    let crl = demo.path("maker.crl");
    let of = |revoked: &[u8]| maker.crl(false, revoked, ("20200101000000Z", Some("20491231235959Z")), &[]);
    std::fs::write(&crl, of(&[])).unwrap();
    demo.stop();
    let file = demo.var().join("ca.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[attestation]\ncrls = [\"{}\"]\n", crl.display())).unwrap();
    demo.launch(&[]);
    demo.put_in_force(2, |text| {
        let devices = "\"permanent-identifier:*\", \"hardware-module:*/1.2.3\"";
        let pem = format!("\"\"\"\n{}\"\"\"", maker.root_pem());
        let zone = format!(
            "\n[[authority.challenge]]\nnames = [{devices}]\nmethods = [\"device-attest-01\"]\nattestation = {{ apple = {pem}, step = {pem}, tpm = {pem} }}\n"
        );
        text.replacen("\"dns:*.demo.test\"", &format!("\"dns:*.demo.test\", {devices}"), 1) + &zone
    });
    // The front end follows the policy in force.
    wait_for("challenges to be on offer", || {
        let directory = Command::new("curl").args(["-sk", demo.fact("ACME_DIRECTORY")]).output().expect("curl runs");
        String::from_utf8_lossy(&directory.stdout).contains("newAuthz")
    });
    let create = ["grant", "create", "--service", "laptops", "--name", "permanent-identifier:*", "--name", "hardware-module:M-*/1.2.3"];
    let grant = demo.ca_json(&create);
    let (kid, secret) = (grant["kid"].as_str().unwrap(), grant["hmac_key"].as_str().unwrap());
    let key = Key::generate(KeyAlgorithm::P256);
    let module = Name::parse("hardware-module", "M-1/1.2.3").unwrap();
    let devices: [(Identifier, Attests<'_>); 3] = [
        (Identifier::PermanentIdentifier("C02ABC".to_owned()), &|token, _| apple(&maker, &key, "C02ABC", "U", token)),
        (Identifier::PermanentIdentifier("1337".to_owned()), &|_, proof| step(&maker, &key, yubikey_serial(1337), proof)),
        (Identifier::HardwareModule("M-1/1.2.3".to_owned()), &|_, proof| {
            Tpm::new(std::slice::from_ref(&module), proof).object(&maker, &key)
        }),
    ];
    block_on(async {
        let account = demo.account_of(kid, secret).await.unwrap();
        for (index, (identifier, attests)) in devices.into_iter().enumerate() {
            let (mut order, status) = attested(&account, identifier, attests).await;
            assert_eq!(status.unwrap(), OrderStatus::Ready);
            // Another key than the attested one is told, and the order stays ready.
            let other = order.finalize_csr(&csr(&Key::generate(KeyAlgorithm::P256), &[])).await;
            let Err(Error::Api(problem)) = other else { panic!("{other:?}") };
            assert_eq!(problem.r#type.as_deref(), Some("urn:ietf:params:acme:error:badCSR"), "{problem}");
            order.finalize_csr(&csr(&key, &[])).await.unwrap();
            let path = demo.path(&format!("{index}.pem"));
            std::fs::write(&path, order.poll_certificate(&patience()).await.unwrap()).unwrap();
            let text = Command::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(&path).output().expect("openssl runs");
            assert!(expect_success("openssl x509", &text).contains("othername:"), "it names the device");
            assert_eq!(demo.ocsp(&path), "good");
        }
        // Hardware of another maker.
        let stranger = Maker::new("Maker");
        let foreign: Attests<'_> = &|_, proof| step(&stranger, &key, yubikey_serial(1338), proof);
        let (_, status) = attested(&account, Identifier::PermanentIdentifier("1338".to_owned()), foreign).await;
        let Err(Error::Api(problem)) = status else { panic!("{status:?}") };
        assert_eq!(problem.r#type.as_deref(), Some(REFUSED), "{problem}");

        // The file is read again when it changes.
        std::fs::write(&crl, of(&[1])).unwrap();
        wait_for("the CRL to be read again", || demo.log().contains("the attestation CRLs changed and were read"));
        let revoked: Attests<'_> = &|_, proof| step(&maker, &key, yubikey_serial(1337), proof);
        let (_, status) = attested(&account, Identifier::PermanentIdentifier("1337".to_owned()), revoked).await;
        let Err(Error::Api(problem)) = status else { panic!("{status:?}") };
        assert_eq!(problem.r#type.as_deref(), Some(REFUSED), "{problem}");
        assert!(problem.to_string().contains("is revoked by its issuer"), "{problem}");
    });
    let trail = String::from_utf8(demo.ca(&["audit", "tail", "-n", "300", "--json"]).stdout).expect("text");
    let believed = trail.lines().filter(|line| line.contains("order.believe") && line.contains("device-attest-01")).count();
    assert_eq!(believed, 3, "{trail}");
}
