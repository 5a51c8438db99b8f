//! The parts as processes: started, watched, killed and stopped.

use std::process::{Command, Stdio};

use super::{Front, Site, User};
use crate::harness::{succeeds, wait_for};

impl Site {
    pub(crate) fn start() -> Self {
        let mut site = Self::prepared();
        for user in [User::Acme, User::Responder, User::Worker] {
            // The worker last: the others wait for it.
            site.launch(user);
        }
        site.wait_until_ready();
        site
    }

    /// The same, with the three processes started by `ca serve` as root.
    pub(crate) fn start_supervised() -> Self {
        let mut site = Self::prepared();
        site.serve(&["--worker-user", &User::Worker.uid().to_string()]);
        site.wait_until_ready();
        site
    }

    /// `ca serve`, as whoever runs this test.
    pub(crate) fn serve_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/ca"));
        command.arg("--config").arg(self.path("worker/var/worker.toml")).arg("serve").args(arguments).stdin(Stdio::null());
        command
    }

    /// Starts the three processes as children of one.
    pub(crate) fn serve(&mut self, arguments: &[&str]) {
        // The children write to the same file.
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(User::Worker)).unwrap();
        let child = self.serve_command(arguments).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        assert!(self.parent.replace(child).is_none(), "it runs already");
    }

    /// SIGKILL to the parent alone; gives the processes that it had.
    pub(crate) fn kill_parent(&mut self) -> Vec<u32> {
        let children = [User::Worker, User::Acme, User::Responder].map(|user| self.pid(user));
        let mut parent = self.parent.take().unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        children.into()
    }

    /// `acme-server` with this user's configuration.
    pub(super) fn acme_server(&self, user: User) -> Command {
        let mut command = user.command(self.path("bin/acme-server"));
        command.arg("--config").arg(self.path(user.folder()).join("acme.toml"));
        command
    }

    /// Starts a user's process.
    pub(crate) fn launch(&mut self, user: User) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path(user)).unwrap();
        let mut command = match user {
            User::Worker => {
                let mut command = user.command(self.path("bin/ca"));
                command.arg("--config").arg(self.path("worker/var/worker.toml")).arg("worker");
                command
            }
            User::Acme | User::Replica => self.acme_server(user),
            User::Responder => {
                let mut command = user.command(self.path("bin/ocsp-responder"));
                command.arg("--config").arg(self.path("ocsp/ocsp.toml"));
                command
            }
            User::Gateway | User::Stranger => unreachable!("it runs nothing of ours"),
        };
        let child = command.current_dir(self.path(user.folder())).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        assert!(self.processes.insert(user, child).is_none(), "it runs already");
    }

    pub(crate) fn wait_until_ready(&mut self) {
        let ready = format!("http://127.0.0.1:{}/readyz", self.status_port);
        let is_there = |front: &&Front| self.parent.is_some() || self.processes.contains_key(&front.user);
        let ports = self.fronts.iter().filter(is_there).map(|front| front.port);
        let directories: Vec<_> = ports.map(|port| format!("https://localhost:{port}/acme/directory")).collect();
        wait_for("all processes to be ready", || {
            for (user, child) in &mut self.processes {
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("the process of {user:?} ended with {status}");
                }
            }
            if let Some(status) = self.parent.as_mut().and_then(|parent| parent.try_wait().unwrap()) {
                panic!("ca serve ended with {status}");
            }
            succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &ready]))
                && directories.iter().all(|url| succeeds(Command::new("curl").args(["-skf", "-o", "/dev/null", url])))
        });
    }

    /// SIGKILL, as a power cut would.
    pub(crate) fn kill(&mut self, user: User) {
        let mut child = self.processes.remove(&user).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM to all; each stops cleanly.
    pub(crate) fn stop(mut self) {
        if let Some(mut parent) = self.parent.take() {
            let children = [User::Worker, User::Acme, User::Responder].map(|user| child_of(parent.id(), user).expect("it runs"));
            assert!(succeeds(Command::new("kill").args(["-TERM", &parent.id().to_string()])));
            let status = parent.wait().unwrap();
            assert!(status.success(), "ca serve stopped with {status}:\n{}", self.log(User::Worker));
            assert!(children.iter().all(|pid| !is_alive(*pid)), "its children are gone with it");
        }
        for (user, mut child) in std::mem::take(&mut self.processes) {
            assert!(succeeds(Command::new("kill").args(["-TERM", &child.id().to_string()])));
            let status = child.wait().unwrap();
            assert!(status.success(), "{user:?} stopped with {status}:\n{}", self.log(user));
        }
    }

    pub(crate) fn pid(&self, user: User) -> u32 {
        match &self.parent {
            Some(parent) => child_of(parent.id(), user).unwrap_or_else(|| panic!("no process of {user:?}")),
            None => self.processes[&user].id(),
        }
    }

    pub(crate) fn parent_pid(&self) -> u32 {
        self.parent.as_ref().expect("ca serve runs").id()
    }
}

/// A child of `parent` that is the user's by now.
pub(crate) fn child_of(parent: u32, user: User) -> Option<u32> {
    let field = |status: &str, name: &str| {
        let line = status.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let is_it = field(&status, "PPid:") == Some(parent) && field(&status, "Uid:") == Some(user.uid());
        (is_it && !status.contains("State:\tZ")).then_some(pid)
    })
}

pub(crate) fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in self.processes.values_mut().chain(&mut self.parent) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for user in [User::Worker, User::Acme, User::Replica, User::Responder] {
                let log = self.log(user);
                eprintln!("--- the last lines of {user:?} ---");
                let tail: Vec<_> = log.lines().rev().take(25).collect();
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}
