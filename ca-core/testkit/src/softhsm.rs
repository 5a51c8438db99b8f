//! Real SoftHSM2 tokens for tests, each set in a folder of its own.
//!
//! SoftHSM reads `$SOFTHSM2_CONF` when it is initialized, once for a process, and an environment variable can only be
//! set for a child. So [`isolated`] runs a test's body in a process of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The PIN of every token's user.
pub const PIN: &str = "canary-pin-7391";
/// The PIN of every token's security officer.
pub const SO_PIN: &str = "canary-so-pin-5120";

const CONF: &str = "SOFTHSM2_CONF";
const CHILD: &str = "COUNTERSIGN_TEST_IN_SOFTHSM";
/// Where Debian, Ubuntu, Fedora and Homebrew put it.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];

/// A set of tokens.
pub struct SoftHsm {
    folder: PathBuf,
    /// Removes the folder at the end; none in the process that only uses it.
    _owned: Option<TempDir>,
}

impl SoftHsm {
    /// An empty set in a new folder.
    ///
    /// # Panics
    /// When SoftHSM2 is not installed.
    pub fn new() -> Self {
        let owned = tempfile::tempdir().expect("a temporary folder");
        let hsm = Self { folder: owned.path().to_owned(), _owned: Some(owned) };
        fs::create_dir(hsm.tokens()).expect("a folder for tokens");
        let text = format!("directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n", hsm.tokens().display());
        fs::write(hsm.conf(), text).expect("a configuration");
        assert!(module().is_file());
        hsm
    }

    /// The set that this process was started in by [`isolated`].
    ///
    /// # Panics
    /// Elsewhere.
    pub fn current() -> Self {
        let conf = std::env::var_os(CONF).expect("isolated() started this process");
        Self { folder: Path::new(&conf).parent().expect("the configuration lies in the folder").to_owned(), _owned: None }
    }

    /// Its folder, for a test's other files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that the tokens are in.
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    /// The configuration file, for `$SOFTHSM2_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }

    /// The environment variable that names the set to a program.
    pub fn environment(&self) -> (&'static str, PathBuf) {
        (CONF, self.conf())
    }

    /// Makes a token with [`PIN`] and [`SO_PIN`], and gives its serial number.
    ///
    /// # Panics
    /// When `softhsm2-util` fails.
    pub fn add_token(&self, label: &str) -> String {
        let before = self.serials();
        let mut command = Command::new("softhsm2-util");
        command.args(["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN]).env(CONF, self.conf());
        let output = run(&mut command);
        assert!(output.status.success(), "softhsm2-util: {}", String::from_utf8_lossy(&output.stderr));
        self.serials().into_iter().find(|s| !before.contains(s)).expect("a new token has a new serial number")
    }

    fn serials(&self) -> Vec<String> {
        let output = run(Command::new("softhsm2-util").arg("--show-slots").env(CONF, self.conf()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let serials = text.lines().filter_map(|l| l.trim().strip_prefix("Serial number:")).map(|s| s.trim().to_owned());
        serials.filter(|s| !s.is_empty()).collect()
    }

    /// Runs OpenSC's `pkcs11-tool` on a token as its user.
    ///
    /// # Panics
    /// When it is not installed, or fails.
    pub fn pkcs11_tool(&self, token: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("pkcs11-tool");
        command.arg("--module").arg(module()).args(["--token-label", token, "--login", "--pin", PIN]).args(arguments);
        let output = run(command.env(CONF, self.conf()));
        assert!(output.status.success(), "pkcs11-tool {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A private file (0600) with [`PIN`].
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn pin_file(&self) -> PathBuf {
        self.secret_file("pin", PIN)
    }

    /// A private file (0600) of that name with `secret`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn secret_file(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, format!("{secret}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("made private");
        path
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}

fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("`{program}` does not run: {e} (hint: apt-get install softhsm2 opensc)"))
}

/// SoftHSM's module.
///
/// # Panics
/// When it is not installed.
pub fn module() -> PathBuf {
    let found = MODULES.iter().map(PathBuf::from).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("SoftHSM2 is not installed (hint: apt-get install softhsm2 opensc)"))
}

/// Runs `body` in a process of its own, with a set of tokens of these labels. `name` is the test's whole name, as
/// the harness prints it.
///
/// # Panics
/// When the body does.
pub fn isolated(name: &str, tokens: &[&str], body: impl FnOnce(&SoftHsm)) {
    if std::env::var_os(CHILD).is_some_and(|running| running == *name) {
        body(&SoftHsm::current());
        return;
    }
    let hsm = SoftHsm::new();
    for label in tokens {
        hsm.add_token(label);
    }
    let mut child = Command::new(std::env::current_exe().expect("a test binary"));
    child.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(CHILD, name).env(CONF, hsm.conf());
    let output = run(&mut child);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed in its process ({}):\n{out}\n{err}", output.status);
    assert!(out.contains("1 passed"), "no test is called {name}:\n{out}");
}

/// The security officers put the same trusted wrapping key on each token of this process. SoftHSM takes CKA_TRUSTED only
/// when the key is made, and only from the security officer, who sees no private object. Call it before a store is open.
///
/// # Panics
/// When a token refuses.
#[cfg(feature = "pkcs11")]
pub fn share_wrapping_key(tokens: &[&str], name: &str) {
    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::object::{Attribute, KeyType, ObjectClass};
    use cryptoki::session::UserType;
    use cryptoki::types::AuthPin;

    let context = Pkcs11::new(module()).expect("SoftHSM's module loads");
    // A store may have been first.
    let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    for token in tokens {
        let slots = context.get_slots_with_token().expect("slots");
        let is = |slot: &cryptoki::slot::Slot| context.get_token_info(*slot).is_ok_and(|i| i.label() == *token);
        let session = context.open_rw_session(slots.into_iter().find(is).expect("the token is there")).expect("a session");
        session.login(UserType::So, Some(&AuthPin::new(SO_PIN.into()))).expect("the security officer logs in");
        let key = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Trusted(true),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Encrypt(false),
            Attribute::Decrypt(false),
            Attribute::Label(name.as_bytes().to_vec()),
            Attribute::Value(vec![0x5c; 32]),
        ];
        session.create_object(&key).expect("the token takes the key");
        session.logout().expect("the security officer logs out");
    }
    context.finalize().expect("the module ends");
}
