//! What a process that was taken over can reach: the front end's and the responder's users try everything that lies
//! outside their part, and each attempt is refused.

use std::path::Path;
use std::process::Output;

use crate::harness::succeeds;
use crate::site::{Site, User};

/// Connects to a socket, sends a command frame, and prints each answer's text.
const CLIENT: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(120)
s.connect(sys.argv[1])
def take():
    head = b""
    while len(head) < 13:
        more = s.recv(13 - len(head))
        if not more: return None
        head += more
    n = struct.unpack(">I", head[:4])[0]
    body = b""
    while len(body) < n:
        more = s.recv(n - len(body))
        if not more: return None
        body += more
    return body.decode()
print(take())
payload = sys.argv[2].encode()
s.sendall(struct.pack(">IQB", len(payload), 1, 0) + payload)
print(take())
"#;

/// What the store's socket says to `payload` by `user`: the greeting's line and the answer's.
fn say(site: &Site, user: User, payload: &str) -> String {
    let output = user.command("python3").args(["-c", CLIENT]).arg(site.store_socket()).arg(payload).output().expect("python3 runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn check_denied(what: &str, output: &Output) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success() && said.contains("ermission denied"), "{what} was not denied: {said}");
}

/// Every file below a folder, with the folder itself.
fn everything_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(everything_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn the_front_end_cannot_reach_an_authority_key() {
    let site = Site::start();
    check_reach(&site);
    site.stop();
}

/// The front end's and the responder's users, and a stranger, try what is the worker's.
pub(crate) fn check_reach(site: &Site) {
    let keys = everything_below(&site.path("worker/var/keys"));
    assert!(keys.iter().any(|p| p.starts_with(site.path("worker/var/keys/authority")) && p.is_file()), "{keys:?}");
    for user in [User::Acme, User::Responder, User::Stranger] {
        // Files: authority keys, what opens them, the master key, the database, the policy's roster, the other's key.
        let others = [site.path("acme/server.sealed"), site.path("ocsp/ocsp.sealed")];
        let own = site.path(match user {
            User::Acme => "acme/server.sealed",
            _ => "ocsp/ocsp.sealed",
        });
        let database = ["ca.db", "ca.db-wal", "ca.db.lock", "worker.toml", "rehearsal/operator"].map(|n| site.path("worker/var").join(n));
        for path in keys.iter().chain(&database).chain(others.iter().filter(|p| **p != own)) {
            assert!(path.exists(), "{path:?}");
            let read = user.command(if path.is_dir() { "ls" } else { "cat" }).arg(path).output().unwrap();
            check_denied(&format!("{user:?} reading {}", path.display()), &read);
        }
        // The process itself: memory, environment, descriptors, tracing.
        let worker = site.pid(User::Worker);
        for name in ["mem", "environ", "maps"] {
            check_denied(name, &user.command("cat").arg(format!("/proc/{worker}/{name}")).output().unwrap());
        }
        check_denied("descriptors", &user.command("ls").arg(format!("/proc/{worker}/fd")).output().unwrap());
        assert!(!succeeds(user.command("kill").args(["-0", &worker.to_string()])), "{user:?} may signal the worker");
        // The control socket, with a configuration that names it.
        let text = std::fs::read_to_string(site.path("worker/var/worker.toml")).unwrap();
        std::fs::write(site.path("public/worker.toml"), text).unwrap();
        let status = user.command(site.path("bin/ca")).arg("--config").arg(site.path("public/worker.toml")).arg("status").output().unwrap();
        check_denied("the control socket", &status);
    }
}

#[test]
fn a_role_cannot_speak_out_of_turn_on_the_store_socket() {
    let site = Site::start();
    let ledger = r#"{"ledger-head":{"authority":"demo"}}"#;
    let grant = format!("{{\"grant\":{{\"id\":\"{}\"}}}}", site.fact("EAB_KID"));
    // Each role's own command works, so that what follows is refused for what it is.
    assert!(say(&site, User::Acme, &grant).contains("\"done\""), "{}", say(&site, User::Acme, &grant));
    assert!(say(&site, User::Responder, ledger).contains("\"done\""), "{}", say(&site, User::Responder, ledger));

    let mut refused = 0;
    let mut check_refused = |user: User, payload: &str, why: &str| {
        let said = say(&site, user, payload);
        assert!(said.contains("\"refused\"") && said.contains(why), "{user:?}: {payload}: {said}");
        refused += 1;
    };
    // The other's role.
    check_refused(User::Acme, ledger, "not a command of the role acme");
    check_refused(User::Responder, &grant, "not a command of the role responder");
    // The worker's commands: leases, intents, completions, policies, grants, the audit trail.
    for name in ["lease-requests", "record-intent", "complete", "accept-account", "put-policy", "put-grant", "append-audit", "audit-after"]
    {
        for user in [User::Acme, User::Responder] {
            check_refused(user, &format!("{{\"{name}\":{{}}}}"), "not understood");
        }
    }
    // An entry in somebody else's name.
    let forged = r#"{"deactivate-authorization":{"id":"x","audit":{"at":1795478400,"actor":{"kind":"operator","name":"olga","fingerprint":"x"},"action":"authorization.deactivate","authority":null,"object":"x","outcome":{"result":"done"},"correlation":"x"}}}"#;
    check_refused(User::Acme, forged, "not the front end's to make");

    for user in [User::Stranger, User::Worker] {
        let said = say(&site, user, &grant);
        assert!(said.contains("has no role here") && !said.contains("\"done\""), "{user:?}: {said}");
    }
    let status = site.ca_json(&["status"]);
    assert_eq!(status["store_socket"]["refused_commands"], refused);
    assert_eq!(status["store_socket"]["refused_peers"], 2);
    let trail = crate::harness::expect_success("ca audit tail", &site.ca(&["audit", "tail", "--lines", "1000"]));
    assert!(trail.contains("store.refuse"), "{trail}");
    site.stop();
}

#[test]
fn the_front_end_holds_no_module_no_database_and_no_key_but_its_own() {
    let site = Site::start();
    for user in [User::Acme, User::Responder] {
        let pid = site.pid(user);
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        for word in ["pkcs11", "softhsm", "opensc", "yubihsm", "ca.db"] {
            assert!(!maps.to_lowercase().contains(word), "{user:?} has {word} in its memory:\n{maps}");
        }
        let open: Vec<_> =
            std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().filter_map(|e| std::fs::read_link(e.path()).ok()).collect();
        assert!(!open.is_empty() && !open.iter().any(|p| p.starts_with(site.path("worker"))), "{user:?}: {open:?}");
        // The code that could hold one is not in the binary: no PKCS#11 entry point, no SQLite, no key store's error.
        let binary = std::fs::read(format!("/proc/{pid}/exe")).unwrap();
        let has = |needle: &[u8]| binary.windows(needle.len()).any(|w| w == needle);
        for needle in ["C_GetFunctionList", "SQLite format 3", "a key labelled `"] {
            assert!(!has(needle.as_bytes()), "{user:?}'s binary has `{needle}`");
        }
        assert!(has(b"countersign-file-key/1 "), "the search itself finds what is there");
    }
    let worker = std::fs::read(format!("/proc/{}/exe", site.pid(User::Worker))).unwrap();
    assert!(worker.windows(15).any(|w| w == b"SQLite format 3"), "the search itself finds what is there");
    site.stop();
}
