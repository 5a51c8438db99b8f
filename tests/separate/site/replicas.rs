//! Two ACME servers under one URL, as replicas of each other, and the proxies that they need.

use std::os::unix::fs::chown;
use std::process::{Child, Command, Stdio};

use super::{Front, Site, User};
use crate::harness::{expect_success, free_port, succeeds, wait_for};
use crate::wire::Wire;

impl Site {
    /// A site with two ACME servers. Clients reach each by [`Self::wire`], and both by [`Self::balancer`].
    pub(crate) fn start_replicated() -> Self {
        let mut site = Self::prepared_with(free_port(), vec![Front::of(User::Acme, free_port()), Front::of(User::Replica, free_port())]);
        site.start_both();
        site
    }

    /// The same with the second as on another machine: it reaches the store over TCP and TLS,
    /// through a proxy at each end; with the port between them.
    pub(crate) fn start_replicated_apart() -> (Self, u16, [Proxy; 2]) {
        let apart = Front { seen_as: User::Gateway, store: "acme-2/store.sock", ..Front::of(User::Replica, free_port()) };
        let mut site = Self::prepared_with(free_port(), vec![Front::of(User::Acme, free_port()), apart]);
        let port = free_port();
        site.pin_ends();
        let ends = [site.store_to_tcp(port), site.tcp_to_store(port)];
        site.start_both();
        (site, port, ends)
    }

    fn start_both(&mut self) {
        self.launch(User::Worker);
        wait_for("the worker to be there", || self.ca(&["status"]).status.success());
        self.pin_replica();
        for user in [User::Acme, User::Replica, User::Responder] {
            self.launch(user);
        }
        self.wait_until_ready();
    }

    /// Makes each end's certificate and key by the page's command, and gives it the other's certificate.
    fn pin_ends(&self) {
        let page = page();
        let command = page.split('`').find(|code| code.starts_with("openssl req")).expect("the page has the command");
        for (end, user, other) in [("worker", User::Gateway, User::Replica), ("replica-2", User::Replica, User::Gateway)] {
            let folder = self.path(user.folder());
            let made = Command::new("sh").args(["-euc", command]).current_dir(&folder).output();
            expect_success("openssl req", &made.expect("sh runs openssl (package openssl)"));
            let [certificate, key] = ["end.crt", "end.key"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
            std::fs::remove_file(folder.join("end.key")).unwrap();
            self.write(&format!("{}/{end}.pem", user.folder()), &format!("{certificate}{key}"), user);
            self.write(&format!("{}/{end}.crt", other.folder()), &certificate, other);
        }
    }

    /// The end on the worker's machine: who comes with the replica's certificate reaches the store socket.
    pub(crate) fn store_to_tcp(&self, port: u16) -> Proxy {
        let gateway = User::Gateway;
        let own = [
            ("user countersign-acme-2\n", format!("uid {}\n", gateway.uid())),
            ("group countersign-acme-2\n", format!("gid {}\n", gateway.uid())),
            ("10.20.0.10:14200", format!("127.0.0.1:{port}")),
            ("/etc/haproxy-store/", self.path("gateway/").display().to_string()),
            ("/run/countersign/store.sock", self.store_socket().display().to_string()),
        ];
        Proxy::start_as_printed(self, gateway, "# on the worker's machine", &own)
    }

    /// The end on the replica's machine: a store socket for its user alone.
    fn tcp_to_store(&self, port: u16) -> Proxy {
        let replica = User::Replica;
        let own = [
            ("user countersign-acme mode", format!("uid {} mode", replica.uid())),
            ("10.20.0.10:14200", format!("127.0.0.1:{port}")),
            ("/etc/haproxy-store/", self.path("acme-2/").display().to_string()),
            ("/run/countersign-acme/store.sock", self.path("acme-2/store.sock").display().to_string()),
        ];
        Proxy::start_as_printed(self, replica, "# on the replica's machine", &own)
    }

    /// `[replicas]` of this one, where there are several.
    pub(super) fn replicas_toml(&self, this: &Front) -> String {
        if self.fronts.len() < 2 {
            return String::new();
        }
        let numbered = || (1..).zip(&self.fronts);
        let own = numbered().find(|(_, front)| front.user == this.user).map(|(number, _)| number).unwrap();
        let mut text = format!("[replicas]\nnumber = {own}\nlisten = [\"127.0.0.1:{}\"]\nkey = \"replicas.key\"\n", this.for_replicas);
        for (number, peer) in numbered().filter(|(number, _)| *number != own) {
            text += &format!("[[replicas.peer]]\nnumber = {number}\naddress = \"127.0.0.1:{}\"\n", peer.for_replicas);
        }
        // Few enough to be met, and nothing that orders spend.
        text + "[acme.limits]\nrevocations = { account = \"1/1h\" }\n"
    }

    /// The second one's TLS key, and the shared key, which the first makes.
    pub(super) fn equip_replica(&self) {
        let Some(front) = self.fronts.get(1) else { return };
        let folder = self.path(front.user.folder());
        self.keys(User::Acme);
        let shared = folder.join("replicas.key");
        std::fs::copy(self.path("acme/replicas.key"), &shared).unwrap();
        chown(&shared, Some(front.user.uid()), Some(front.user.uid())).unwrap();
        self.keys(front.user);
        std::fs::copy(folder.join("server.pub"), self.path("public/server-2.pub")).unwrap();
    }

    /// What `acme-server keys` prints.
    fn keys(&self, user: User) -> String {
        expect_success("acme-server keys", &self.acme_server(user).arg("keys").output().unwrap())
    }

    /// Has the officers pin the second one's TLS key in the policy.
    fn pin_replica(&self) {
        let printed = self.keys(User::Replica);
        let digest = printed.split('"').nth(1).expect("a digest").to_owned();
        let mut policy: toml::Table = expect_success("ca policy show", &self.ca(&["policy", "show"])).parse().unwrap();
        policy["version"] = 2.into();
        for authority in policy["authority"].as_array_mut().unwrap() {
            let own = authority["own"].as_array_mut().unwrap();
            let mut second = own.iter().find(|own| own["shape"].as_str() == Some("server")).expect("the first's").clone();
            second["name"] = "server-2".into();
            second["key_sha256"] = digest.clone().into();
            own.push(second);
        }
        self.write("worker/var/policy-2.toml", &policy.to_string(), User::Worker);
        let file = self.path("worker/var/policy-2.toml").display().to_string();
        let proposed = self.ca_json(&["policy", "propose", &file]);
        let id = proposed["id"].as_str().expect("an id");
        for officer in ["ana", "cora"] {
            let key = self.path("worker/var/rehearsal/officers").join(officer).display().to_string();
            expect_success("ca approve sign", &self.ca(&["approve", "sign", id, "--key", &key, "--submit"]));
        }
    }

    /// A way to one ACME server alone.
    pub(crate) fn wire(&self, user: User) -> Wire {
        let front = self.fronts.iter().find(|front| front.user == user).expect("it is a front end");
        Wire::to(self).through(front.port, [127, 0, 0, 1])
    }

    /// A proxy on the URL's port that hands each connection to the next server in turn, to the other where one is gone.
    pub(crate) fn balancer(&self) -> Proxy {
        let servers: String =
            self.fronts.iter().map(|f| format!("  server {} 127.0.0.1:{} check inter 100ms\n", f.user.folder(), f.port)).collect();
        let text = format!("  bind 127.0.0.1:{}\n  balance roundrobin\n  option redispatch 1\n{servers}", self.acme_port);
        let proxy = Proxy::start(self, User::Stranger, "balancer.cfg", &text);
        let url = format!("https://localhost:{}/acme/directory", self.acme_port);
        wait_for("HAProxy to pass connections on", || succeeds(Command::new("curl").args(["-skf", "-o", "/dev/null", &url])));
        proxy
    }
}

const HAPROXY: &str = "/usr/sbin/haproxy";

/// HAProxy, stopped with its handle.
pub(crate) struct Proxy(Child);

impl Proxy {
    /// Passes TCP on as these lines say, in its user's folder.
    fn start(site: &Site, user: User, name: &str, lines: &str) -> Self {
        // A check may take longer than the pause between two: a server that is slow is not away.
        let head = "defaults\n  mode tcp\n  timeout connect 60s\n  timeout check 60s\n  timeout client 1h\n  timeout server 1h\n  retries 3\nlisten passed\n";
        Self::run(site, user, name, &format!("{head}{lines}"), user.command(HAPROXY))
    }

    /// As the page says: started as root, with the lines behind this one, in which the site's own users, addresses and paths
    /// stand in the place of the page's.
    fn start_as_printed(site: &Site, user: User, first: &str, own: &[(&str, String)]) -> Self {
        let page = page();
        let printed: Vec<_> = page.lines().skip_while(|line| line.trim() != first).skip(1).collect();
        let inside = printed.iter().take_while(|line| line.is_empty() || line.starts_with("    ") && !line.trim().starts_with('#'));
        let mut text: String = inside.map(|line| format!("{line}\n")).collect();
        for (theirs, ours) in own {
            assert!(text.contains(theirs), "the page says no `{theirs}` behind `{first}`:\n{text}");
            text = text.replace(theirs, ours);
        }
        assert!(!["10.20.", "/etc/", "countersign"].iter().any(|theirs| text.contains(theirs)), "{text}");
        let mut command = Command::new(HAPROXY);
        command.stdin(Stdio::null());
        Self::run(site, user, "store.cfg", &text, command)
    }

    fn run(site: &Site, user: User, name: &str, text: &str, mut command: Command) -> Self {
        site.write(&format!("{}/{name}", user.folder()), text, user);
        let log = std::fs::File::create(site.path(&format!("logs/{name}.{}.log", user.folder()))).unwrap();
        command.args(["-db", "-f", name]).current_dir(site.path(user.folder())).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().expect("haproxy runs (package haproxy)"))
    }
}

/// What tells operators how replicas are set up.
fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/platform-engineer.md")).expect("the page")
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
