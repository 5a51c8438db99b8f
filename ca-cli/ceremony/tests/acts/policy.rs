//! A policy, and who the officers are.

use crate::common::missing;
use crate::common::refused;
use crate::support::begun;
use ca_ceremony::RunOutcome;
use ca_ceremony::verify_chain;

#[tokio::test]
async fn a_policy_and_the_officers_change_by_ceremonies_of_their_own() {
    let mut ceremony = begun().await;
    let policy = |version: u32, key: &str| {
        format!(
            "[acts]\nkind = \"policy\"\n[policy]\nversion = {version}\n[[policy.authority]]\nname = \"bank\"\nkey_sha256 = \"{key}\"\nnames = [\"dns:*.bank.test\"]\nmax_per_hour = 20\ncrl_validity = 86400\ncrl_interval = 3600\nprofile.client = {{ shape = \"client\", lifetime = 3600 }}\n"
        )
    };
    let key = ceremony.public_key("online-keys", "bank-2026");
    ceremony.next("policy", &policy(2, &key), &[]);
    let verified = ceremony.complete().await;
    assert_eq!(verified.policy.as_ref().unwrap().authorities[0].max_per_hour, 20);
    verified.policy_bundle.as_ref().unwrap().verify(&verified.roster).unwrap();

    // Cora goes, mallory comes. The new officers alone can't let themselves in.
    ceremony.next("officers", "[acts]\nkind = \"officers\"\n", &[]);
    let public = std::fs::read_to_string(ceremony.dir.path().join("mallory.pub")).unwrap().trim().to_owned();
    let cora = std::fs::read_to_string(ceremony.dir.path().join("cora.pub")).unwrap().trim().to_owned();
    ceremony.edit_plan("name = \"cora\"", "name = \"mallory\"");
    ceremony.edit_plan(&cora, &public);
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "mallory"]);
    let error = refused(ceremony.run().await);
    assert!(error.contains("1 of 2 officers signed the plan, which changes the roster, of those who stand (so far: ana)"), "{error}");
    ceremony.sign_plan(&["cora"]);
    let RunOutcome::Complete(changed) = ceremony.run().await.unwrap() else { panic!("the plan is all that is signed") };
    assert!(changed.roster.officers.iter().any(|o| o.name == "mallory"));
    let bundles = ["bundle", "policy"].map(|b| ceremony.dir.path().join(b));
    verify_chain(&bundles, &ceremony.bundle(), Some(&verified.roster)).unwrap();

    // From now on the new roster stands: cora's word is nobody's.
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    let plan: toml::Table = std::fs::read_to_string(ceremony.plan()).unwrap().parse().unwrap();
    let mut with_mallory: toml::Table = std::fs::read_to_string(ceremony.dir.path().join("officers.toml")).unwrap().parse().unwrap();
    let mut plan = plan;
    plan.insert("roster".to_owned(), with_mallory.remove("roster").unwrap());
    std::fs::write(ceremony.plan(), toml::to_string(&plan).unwrap()).unwrap();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["cora"]);
    assert!(refused(ceremony.run().await).contains("a key of none of the officers"));
    std::fs::remove_file(ceremony.bundle().join("sigs/plan.cora.sig")).unwrap();
    ceremony.sign_plan(&["bela", "mallory"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["bela", "mallory"]);
    assert!(matches!(ceremony.run().await.unwrap(), RunOutcome::Complete(_)));
}
