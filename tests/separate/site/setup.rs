//! A rehearsed CA, each part of which has what is its own.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Front, Site, User};
use crate::harness::{expect_success, free_port, read_facts, succeeds, wait_for};

/// The front ends as they are deployed: built by themselves, without the code that holds authority keys.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let ca = Path::new(env!("CARGO_BIN_EXE_ca"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args([
            "build",
            "--offline",
            "--locked",
            "-p",
            "acme-server",
            "-p",
            "ocsp-responder",
            "--bins",
        ]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        // Where this test's own binary was built.
        let folder = ca.parent().expect("a binary lies in a folder");
        cargo.env("CARGO_TARGET_DIR", folder.parent().expect("target/debug"));
        expect_success("cargo build", &cargo.output().expect("cargo runs"));
        folder.to_owned()
    })
}

impl Site {
    /// A rehearsed CA, nothing of which runs.
    pub(crate) fn prepared() -> Self {
        let port = free_port();
        Self::prepared_with(port, vec![Front::of(User::Acme, port)])
    }

    /// The same with these ACME servers, under a URL with this port.
    pub(super) fn prepared_with(acme_port: u16, fronts: Vec<Front>) -> Self {
        assert!(
            succeeds(Command::new("sh").args(["-c", "test $(id -u) = 0 && command -v setpriv"])),
            "this test runs processes as other users: run it as root, with setpriv (package util-linux)"
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut site =
            Self { folder, acme_port, fronts, status_port: free_port(), facts: BTreeMap::new(), processes: BTreeMap::new(), parent: None };
        for (name, mode) in [("bin", 0o755), ("public", 0o755), ("logs", 0o755), ("run", 0o755)] {
            site.make_folder(name, mode, None);
        }
        for user in [User::Worker, User::Acme, User::Replica, User::Gateway, User::Responder, User::Stranger] {
            site.make_folder(user.folder(), 0o700, Some(user));
        }
        chown(site.path("run"), Some(User::Worker.uid()), Some(User::Worker.uid())).unwrap();
        let built = binaries();
        for (name, from) in [
            ("ca", PathBuf::from(env!("CARGO_BIN_EXE_ca"))),
            ("acme-server", built.join("acme-server")),
            ("ocsp-responder", built.join("ocsp-responder")),
        ] {
            // By another process: what this one has open to write may be a child's of another test for a moment, and then it
            // can't be executed (ETXTBSY).
            assert!(succeeds(Command::new("install").args(["-m", "755"]).arg(from).arg(site.path("bin").join(name))));
        }
        site.rehearse();
        site
    }

    fn make_folder(&self, name: &str, mode: u32, owner: Option<User>) {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        if let Some(user) = owner {
            chown(&path, Some(user.uid()), Some(user.uid())).unwrap();
        }
    }

    /// Makes the services' keys with their own commands and the CA with the demonstration, all as the worker's user;
    /// then gives each service what is its own.
    fn rehearse(&mut self) {
        let service = self.path("worker/var/keys/service");
        self.write(
            "acme/setup.toml",
            &self.acme_toml(&self.fronts[0], &service.join("server.sealed"), &self.path("worker/var/keys/service.key")),
            User::Worker,
        );
        self.write(
            "ocsp/setup.toml",
            &self.ocsp_toml(&service.join("ocsp.sealed"), &self.path("worker/var/keys/service.key")),
            User::Worker,
        );
        for (program, config) in [("acme-server", "acme/setup.toml"), ("ocsp-responder", "ocsp/setup.toml")] {
            let readable = self.path("public/setup.toml");
            std::fs::copy(self.path(config), &readable).unwrap();
            chown(&readable, Some(User::Worker.uid()), None).unwrap();
            let made = User::Worker.command(self.path("bin").join(program)).arg("--config").arg(&readable).arg("keys").output().unwrap();
            assert!(expect_success(program, &made).contains("key_sha256"), "{made:?}");
            std::fs::remove_file(readable).unwrap();
        }
        let log = std::fs::File::create(self.path("logs/demo.log")).unwrap();
        let mut demo = User::Worker
            .command(self.path("bin/ca"))
            .arg("demo")
            .arg("--dir")
            .arg(self.path("worker/var"))
            .args(["--acme-port", &self.acme_port.to_string(), "--status-port", &self.status_port.to_string()])
            .current_dir(self.path("worker"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let env = self.path("worker/var/demo.env");
        wait_for("the rehearsal", || {
            assert!(demo.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(self.path("logs/demo.log")).unwrap());
            env.exists()
        });
        assert!(succeeds(Command::new("kill").args(["-TERM", &demo.id().to_string()])));
        assert!(demo.wait().unwrap().success());
        self.facts = read_facts(&env);

        for (name, user) in [("server", User::Acme), ("ocsp", User::Responder)] {
            self.give(&service.join(format!("{name}.sealed")), &format!("{}/{name}.sealed", user.folder()), user);
            std::fs::copy(self.path("worker/var/keys/service.key"), self.path(&format!("{}/service.key", user.folder()))).unwrap();
            chown(self.path(&format!("{}/service.key", user.folder())), Some(user.uid()), Some(user.uid())).unwrap();
            std::fs::rename(service.join(format!("{name}.pub")), self.path(&format!("public/{name}.pub"))).unwrap();
        }
        for front in &self.fronts {
            let acme = self.acme_toml(front, Path::new("server.sealed"), Path::new("service.key")) + &self.replicas_toml(front);
            self.write(&format!("{}/acme.toml", front.user.folder()), &acme, front.user);
        }
        let ocsp = self.ocsp_toml(Path::new("ocsp.sealed"), Path::new("service.key"));
        self.write("ocsp/ocsp.toml", &ocsp, User::Responder);
        self.equip_replica();
        let worker = self.worker_toml();
        self.write("worker/var/worker.toml", &worker, User::Worker);
    }

    fn give(&self, from: &Path, to: &str, user: User) {
        std::fs::rename(from, self.path(to)).unwrap();
        chown(self.path(to), Some(user.uid()), Some(user.uid())).unwrap();
    }

    pub(crate) fn write(&self, name: &str, text: &str, owner: User) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.uid())).unwrap();
    }

    /// The demonstration's own file, less what is now others', and with the store's socket.
    fn worker_toml(&self) -> String {
        let text = std::fs::read_to_string(self.path("worker/var/ca.toml")).unwrap();
        let mut config: toml::Table = toml::from_str(&text).unwrap();
        let mut section = |name: &str| config[name].as_table_mut().unwrap().clone();
        let (mut store, mut keys, mut acme, mut status, mut control) =
            (section("store"), section("service_keys"), section("acme"), section("status"), section("control"));
        let socket: toml::Table = toml::from_str(&format!(
            "path = {:?}\nacme = {:?}\nresponder = [{}]\n",
            self.store_socket(),
            self.fronts.iter().map(|front| front.seen_as.uid()).collect::<Vec<_>>(),
            User::Responder.uid()
        ))
        .unwrap();
        store.insert("socket".to_owned(), socket.into());
        keys.remove("server");
        keys.remove("ocsp");
        let more = (self.fronts.len() > 1).then_some("server-2");
        let public: Vec<toml::Value> = ["server", "ocsp"]
            .iter()
            .chain(&more)
            .map(|name| self.path(&format!("public/{name}.pub")).display().to_string().into())
            .collect();
        keys.insert("public".to_owned(), public.into());
        acme.remove("listen");
        status.remove("listen");
        let serve: toml::Table = toml::from_str(&format!(
            "acme = {{ user = {}, config = {:?} }}\nresponder = {{ user = {}, config = {:?} }}\n",
            User::Acme.uid(),
            self.path("acme/acme.toml"),
            User::Responder.uid(),
            self.path("ocsp/ocsp.toml")
        ))
        .unwrap();
        control.insert("socket".to_owned(), self.path("run/ca.sock").display().to_string().into());
        let sections =
            [("store", store), ("service_keys", keys), ("acme", acme), ("status", status), ("control", control), ("serve", serve)];
        config.extend(sections.map(|(name, table)| (name.to_owned(), toml::Value::from(table))));
        config.to_string()
    }

    fn acme_toml(&self, front: &Front, key: &Path, secret: &Path) -> String {
        format!(
            "[store]\nsocket = {:?}\n[acme]\nlisten = [\"127.0.0.1:{port}\"]\nurl = \"https://localhost:{}\"\n[key]\nfile = {key:?}\nunseal = {{ key_file = {secret:?} }}\n",
            self.path(front.store),
            self.acme_port,
            port = front.port,
        )
    }

    pub(crate) fn ocsp_toml(&self, key: &Path, secret: &Path) -> String {
        format!(
            "[store]\nsocket = {:?}\n[status]\nlisten = [\"127.0.0.1:{}\"]\n[keys]\nunseal = {{ key_file = {secret:?} }}\n[keys.ocsp]\ndemo = {key:?}\n",
            self.store_socket(),
            self.status_port,
        )
    }
}
