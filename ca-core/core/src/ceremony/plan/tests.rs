use ca_testkit::plan::{CLIENTS, FirstPlan};

use super::super::quorum::tests::public;
use super::*;

const DEVICES: &str = r#"[device.root]
kind = "yubi-hsm2"
serial = "1"
lowest_firmware = "2.4.0"
before = "new"

[device.online]
kind = "software"
serial = "2"
before = []
"#;

pub(crate) fn plan() -> String {
    let first = FirstPlan {
        kind: "production",
        status_base_url: "http://127.0.0.1:14002",
        tool: "1".repeat(64),
        evidence: ["root", "boot"],
        environment: "offline = true\nno_swap = true\nno_core_dumps = true",
        devices: DEVICES.to_owned(),
        others: [public(21), public(22)],
        officers: vec![("ana", vec![public(1)]), ("bela", vec![public(2)])],
        permitted: &["dns:bank.test"],
        policy: CLIENTS.to_owned(),
    };
    first.text()
}

/// Changes the plan in one place; what is said of it then must have this part.
#[track_caller]
pub(crate) fn check(from: &str, to: &str, part: &str) {
    let text = plan();
    assert!(text.contains(from), "{from}");
    let error = Plan::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
    assert!(error.contains(part), "{from} -> {to}: {error}");
}

#[test]
fn the_policy_binds_the_keys_that_were_made() {
    let plan = Plan::parse(&plan()).unwrap();
    let keys = BTreeMap::from([("bank".parse().unwrap(), sha256(b"key"))]);
    let policy = Policy::parse(&plan.policy(&keys).unwrap()).unwrap();
    assert_eq!(policy.authorities[0].key_sha256, sha256(b"key"));
    assert_eq!(policy.authorities[0].profiles["client"].lifetime, 3600);
    assert_eq!(plan.policy(&keys).unwrap(), plan.policy(&keys).unwrap());
}

#[test]
fn a_bad_profile_is_refused_with_its_line_in_the_plan() {
    let good = plan();
    let line = good.lines().position(|line| line.starts_with("profile.client")).unwrap() + 1;
    for (bad, reason) in
        [("{ shape = \"client\", lifetime = 5 }", "10 seconds to 398 days"), ("{ shape = \"obseal\", lifetime = 3600 }", "has PSD2 roles")]
    {
        let error = Plan::parse(&good.replace("{ shape = \"client\", lifetime = 3600 }", bad)).unwrap_err().to_string();
        assert!(error.contains(&format!("line {line}: ")) && error.contains(reason), "{error}");
    }
}

#[test]
fn ceremony_01_an_unknown_or_duplicate_key_in_the_plan_is_fatal() {
    let good = plan();
    Plan::parse(&good).unwrap();
    // Once below every table of the plan, at any depth, an unknown key and the doubled first key.
    let lines: Vec<&str> = good.lines().collect();
    let mut tables = 0;
    for (i, line) in lines.iter().enumerate() {
        let header = line.starts_with('[') || i == 0;
        let Some(next) = lines.get(i + usize::from(i > 0)).filter(|_| header) else { continue };
        tables += 1;
        for (added, part) in [("unknown_key = 1", "unknown field"), (*next, "duplicate key")] {
            let at = i + usize::from(i > 0);
            let text = [&lines[..at], &[added], &lines[at..]].concat().join("\n");
            let error = Plan::parse(&text).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {added}: {error}");
        }
    }
    assert_eq!(tables, 14);
}

/// The first plan as one that continues it, with this `[acts]`.
fn later(acts: &str) -> String {
    let digest = "0".repeat(64);
    let continues = format!(
        "[acts.continues]\ntranscript = \"{digest}\"\nroot_certificate = \"{digest}\"\nhierarchy = \"{digest}\"\npolicy_version = 1\npolicy_sha256 = \"{digest}\"\n"
    );
    let first = plan();
    // A later ceremony works with the devices that its kind says; too many pins do no harm.
    let frame = first
        .split("[[issuing]]")
        .next()
        .unwrap()
        .replace("[device.root]", "[device.backup]\nkind = \"software\"\nserial = \"3\"\nbefore = \"new\"\n\n[device.root]");
    let (top, rest) = acts.split_once("\n\n").unwrap_or((acts, ""));
    format!("{frame}[acts]\n{top}\n{continues}{rest}")
}

#[test]
fn later_kinds_say_what_they_do_and_no_more() {
    #[track_caller]
    fn check(acts: &str, expected: Result<&str, &str>) {
        match (Plan::parse(&later(acts)).map(|p| p.acts.name()).map_err(|e| e.to_string()), expected) {
            (Ok(name), Ok(expected)) => assert_eq!(name, expected),
            (Err(text), Err(part)) => assert!(text.contains(part), "{acts}: {text}"),
            (found, _) => panic!("{acts}: {found:?}"),
        }
    }
    let nonce = format!("nonce = \"{}\"", "0f".repeat(16));
    let issuing = "[[issuing]]\nauthority = \"b\"\nkey = \"b\"\nalgorithm = \"p256\"\nsubject = { organization = \"Bank\", common_name = \"B\" }\nlifetime_days = 9\npermitted = [\"dns:b.test\"]\n";
    let digest = "0".repeat(64);
    check("kind = \"root-crl\"", Ok("root-crl"));
    check("kind = \"nothing\"", Err("unknown variant"));
    check("kind = \"root-crl\"\nforce = true", Err("unknown field"));
    check(&format!("kind = \"root-crl\"\n\n{issuing}"), Err("has no [[issuing]]"));
    check(&format!("kind = \"intermediate\"\n{nonce}\n\n{issuing}"), Ok("intermediate"));
    check(&format!("kind = \"intermediate\"\n{nonce}"), Err("issuing authorities"));
    check(&format!("kind = \"intermediate\"\nnonce = \"1\"\n\n{issuing}"), Err("32 hexadecimal digits"));
    check(&format!("kind = \"intermediate\"\n\n{issuing}"), Err("missing field `nonce`"));
    let cross = |rest: &str| {
        format!(
            "kind = \"cross-sign\"\n{nonce}\n\n[[acts.subject]]\nauthority = \"p\"\nkey = \"p\"\ncertificate_sha256 = \"{digest}\"\n{rest}"
        )
    };
    check(&cross("lifetime_days = 9\npath_len = 1\npermitted = [\"dns:p.test\"]"), Ok("cross-sign"));
    check(&cross("lifetime_days = 9\npath_len = 1\npermitted = []"), Err("permitted"));
    check(&cross("lifetime_days = 9\npath_len = 9\npermitted = [\"dns:p.test\"]"), Err("path_len"));
    check(&cross("lifetime_days = 9\npermitted = [\"dns:p.test\"]"), Err("missing field `path_len`"));
    check(&cross("lifetime_days = 3650\npath_len = 1\npermitted = [\"dns:p.test\"]"), Err("less than the root's"));
    let revoke = |reason: &str| {
        format!(
            "kind = \"revoke-ca\"\n\n[[acts.certificate]]\nauthority = \"bank\"\nserial = \"{}\"\nreason = \"{reason}\"\n",
            "01".repeat(20)
        )
    };
    check(&revoke("superseded"), Ok("revoke-ca"));
    check(&revoke("certificateHold"), Err("not held"));
    check(&revoke("removeFromCRL"), Err("unknown variant"));
    check("kind = \"revoke-ca\"\ncertificate = []", Err("1 to 16"));
    let key = format!("\n\n[[acts.key]]\nkey = \"k\"\npublic_key_sha256 = \"{digest}\"\n");
    check(&format!("kind = \"backup\"\nplace = \"root\"\nwrapping_key = \"w\"{key}"), Ok("backup"));
    check(&format!("kind = \"backup\"\nplace = \"backup\"\nwrapping_key = \"w\"{key}"), Err("where the keys are"));
    check(&format!("kind = \"destroy\"\nplace = \"root\"{key}{key}"), Err("stands twice"));
    check(&format!("kind = \"restore\"\nplace = \"root\"{key}"), Err("missing field `wrapped_sha256`"));
    check("kind = \"policy\"", Err("[policy] is missing"));
    check("kind = \"policy\"\n\n[policy]\nversion = 1\n", Err("does not grow"));
    check("kind = \"policy\"\n\n[policy]\nversion = 2\n", Ok("policy"));
    check("kind = \"policy\"\n\n[policy]\nversion = 2\n[[policy.authority]]\nname = \"bank\"\n", Err("key_sha256 is missing"));
    check("kind = \"officers\"", Ok("officers"));
    let credential = |change: &str, rest: &str| {
        format!(
            "kind = \"credentials\"\n\n[[acts.credential]]\nplace = \"root\"\nname = \"pin\"\npurpose = \"pkcs11-pin\"\nchange = \"{change}\"\nthreshold = 2\nholders = [\"ana\", \"bela\"]\n{rest}"
        )
    };
    let keepers = |acts: &str| later(acts).replace("[[custodian]]", "[[custodian]]\nname = \"bela\"\nholds = \"a share\"\n[[custodian]]");
    let set = format!("set = \"{digest}\"\n");
    assert_eq!(Plan::parse(&keepers(&credential("deal", ""))).unwrap().acts.places(), [KeyPlace::Root]);
    assert_eq!(Plan::parse(&keepers(&credential("rotate", &set))).unwrap().acts.name(), "credentials");
    check(&credential("deal", ""), Err("`bela` gets a share and is none of the plan's custodians"));
    check(&credential("deal", &set), Err("for the first time"));
    check(&credential("reshare", ""), Err("`set` is the id"));
    let two =
        format!("{}[[acts.credential]]{}", credential("deal", ""), credential("deal", "").split_once("[[acts.credential]]").unwrap().1);
    check(&two, Err("stands twice"));
    check(&two.replacen("\"pin\"", "\"other\"", 1), Err("another credential of the plan opens the same"));
    check("kind = \"credentials\"\ncredential = []", Err("1 to 16 acts.credential"));
}

#[test]
fn ceremony_32_a_crl_outlives_the_next_planned_ceremony() {
    let error = |days: &str| Plan::parse(&plan().replace("next_ceremony_days = 330", days)).unwrap_err().to_string();
    assert!(error("next_ceremony_days = 365").contains("must not end before the ceremony"));
    assert!(error("next_ceremony_days = 0").contains("next_ceremony_days"));
    assert!(error("").contains("missing field `next_ceremony_days`"));
    Plan::parse(&plan().replace("next_ceremony_days = 330", "next_ceremony_days = 364")).unwrap();
}

#[test]
fn post_quantum_keys_are_planned_in_software_only() {
    let with = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(plan(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        Plan::parse(&text).map(drop).map_err(|e| e.to_string())
    };
    let root = ("algorithm = \"p384\"", "algorithm = \"ml-dsa-87\"");
    let issuing = ("algorithm = \"p256\"", "algorithm = \"ml-dsa-65\"");
    let in_software = ("[device.root]\nkind = \"yubi-hsm2\"", "[device.root]\nkind = \"software\"");
    let on_a_token = ("[device.online]\nkind = \"software\"", "[device.online]\nkind = \"pkcs11\"");
    assert_eq!(with(&[issuing]), Ok(()));
    assert_eq!(with(&[root, issuing, in_software]), Ok(()));
    for (changes, key) in [(&[root][..], "`bank-root-2026`"), (&[issuing, on_a_token], "`bank-2026`")] {
        let error = with(changes).unwrap_err();
        assert!(error.contains(key) && error.contains("not yet on hardware") && error.contains("hint:"), "{error}");
    }
    let error = with(&[("algorithm = \"p384\"", "algorithm = \"ml-dsa-44\"")]).unwrap_err();
    assert!(error.contains("ml-dsa-65"), "{error}");
}

#[test]
fn unsound_plans_are_refused() {
    check("title =", "titel = \"x\"\ntitle =", "unknown field");
    check("title =", "title = \"x\"\ntitle =", "duplicate key");
    check("threshold = 2", "threshold = 3", "can't be met");
    check("threshold = 2", "threshold = 1", "not dual control");
    check("plan/2", "plan/1", "format");
    check("http://", "https://", "status_base_url");
    check("\"production\"", "\"rehearsal\"", "begin with `REHEARSAL `");
    check("Bank Root", "REHEARSAL Bank Root", "no others do");
    check("lifetime_days = 1825", "lifetime_days = 3650", "less than the root's");
    check("algorithm = \"p384\"", "algorithm = \"p384\"\nsignature = \"rsa-pss-sha256\"", "a p384 key does not sign as");
    check("algorithm = \"p384\"", "algorithm = \"rsa4096\"\nsignature = \"ecdsa-p384-sha384\"", "a rsa4096 key does not sign as");
    check("crl_lifetime_days = 365", "crl_lifetime_days = 4000", "crl_lifetime_days");
    check("key = \"bank-2026\"", "key = \"bank-root-2026\"", "stands twice");
    check("authority = \"bank\"", "authority = \"bank-root\"", "stands twice");
    check("[\"dns:bank.test\"]", "[]", "permitted");
    check("name = \"bank\"", "name = \"other\"", "not an issuing authority");
    check("[[policy.authority]]", "[[policy.operator]]", "says nothing about");
    check("max_per_hour = 10", "max_per_hour = 10\nmax_per_day = 1", "unknown field");
    check("max_per_hour = 10", "max_per_hour = 10\nkey_sha256 = \"00\"", "leave it out");
    check("crl_interval = 3600", "crl_interval = 86400", "twice crl_interval");
}
