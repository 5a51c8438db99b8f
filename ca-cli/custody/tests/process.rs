//! The keyholder as a process: real sockets, real users, what /proc and its files tell. Runs as root, as the tests do in
//! continuous integration: other users are numbers that `setpriv` (package util-linux) takes.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ca_keystore::keyholder::{Keyholder, KeyholderError, Refusal};
use ca_keystore::shares::ShareFile;
use ca_keystore::{CredentialError, CredentialSource as _, Unsealer};

const BINARY: &str = env!("CARGO_BIN_EXE_ca-keyholder");
const KEYHOLDER: u32 = 47_001;
const ANA: u32 = 47_002;
const WORKER: u32 = 47_003;
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a set of shares, and a keyholder over it.
struct Site {
    folder: tempfile::TempDir,
    pin: String,
    process: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.kill();
    }
}

fn as_user(uid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "--"]).arg(program);
    command
}

#[expect(clippy::disallowed_methods, reason = "a test's patience is real time")]
fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Site {
    /// Shares of ana, bela and cora, made by the command; the PIN is read from its pipe, as a program that sets it would.
    fn new() -> Self {
        assert!(rustix_uid() == 0, "this test needs root, to act as several users (hint: sudo -E cargo test)");
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        // Where the other users can run it. By another process: what this one has open to write may be a child's of another
        // test for a moment, and then it can't be executed (ETXTBSY).
        let copied = Command::new("install").args(["-m", "755", BINARY]).arg(folder.path().join("ca-keyholder")).status();
        assert!(copied.unwrap().success());
        let passphrases = folder.path().join("passphrases");
        fs::create_dir(&passphrases).unwrap();
        for holder in ["ana", "bela", "cora"] {
            let file = passphrases.join(holder);
            fs::write(&file, format!("the long passphrase of {holder}\n")).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        }
        let create = Command::new("sh")
            .arg("-c")
            .arg(r#""$0" credential create --for pkcs11-pin:token --holders ana,bela,cora --threshold 2 --out shares --passphrase-dir passphrases --hand-to /dev/fd/3 3>&1 >report"#)
            .arg(BINARY)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(create.status.success(), "{}", text(&create.stderr));
        let pin = text(&create.stdout).trim().to_owned();
        assert_eq!(pin.len(), 32, "{pin}");
        Self { folder, pin, process: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.path("run/keyholder.sock")
    }

    fn share(&self, holder: &str) -> PathBuf {
        self.path(&format!("shares/token.{holder}.share"))
    }

    /// Starts the keyholder as a user of its own.
    fn start(&mut self) {
        let text = format!(
            "socket = \"run/keyholder.sock\"\nofficers = [0, {ANA}]\naudit = \"state/audit.jsonl\"\n[[credential]]\nname = \"token\"\nunlock = \"attended\"\nset = \"token.set.json\"\ngive_to = [{WORKER}]\n"
        );
        fs::write(self.path("keyholder.toml"), text).unwrap();
        fs::copy(self.path("shares/token.set.json"), self.path("token.set.json")).unwrap();
        for name in ["run", "state"] {
            fs::create_dir_all(self.path(name)).unwrap();
            fs::set_permissions(self.path(name), Permissions::from_mode(0o755)).unwrap();
            chown(self.path(name), Some(KEYHOLDER), Some(KEYHOLDER)).unwrap();
        }
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        // Locking memory needs a limit that its unit raises, or this privilege.
        let mut command = Command::new("setpriv");
        command
            .args([&format!("--reuid={KEYHOLDER}"), &format!("--regid={KEYHOLDER}"), "--clear-groups"])
            .args(["--inh-caps=+ipc_lock", "--ambient-caps=+ipc_lock", "--"])
            .arg(self.path("ca-keyholder"))
            .args(["serve", "--keyholder-config"])
            .arg(self.path("keyholder.toml"));
        self.process = Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        wait_for("the keyholder", || {
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                panic!("it ended with {status}: {}", fs::read_to_string(self.path("log")).unwrap());
            }
            Keyholder::at(self.socket()).status().is_ok()
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn ask(&self, user: u32, arguments: &[&str]) -> Output {
        let mut command = as_user(user, self.path("ca-keyholder"));
        command.args(arguments).arg("--socket").arg(self.socket()).stdin(Stdio::null()).output().unwrap()
    }

    /// A holder's own call, with the share and the passphrase in files that only that user reads.
    fn unseal(&self, user: u32, holder: &str) -> Output {
        let mine = |from: &Path, name: String| {
            let to = self.path(&name);
            fs::copy(from, &to).unwrap();
            fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
            chown(&to, Some(user), Some(user)).unwrap();
            to.display().to_string()
        };
        let share = mine(&self.share(holder), format!("{user}.{holder}.share"));
        let passphrase = mine(&self.path("passphrases").join(holder), format!("{user}.{holder}.passphrase"));
        self.ask(user, &["unseal", &share, "--passphrase-file", &passphrase])
    }
}

fn rustix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid()
}

#[track_caller]
fn check(output: &Output, code: i32, expected: &str) {
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(
        output.status.code() == Some(code) && printed.contains(expected),
        "{:?}, not {code} with `{expected}`: {printed}",
        output.status
    );
}

/// Takes the credential as a process of this user would: there is no command for it.
fn take_as(site: &Site, user: u32) -> Output {
    // Who is turned away is told so unasked, and then nobody may be there to be asked.
    let script = r#"use IO::Socket::UNIX; $| = 1; $SIG{PIPE} = "IGNORE";
my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM(), Peer => $ARGV[0]) or die "connect: $!";
$s->send(qq({"ask":"take","credential":"token"}\n)); print <$s>;"#;
    as_user(user, "perl").args(["-MSocket", "-e", script]).arg(site.socket()).output().unwrap()
}

#[test]
fn holders_unseal_each_with_their_own_share_and_it_survives_whoever_asks() {
    let mut site = Site::new();
    site.start();
    check(&site.ask(ANA, &["unseal", "--status"]), 0, "token (pkcs11-pin, attended): sealed, 0 of 2 shares");
    check(&site.unseal(ANA, "ana"), 0, "The share of ana is good. `token` needs 1 more.");
    check(&site.ask(0, &["unseal", "--status"]), 0, "ana gave a share at");
    check(&take_as(&site, WORKER), 0, "\"why\":\"sealed\"");
    check(&site.unseal(ANA, "ana"), 4, "`ana` has given a share already; one person counts once");
    check(&site.unseal(WORKER, "bela"), 4, "may not give shares");
    check(&site.unseal(0, "cora"), 0, "`token` is unsealed: the share of cora was the last one needed.");

    let expected = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &site.pin);
    for _ in 0..3 {
        check(&take_as(&site, WORKER), 0, &expected);
    }
    for user in [0, ANA, KEYHOLDER] {
        check(&take_as(&site, user), 0, "\"why\":\"denied\"");
    }
    check(&take_as(&site, 47_999), 0, "has no business with this keyholder");
    check(&site.ask(WORKER, &["seal"]), 4, "may not seal");
    check(&site.ask(ANA, &["seal"]), 0, "`token` is sealed.");
    check(&take_as(&site, WORKER), 0, "\"why\":\"sealed\"");

    let audit = fs::read_to_string(site.path("state/audit.jsonl")).unwrap();
    for (event, uid) in [("share-accepted", ANA), ("share-refused", ANA), ("denied", WORKER), ("given", WORKER), ("sealed", ANA)] {
        let found = audit.lines().any(|l| l.contains(&format!("\"event\":\"{event}\"")) && l.contains(&format!("\"uid\":{uid}")));
        assert!(found, "no {event} of {uid} in {audit}");
    }
    // A restart forgets everything, and takes the place of the dead one's socket.
    site.kill();
    assert!(matches!(Keyholder::at(site.socket()).status(), Err(KeyholderError::Away { .. })));
    site.start();
    check(&site.ask(0, &["unseal", "--status"]), 0, "sealed, 0 of 2 shares");
}

#[test]
fn ceremony_15_no_core_dump_no_swap_and_no_secret_to_be_seen() {
    let mut site = Site::new();
    site.start();
    check(&site.unseal(ANA, "ana"), 0, "1 more");
    check(&site.unseal(0, "bela"), 0, "unsealed");
    check(&take_as(&site, WORKER), 0, "credential");
    let process = site.process.as_ref().unwrap().id();
    let proc = |name: &str| fs::read(format!("/proc/{process}/{name}")).unwrap();
    let limits = text(&proc("limits"));
    let cores = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{cores}");
    let status = text(&proc("status"));
    let locked: u64 = status.lines().find_map(|l| l.strip_prefix("VmLck:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    let resident: u64 = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!(locked >= resident && resident > 0, "{locked} kB of {resident} kB are locked");
    // Its own user may not look into it: the kernel gives the files of a process that is not dumpable to root.
    let peek = as_user(KEYHOLDER, "head").arg("-c1").arg(format!("/proc/{process}/environ")).output().unwrap();
    assert!(!peek.status.success(), "the keyholder's user could read its environment");

    // Canaries: the PIN, and what the shares have, in every form that it crosses something in.
    let mut canaries = vec![site.pin.clone(), base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &site.pin)];
    for holder in ["ana", "bela", "cora"] {
        let passphrase = Unsealer::passphrase_from_file(site.path("passphrases").join(holder)).unwrap();
        let share = ShareFile::read(&site.share(holder)).unwrap().open(&passphrase).unwrap();
        canaries.push(serde_json::to_value(&share).unwrap()["secret"].as_str().unwrap().to_owned());
        canaries.push(format!("the long passphrase of {holder}"));
    }
    let mut seen =
        vec![proc("cmdline"), proc("environ"), fs::read(site.path("log")).unwrap(), fs::read(site.path("state/audit.jsonl")).unwrap()];
    seen.extend([fs::read(site.path("report")).unwrap(), fs::read(site.path("token.set.json")).unwrap()]);
    for bytes in seen {
        let shown = text(&bytes);
        assert!(!shown.is_empty() || bytes.is_empty());
        canaries.iter().for_each(|canary| assert!(!shown.contains(canary), "a canary is in: {shown}"));
    }
}

#[test]
fn a_socket_of_somebody_else_gets_no_share() {
    let site = Site::new();
    let folder = site.path("fake");
    fs::create_dir(&folder).unwrap();
    let listener = UnixListener::bind(folder.join("keyholder.sock")).unwrap();
    let name = "token".parse().unwrap();
    let refused = |expected: &str| {
        let error = Keyholder::at(folder.join("keyholder.sock")).take(&name).unwrap_err();
        assert!(matches!(error, KeyholderError::Untrusted { .. }) && error.to_string().contains(expected), "{error}");
    };
    fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
    refused("others may change its folder");
    drop(listener);
    fs::remove_file(folder.join("keyholder.sock")).unwrap();
    // A folder of one user, a listener of another: it is refused before a byte is sent.
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    chown(&folder, Some(WORKER), Some(WORKER)).unwrap();
    let script = r#"use IO::Socket::UNIX;
my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM(), Local => $ARGV[0], Listen => 1) or die "listen: $!";
my $c = $s->accept(); my $got; $c->recv($got, 10); print "heard <$got>";"#;
    let other =
        as_user(WORKER, "perl").args(["-MSocket", "-e", script]).arg(folder.join("keyholder.sock")).stdout(Stdio::piped()).spawn().unwrap();
    wait_for("the other listener", || folder.join("keyholder.sock").exists());
    chown(&folder, Some(ANA), Some(ANA)).unwrap();
    let mut told = String::new();
    wait_for("it to listen", || {
        let error = Keyholder::at(folder.join("keyholder.sock")).take(&name).unwrap_err();
        told = error.to_string();
        matches!(error, KeyholderError::Untrusted { .. })
    });
    assert!(told.contains(&format!("user {WORKER} answers there, and its folder belongs to user {ANA}")), "{told}");
    assert_eq!(text(&other.wait_with_output().unwrap().stdout), "heard <>");
}

#[test]
fn what_is_wrong_at_the_start_is_named() {
    let mut site = Site::new();
    site.start();
    let start = |site: &Site| Command::new(BINARY).args(["serve", "--keyholder-config"]).arg(site.path("keyholder.toml")).output().unwrap();
    // Root is not the folder's owner; and the owner finds the live one.
    check(&start(&site), 3, "the socket's folder must belong to this user");
    chown(site.path("run"), Some(0), Some(0)).unwrap();
    check(&start(&site), 3, "another keyholder answers there");
    site.kill();
    fs::write(site.path("token.set.json"), "{}").unwrap();
    check(&start(&site), 3, "its description does not parse");
    let limited = Command::new("sh")
        .args(["-c", r#"ulimit -l 0; exec setpriv --reuid=47001 --clear-groups -- "$@""#, "sh"])
        .arg(site.path("ca-keyholder"))
        .args(["serve", "--keyholder-config"])
        .arg(site.path("keyholder.toml"))
        .output()
        .unwrap();
    check(&limited, 1, "memory can't be kept out of swap (hint: LimitMEMLOCK=infinity");
    check(&Command::new(BINARY).args(["serve", "--keyholder-config", "/nonexistent"]).output().unwrap(), 1, "/nonexistent");
}

#[test]
fn a_credential_is_not_written_to_a_disk_nor_under_a_short_passphrase() {
    let site = Site::new();
    fs::write(site.path("disk"), "").unwrap();
    let create = |extra: &[&str]| {
        let mut command = Command::new(BINARY);
        command.current_dir(site.folder.path()).args(["credential", "create", "--for", "pkcs11-pin:other", "--holders", "ana,bela"]);
        command.args(["--threshold", "2", "--out", "other", "--passphrase-dir", "passphrases"]).args(extra).output().unwrap()
    };
    check(&create(&["--hand-to", "disk"]), 2, "a credential is never written there");
    fs::write(site.path("passphrases/bela"), "short\n").unwrap();
    check(&create(&[]), 1, "the passphrase of `bela`: it has fewer than 12 characters");
    assert!(!site.path("other").exists(), "nothing was made");
}

#[test]
fn a_source_tells_what_may_come_from_what_will_not() {
    let mut site = Site::new();
    let source = Keyholder::at(site.socket());
    assert!(matches!(source.credential("token"), Err(CredentialError::Unavailable(e)) if e.contains("does not answer")));
    site.start();
    assert!(matches!(source.credential("token"), Err(CredentialError::Wrong(e)) if e.contains("user 0 may not have")), "root is not named");
    assert!(matches!(source.credential("other"), Err(CredentialError::Wrong(e)) if e.contains("no credential `other`")));
    assert!(matches!(source.credential("../x"), Err(CredentialError::Wrong(_))));
    assert!(matches!(source.seal(None), Ok(names) if names.is_empty()));
    assert!(matches!(source.seal(Some("other".parse().unwrap())), Err(KeyholderError::Refused { why: Refusal::Unknown, .. })));
}

#[test]
fn shares_are_verified_and_dealt_again_by_command() {
    let site = Site::new();
    for holder in ["dina", "ewa"] {
        let file = site.path("passphrases").join(holder);
        fs::write(&file, format!("the long passphrase of {holder}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    let run = |arguments: &str| {
        let script = format!("\"$0\" credential {arguments} 3>&1");
        Command::new("sh").args(["-c", &script]).arg(BINARY).current_dir(site.folder.path()).output().unwrap()
    };
    let set = "shares/token.set.json";
    check(&run(&format!("verify {set}")), 0, "`token` (pkcs11-pin): 2 of ana, bela, cora open it");
    let one = run(&format!("verify {set} shares/token.ana.share --passphrase-dir passphrases"));
    check(&one, 0, "the share of ana is good");
    assert!(!text(&one.stdout).contains("together"), "{one:?}");
    let both = format!("{set} shares/token.ana.share shares/token.cora.share");
    check(&run(&format!("verify {both} --passphrase-dir passphrases")), 0, "together they give the credential that was dealt");
    check(&run(&format!("verify {both} --passphrase-dir passphrases --json")), 0, "\"recombined\": true");

    let to = "--holders bela,dina,ewa --threshold 2 --passphrase-dir passphrases --old-passphrase-dir passphrases";
    let few = format!("reshare {set} shares/token.ana.share {to} --out none");
    check(&run(&few), 4, "needs 2 shares and has 1, of ana: 1 more (hint: any of bela, cora)");
    check(&run(&format!("reshare {both} {to} --out again")), 0, "The old shares still open it: destroy them");
    let again = "again/token.set.json again/token.dina.share again/token.ewa.share";
    check(&run(&format!("verify {again} --passphrase-dir passphrases")), 0, "together they give");
    let stale = run("verify again/token.set.json shares/token.bela.share --passphrase-dir passphrases");
    check(&stale, 4, "the share of `bela` is of another set");

    check(&run(&format!("reshare {both} {to} --out third --rotate")), 2, "--rotate needs --reseal or --hand-to");
    let rotated = run(&format!("reshare {both} {to} --out third --rotate --hand-to /dev/fd/3"));
    check(&rotated, 0, "The old shares open nothing any more");
    let handed: Vec<String> = text(&rotated.stdout).lines().take(2).map(str::to_owned).collect();
    assert_eq!(handed[0], site.pin, "first the one that the device has");
    assert!(handed[1].len() == 32 && handed[1] != site.pin, "then the one that it gets");
    let alone = run("create --for pkcs11-pin:x --holders ana,bela --threshold 1 --out x --passphrase-dir passphrases");
    check(&alone, 2, "1 is not in 2..=16");
}
