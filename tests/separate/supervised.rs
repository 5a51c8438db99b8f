//! `ca serve` as root, with the worker, the ACME server and the responder as its children under three users.

use std::net::TcpListener;
use std::process::Command;

use crate::harness::{block_on, succeeds, wait_for};
use crate::reach::check_reach;
use crate::site::processes::{child_of, is_alive};
use crate::site::{Site, User};

#[test]
fn ca_serve_runs_three_users_and_holds_nothing_itself() {
    let site = Site::start_supervised();
    block_on(async {
        let account = site.account().await;
        site.issue(&account).await.expect("an order")
    });
    for user in [User::Worker, User::Acme, User::Responder] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid(user))).unwrap();
        let line = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        let numbers = |name: &str| line(name).split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!((numbers("Uid:"), numbers("Gid:")), (vec![user.uid().to_string(); 4], vec![user.uid().to_string(); 4]), "{user:?}");
        assert!(numbers("Groups:").is_empty() && line("NoNewPrivs:").ends_with('1'), "{status}");
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert!(line(set).ends_with("0000000000000000"), "{}", line(set));
        }
    }
    check_reach(&site);
    // The parent: no listener, no database, no key's file.
    let parent = site.parent_pid();
    let open: Vec<_> =
        std::fs::read_dir(format!("/proc/{parent}/fd")).unwrap().flatten().filter_map(|e| std::fs::read_link(e.path()).ok()).collect();
    let listening = std::fs::read_to_string(format!("/proc/{parent}/net/tcp")).unwrap();
    let sockets: Vec<_> = open.iter().filter_map(|p| p.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')).collect();
    assert!(!open.is_empty() && !open.iter().any(|p| p.starts_with(site.path("worker/var"))), "{open:?}");
    assert!(!listening.lines().any(|l| sockets.iter().any(|inode| l.split_whitespace().nth(9) == Some(inode))), "{open:?}");
    site.stop();
}

#[test]
fn a_part_that_is_killed_comes_back_and_a_killed_parent_leaves_nothing() {
    let mut site = Site::start_supervised();
    let account = block_on(site.account());
    block_on(site.issue(&account)).expect("an order");
    let (worker, acme) = (site.pid(User::Worker), site.pid(User::Acme));
    assert!(succeeds(Command::new("kill").args(["-KILL", &worker.to_string()])));
    wait_for("the worker to be started again", || child_of(site.parent_pid(), User::Worker).is_some_and(|pid| pid != worker));
    wait_for("issuance to go on", || block_on(site.issue(&account)).is_ok());
    assert_eq!(site.pid(User::Acme), acme, "the others were not restarted");
    assert!(succeeds(Command::new("kill").args(["-KILL", &acme.to_string()])));
    wait_for("the ACME server to be started again", || child_of(site.parent_pid(), User::Acme).is_some_and(|pid| pid != acme));
    site.wait_until_ready();
    assert!(site.log(User::Worker).contains("it died; it is started again"));

    let children = site.kill_parent();
    let took = wait_for("the children to end with their parent", || !children.iter().any(|pid| is_alive(*pid)));
    println!("without their parent the children ended within {took:?}");
    // Nothing is left in the way of the next one.
    site.serve(&["--worker-user", &User::Worker.uid().to_string()]);
    site.wait_until_ready();
    block_on(site.issue(&account)).expect("an order");
    site.stop();
}

#[test]
fn what_cannot_work_ends_the_start_with_its_reason() {
    let site = Site::prepared();
    let worker = User::Worker.uid().to_string();
    let refused = |mut command: Command, code: i32, expected: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code() == Some(code) && said.contains(expected), "{:?}, not {code} with `{expected}`: {said}", output.status);
    };
    let serve = |user: &str| site.serve_command(&["--worker-user", user]);
    // An address that somebody else has: the part that wanted it says so, and all of them end.
    let taken = TcpListener::bind(("127.0.0.1", site.acme_port())).unwrap();
    refused(serve(&worker), 5, "another process listens there");
    drop(taken);
    for user in [User::Worker, User::Acme, User::Responder] {
        let left =
            Command::new("pgrep").args(["-U", &user.uid().to_string(), "-f", &site.path("").display().to_string()]).output().unwrap();
        assert!(left.stdout.is_empty(), "{user:?}: {}", String::from_utf8_lossy(&left.stdout));
    }
    refused(serve("0"), 3, "three different users, none of them root");
    refused(serve(&User::Acme.uid().to_string()), 3, "three different users");
    refused(serve("no-such-user"), 3, "there is no user `no-such-user`");
    let mut stranger = User::Worker.command(site.path("bin/ca"));
    stranger.arg("--config").arg(site.path("worker/var/worker.toml")).args(["serve", "--worker-user", &worker]);
    refused(stranger, 3, "which only root can do");
    let file = site.path("worker/var/worker.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let without: toml::Table = {
        let mut table: toml::Table = text.parse().unwrap();
        table.remove("serve");
        table
    };
    site.write("worker/var/worker.toml", &without.to_string(), User::Worker);
    refused(serve(&worker), 3, "needs serve.acme and serve.responder");
    let mut typed: toml::Table = text.parse().unwrap();
    typed["service_keys"]["unseal"] = toml::Value::String("terminal".to_owned());
    site.write("worker/var/worker.toml", &typed.to_string(), User::Worker);
    refused(serve(&worker), 3, "starts the worker without a terminal");
    let mut wrong: toml::Table = text.parse().unwrap();
    wrong["store"]["socket"]["acme"] = toml::Value::Array(vec![]);
    site.write("worker/var/worker.toml", &wrong.to_string(), User::Worker);
    refused(serve(&worker), 3, "store.socket.acme does not have the user");
}
