//! The agent beside a service: enrols, renews by itself, survives the CA being away, runs the reload hook.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Demo, serial_of, wait_for};

/// `ca agent run` for short-lived certificates, in the folder `agent`.
struct Running {
    process: Child,
    log: PathBuf,
}

impl Running {
    fn start(demo: &Demo, reload: &str) -> Self {
        let secret = demo.path("hmac");
        std::fs::write(&secret, demo.fact("EAB_HMAC")).unwrap();
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let path = demo.path("agent.log");
        let log = std::fs::File::create(&path).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_ca"))
            .args(["agent", "run", "--directory", demo.fact("ACME_DIRECTORY"), "--ca-bundle", demo.fact("CA_BUNDLE")])
            .args(["--eab-kid", demo.fact("EAB_KID"), "--name", demo.fact("DEMO_NAME"), "--profile", "short"])
            .arg("--eab-hmac-file")
            .arg(&secret)
            .arg("--dir")
            .arg(demo.path("agent"))
            .args(["--reload-cmd", reload])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("ca agent starts");
        Self { process, log: path }
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- the agent ---\n{}", self.log());
        }
    }
}

#[test]
fn the_agent_enrols_renews_a_short_lived_certificate_and_reloads() {
    let mut demo = Demo::start();
    let (folder, marker) = (demo.path("agent"), demo.path("reloaded"));
    let mut agent = Running::start(&demo, &format!("touch {}", marker.display()));
    let certificate = folder.join("live/cert.pem");
    wait_for("the first certificate", || certificate.exists());
    let first = serial_of(&certificate);
    wait_for("the reload hook", || marker.exists());
    let key = std::fs::metadata(folder.join("live/key.pem")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600, "the key is its owner's alone");

    // The CA is away for a while: the agent goes on and renews once it is back.
    demo.kill();
    std::thread::sleep(std::time::Duration::from_secs(2));
    demo.launch(&[]);
    wait_for("the next certificate", || serial_of(&certificate) != first);
    agent.stop();
    assert!(!agent.log().contains(demo.fact("EAB_HMAC")), "the agent's log carries the grant's secret");
    assert_eq!(demo.ocsp(&certificate), "good");
}

/// An operator marks its certificate: the agent learns it when it next asks, renews at once and says what it replaces.
#[test]
fn a20_a_running_agent_renews_what_is_marked_for_replacement() {
    let demo = Demo::start();
    // The agent asks after a quarter of the life, 40 seconds, which is time enough to mark it, and the usual window begins
    // no less than 37 seconds later: so it renews because it is told to, on a slow machine too.
    demo.put_in_force(2, |policy| policy.replace("lifetime = 60\n", "lifetime = 160\n"));
    let (certificate, reloads) = (demo.path("agent/live/cert.pem"), demo.path("reloads"));
    let hook = demo.path("hook.sh");
    std::fs::write(&hook, format!("openssl x509 -noout -serial -in \"$COUNTERSIGN_LIVE/cert.pem\" >> {}\n", reloads.display())).unwrap();
    let mut agent = Running::start(&demo, &format!("sh {}", hook.display()));
    let reloaded = || std::fs::read_to_string(&reloads).unwrap_or_default().to_lowercase();
    wait_for("the first certificate", || reloaded().lines().count() == 1);
    let first = serial_of(&certificate);

    const WHY: &str = "https://ca.demo.test/incident-7";
    demo.ca_json(&["cert", "replace", &first, "--explain", WHY]);
    wait_for("the hook to run for the next certificate", || reloaded().lines().count() == 2);
    let (second, printed) = (serial_of(&certificate), agent.log());
    let status = demo.ca_json(&["cert", "replace", "--status"]);
    agent.stop();
    assert!(second != first && reloaded().lines().eq([format!("serial={first}"), format!("serial={second}")]), "{}", reloaded());
    let seen = ["marked", "replaced", "replaced_by_order", "to_go"].map(|name| status[name].clone());
    assert_eq!(seen, [json!(1), json!(1), json!(1), json!(0)], "its order names what it replaces: {status}");
    // It renewed because it was told so.
    let told = printed.find(WHY).unwrap_or_else(|| panic!("no explanation:\n{printed}"));
    let installed: Vec<_> = printed.match_indices("installed a new certificate").map(|(at, _)| at).collect();
    assert!(installed[0] < told && told < installed[1], "{printed}");
    assert_eq!((demo.ocsp_serial(&first), demo.ocsp(&certificate)), ("good".to_owned(), "good".to_owned()), "nothing stops working");
}
