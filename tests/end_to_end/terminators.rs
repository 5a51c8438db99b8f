//! nginx demands the client certificate, lets it in, and refuses it once it is revoked: by OCSP and by CRL.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::harness::{Demo, block_on, expect_success, free_port, wait_for};

struct Nginx {
    process: Child,
    port: u16,
}

impl Nginx {
    fn start(demo: &Demo, name: &str, revocation: &str) -> Self {
        let port = free_port();
        let folder = demo.path(name);
        std::fs::create_dir_all(&folder).unwrap();
        let chain = demo.path("client-ca.pem");
        let both = [demo.fact("ISSUER_CERT"), demo.fact("CA_BUNDLE")].map(|file| std::fs::read_to_string(file).unwrap()).concat();
        std::fs::write(&chain, both).unwrap();
        expect_success(
            "openssl req",
            &Command::new("openssl")
                .args([
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-days",
                    "1",
                    "-subj",
                    "/CN=localhost",
                ])
                .arg("-keyout")
                .arg(folder.join("tls.key"))
                .arg("-out")
                .arg(folder.join("tls.pem"))
                .output()
                .expect("openssl runs"),
        );
        let configuration = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log info;\nevents {{}}\nhttp {{ access_log off;\n\
             server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {dir}/tls.pem; ssl_certificate_key {dir}/tls.key;\n\
             ssl_client_certificate {chain}; ssl_verify_client on; ssl_verify_depth 3; ssl_session_cache off; ssl_session_tickets off; keepalive_timeout 0;\n\
             {revocation}\n location / {{ return 200 welcome; }} }} }}\n",
            dir = folder.display(),
            chain = chain.display(),
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts (package nginx-light)");
        let nginx = Self { process, port };
        wait_for("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        nginx
    }

    /// The HTTP status that a client with this certificate gets.
    fn visit(&self, chain: &Path, key: &Path) -> String {
        let output = Command::new("curl")
            .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", "--cert"])
            .arg(chain)
            .arg("--key")
            .arg(key)
            .arg(format!("https://127.0.0.1:{}/", self.port))
            .output()
            .expect("curl runs (package curl)");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Enrols with the key kept beside the chain.
fn enrol(demo: &Demo) -> (std::path::PathBuf, std::path::PathBuf, String) {
    let (chain, key) = (demo.path("client.pem"), demo.path("client.key"));
    block_on(async {
        let account = demo.account().await;
        let identifiers = [instant_acme::Identifier::Dns(demo.fact("DEMO_NAME").to_owned())];
        let mut order = account.new_order(&instant_acme::NewOrder::new(&identifiers)).await.expect("an order");
        std::fs::write(&key, order.finalize().await.expect("finalized")).unwrap();
        std::fs::write(&chain, order.poll_certificate(&crate::harness::patience()).await.expect("a certificate")).unwrap();
    });
    let serial = crate::harness::serial_of(&chain);
    (chain, key, serial)
}

#[test]
fn nginx_asking_ocsp_refuses_a_revoked_client() {
    let demo = Demo::start();
    let (chain, key, serial) = enrol(&demo);
    let nginx = Nginx::start(&demo, "nginx-ocsp", "ssl_ocsp leaf; ssl_ocsp_cache off;");
    wait_for("the first visit", || nginx.visit(&chain, &key) == "200");
    expect_success("ca cert revoke", &demo.ca(&["cert", "revoke", &serial, "--reason", "superseded", "--yes"]));
    wait_for("nginx to refuse", || nginx.visit(&chain, &key) == "400");
}

#[test]
fn nginx_with_the_crl_refuses_a_revoked_client() {
    let demo = Demo::start();
    let (chain, key, serial) = enrol(&demo);
    let file = demo.path("crls.pem");
    let publish = || std::fs::write(&file, expect_success("ca crl show", &demo.ca(&["crl", "show", "--pem"]))).unwrap();
    publish();
    let nginx = Nginx::start(&demo, "nginx-crl", &format!("ssl_crl {};", file.display()));
    wait_for("the first visit", || nginx.visit(&chain, &key) == "200");
    expect_success("ca cert revoke", &demo.ca(&["cert", "revoke", &serial, "--reason", "superseded", "--yes"]));
    wait_for("the CRL to list it", || demo.crl_serials().contains(&serial));
    publish();
    drop(nginx);
    let nginx = Nginx::start(&demo, "nginx-crl", &format!("ssl_crl {};", file.display()));
    assert_eq!(nginx.visit(&chain, &key), "400");
}
