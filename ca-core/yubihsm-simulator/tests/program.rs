//! The program, as a rehearsal starts it, and what a connector is sent by mistake.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use ca_yubihsm_simulator::{Fault, Moment, Options, Simulator};

/// One request on a connection of its own; status and body.
fn request(address: SocketAddr, method: &str, path: &str, body: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    // A request that is refused may end in a reset.
    let _ = stream.read_to_end(&mut answer);
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or("none").to_owned();
    (status, answer[at..].to_vec())
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_serves_a_device_and_its_faults() {
    let folder = tempfile::tempdir().unwrap();
    let (state, root) = (folder.path().join("state"), folder.path().join("root.der"));
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_yubihsm-simulator"))
            .args(["--listen", "127.0.0.1:0", "--serial", "42", "--faults", "--state"])
            .arg(&state)
            .arg("--root")
            .arg(&root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    BufReader::new(program.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().strip_prefix("listening on http://").unwrap().parse().unwrap();
    let (status, body) = request(address, "GET", "/connector/status", b"");
    assert!(status == "200" && body.starts_with(b"status=OK\n"), "{status}");
    let (_, info) = request(address, "POST", "/connector/api", &[0x06, 0, 0]);
    assert_eq!(info[3..10], [2, 4, 1, 0, 0, 0, 42], "firmware and serial number");
    assert_eq!(request(address, "POST", "/simulator/fault", b"unplug").0, "200");
    assert_eq!(request(address, "POST", "/connector/api", &[0x06, 0, 0]).0, "502");
    let (status, body) = request(address, "POST", "/simulator/fault", b"melt");
    assert!(status == "400" && String::from_utf8_lossy(&body).contains("hint: drop-sessions"), "{status}");
    assert!(root.exists() && state.join("device.json").exists());
}

#[test]
fn only_loopback_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_yubihsm-simulator"))
        .args(["--listen", "0.0.0.0:0", "--state"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("not on loopback"));
}

#[test]
fn nonsense_is_answered_and_leaves_the_device_as_it_was() {
    const WRONG_LENGTH: &[u8] = &[0x7f, 0, 1, 0x08];
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(folder.path(), Options::default()).unwrap();
    let send = |message: &[u8]| request(simulator.address(), "POST", "/connector/api", message);
    for message in [&b""[..], b"\x06", b"\x06\0", b"\x06\0\x05\0", b"\x03\0\0", b"\x01\xff\xff"] {
        assert_eq!(send(message), ("200".to_owned(), WRONG_LENGTH.to_vec()), "{message:?}");
    }
    let long = [&[0x01, 0x0c, 0x3e][..], &[7; 3134]].concat();
    assert_eq!(send(&long).1, WRONG_LENGTH, "3,137 octets are one too many");
    assert_eq!(send(&[&[0x01, 0x0c, 0x3d][..], &[7; 3133]].concat()).1.len(), 3136, "3,136 are not");
    for message in [&b"\x05\0\x09\0aaaaaaaa"[..], b"\x05\0\x01\x63", b"\x04\0\x11\x0faaaaaaaabbbbbbbb"] {
        assert_eq!(send(message).1, [0x7f, 0, 1, 0x03], "no such session: {message:?}");
    }
    assert_eq!(send(b"\x99\0\0").1, [0x7f, 0, 1, 0x01], "no such command");
    assert_eq!(request(simulator.address(), "POST", "/connector/api", &[0; 9000]).0, "none", "a body without end is not read");
    assert_eq!(request(simulator.address(), "POST", "/simulator/fault", b"unplug").0, "404", "faults are off unless asked for");
    assert_eq!(request(simulator.address(), "GET", "/", b"").0, "404");
    assert_eq!(send(&[0x06, 0, 0]).1[0], 0x86, "the device answers as before");
}

#[test]
fn faults_by_name() {
    let check = |text: &str, expected: Option<Fault>| assert_eq!(text.parse::<Fault>().ok(), expected, "{text}");
    check("drop-sessions", Some(Fault::DropSessions));
    check("http-errors 3", Some(Fault::HttpErrors(3)));
    check("cut-power before 2", Some(Fault::CutPower { moment: Moment::Before, command: None, skip: 2 }));
    check("cut-power after 0 4f", Some(Fault::CutPower { moment: Moment::After, command: Some(0x4f), skip: 0 }));
    for wrong in ["", "http-errors", "http-errors -1", "cut-power", "cut-power during 1", "cut-power after 0 zz", "plug in"] {
        check(wrong, None);
    }
}
