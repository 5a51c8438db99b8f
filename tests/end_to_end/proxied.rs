//! A real HAProxy in front: whose address the log and the limits see.

use std::fs;
use std::process::{Child, Command, Stdio};

use ca_testkit::acme::order_payload;

use crate::harness::{Demo, block_on, free_port, wait_for};
use crate::wire::Wire;

/// HAProxy, stopped with its handle.
struct HaProxy {
    port: u16,
    process: Child,
}

impl HaProxy {
    /// Passes TCP through to `server` from this address of the host, with this PROXY header.
    fn start(demo: &Demo, server: u16, source: &str, how: &str) -> Self {
        let port = free_port();
        let file = demo.path(&format!("haproxy-{port}.cfg"));
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 60s\n  timeout client 1h\n  timeout server 1h\n\
             listen acme\n  bind 127.0.0.1:{port}\n  server ca 127.0.0.1:{server} source {source} {how}\n"
        );
        fs::write(&file, text).unwrap();
        let process = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy runs (package haproxy)");
        wait_for("HAProxy to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, process }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Adds to this section of the demonstration's configuration, and at its end, and starts it again.
fn configure(demo: &mut Demo, section: &str, lines: &str, more: &str) {
    demo.stop();
    let file = demo.var().join("ca.toml");
    let text = fs::read_to_string(&file).unwrap();
    let head = format!("[{section}]\n");
    assert!(text.contains(&head), "{text}");
    fs::write(&file, format!("{}{more}", text.replacen(&head, &format!("{head}{lines}"), 1))).unwrap();
    demo.launch(&[]);
}

/// Whether the log has an order from this address.
fn logged(demo: &Demo, address: &str) -> bool {
    let has = |line: &str| line.split(|c: char| c != '.' && !c.is_ascii_digit()).any(|word| word == address);
    demo.log().lines().any(|line| line.contains("/acme/new-order") && has(line))
}

#[test]
fn a23_the_address_behind_a_real_haproxy_reaches_the_log_and_the_limits() {
    let mut demo = Demo::start_as(&["--log", "info"]);
    configure(&mut demo, "acme", "trusted_proxies = [\"127.0.0.77/32\"]\n", "\n[acme.limits]\norders = { network = \"2/1h\" }\n");
    let name = demo.fact("DEMO_NAME").to_owned();
    block_on(async {
        let direct = Wire::to(&demo);
        let account = direct.account(&demo).await;
        let order = async |wire: &Wire| wire.post(&account, "/acme/new-order", &order_payload(&[&name])).await.status;
        let through = |proxy: &HaProxy, from: [u8; 4]| direct.through(proxy.port, from);

        let (one, two) = (
            HaProxy::start(&demo, direct.port, "127.0.0.77", "send-proxy"),
            HaProxy::start(&demo, direct.port, "127.0.0.77", "send-proxy-v2"),
        );
        // One client through both versions: its network has spent what it may.
        assert_eq!(order(&through(&one, [127, 0, 1, 5])).await, 201);
        assert_eq!(order(&through(&two, [127, 0, 1, 6])).await, 201);
        assert_eq!(order(&through(&one, [127, 0, 1, 5])).await, 429);
        // What a client says of itself changes nothing.
        let wire = through(&two, [127, 0, 1, 6]);
        let body = wire.signed(&account, "/acme/new-order", &order_payload(&[&name])).await;
        let forged = "x-forwarded-for: 192.0.2.1\r\nforwarded: for=192.0.2.1\r\n";
        assert_eq!(wire.try_ask("POST", "/acme/new-order", forged, &body).await.unwrap().status, 429);
        assert_eq!(order(&through(&two, [127, 0, 2, 5])).await, 201);
        assert_eq!(order(&direct).await, 201, "and others are asked for no header");
        for address in ["127.0.1.5", "127.0.1.6", "127.0.2.5", "127.0.0.1"] {
            wait_for(&format!("the log to have {address}"), || logged(&demo, address));
        }

        // A proxy that is not trusted, and a trusted one that says nothing.
        for (source, how) in [("127.0.0.78", "send-proxy"), ("127.0.0.78", "send-proxy-v2"), ("127.0.0.77", "")] {
            let proxy = HaProxy::start(&demo, direct.port, source, how);
            let asked = through(&proxy, [127, 0, 3, 5]).try_ask("GET", "/acme/directory", "", "").await;
            assert!(asked.is_err(), "{source} {how}");
        }
        wait_for("the log to say what is missing", || demo.log().contains("a trusted proxy sent no PROXY header"));
        assert_eq!(order(&through(&one, [127, 0, 4, 5])).await, 201);
    });
}

#[test]
fn a23_the_status_service_stands_behind_a_real_haproxy() {
    let mut demo = Demo::start();
    configure(&mut demo, "status", "trusted_proxies = [\"127.0.0.77/32\"]\n", "");
    let url = demo.fact("CRL_URL").to_owned();
    let port: u16 = url.split([':', '/']).nth(4).and_then(|port| port.parse().ok()).expect("a port");
    let proxy = HaProxy::start(&demo, port, "127.0.0.77", "send-proxy-v2");
    let fetch = |port_now: u16, from: &str| {
        let url = url.replace(&format!(":{port}/"), &format!(":{port_now}/"));
        Command::new("curl").args(["-sf", "--max-time", "60", "--interface", from, &url]).output().expect("curl runs (package curl)")
    };
    let (direct, through) = (fetch(port, "127.0.0.1"), fetch(proxy.port, "127.0.0.1"));
    assert!(through.status.success() && !through.stdout.is_empty(), "{through:?}");
    assert_eq!(through.stdout, direct.stdout);
    assert!(!fetch(port, "127.0.0.77").status.success(), "a proxy must say who is behind it");
}
