//! The connector's HTTP interface, and the simulator's own switches beside it.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Fault;
use crate::device::{Device, Outcome};

const MAX_HEAD: usize = 8 << 10;
const MAX_BODY: usize = 8 << 10;
const MAX_CONNECTIONS: usize = 64;
const IO_TIMEOUT: Duration = Duration::from_secs(120);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) device: Mutex<Device>,
    pub(crate) stopping: AtomicBool,
    /// Whether `/simulator/fault` is there.
    pub(crate) switches: bool,
    connections: Mutex<Vec<TcpStream>>,
    port: u16,
}

impl Shared {
    pub(crate) fn new(device: Device, switches: bool, port: u16) -> Self {
        Self { device: Mutex::new(device), stopping: AtomicBool::new(false), switches, connections: Mutex::default(), port }
    }

    /// Ends every connection; the accepting thread ends once it is woken.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that is closed already is as good.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// Accepts connections until [`Shared::stop`].
pub(crate) fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let mut connections = shared.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|c| c.peer_addr().is_ok());
        let Ok(kept) = stream.try_clone() else { continue };
        if connections.len() >= MAX_CONNECTIONS {
            continue;
        }
        connections.push(kept);
        drop(connections);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // A connection that breaks is the client's to notice.
            let _ = connection(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

fn bad(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_owned())
}

/// Reads one request; none where the client is done.
fn read_request(mut stream: &TcpStream) -> io::Result<Option<Request>> {
    let mut buffer = Vec::new();
    let mut chunk = [0u8; 4096];
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > MAX_HEAD {
            return Err(bad("the request's head is too long"));
        }
        match stream.read(&mut chunk)? {
            0 if buffer.is_empty() => return Ok(None),
            0 => return Err(bad("the request ends early")),
            n => buffer.extend_from_slice(&chunk[..n]),
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end]).map_err(|_| bad("the head is not text"))?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default().to_owned(), first.next().unwrap_or_default().to_owned());
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, value)| value.trim().parse::<usize>())
        .map_err(|_| bad("Content-Length is no number"))?;
    if length > MAX_BODY {
        return Err(bad("the body is too long"));
    }
    let mut body = buffer.split_off(head_end);
    while body.len() < length {
        match stream.read(&mut chunk)? {
            0 => return Err(bad("the body ends early")),
            n => body.extend_from_slice(&chunk[..n]),
        }
    }
    body.truncate(length);
    Ok(Some(Request { method, path, body }))
}

fn connection(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    stream.set_nodelay(true)?;
    while let Some(request) = read_request(stream)? {
        let (status, body) = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/connector/status") => {
                let text =
                    format!("status=OK\nserial=*\nversion=3.0.0\npid={}\naddress=127.0.0.1\nport={}\n", std::process::id(), shared.port);
                (200, text.into_bytes())
            }
            ("POST", "/connector/api") => {
                let mut device = shared.device.lock().unwrap_or_else(PoisonError::into_inner);
                match device.transceive(&request.body)? {
                    Outcome::Answer(answer) => (200, answer),
                    Outcome::Http(status) => (status, b"the connector cannot reach the device\n".to_vec()),
                    Outcome::Nothing => return Ok(()),
                }
            }
            ("POST", "/simulator/fault") if shared.switches => switch(shared, &request.body)?,
            _ => (404, b"not found\n".to_vec()),
        };
        respond(stream, status, &body)?;
    }
    Ok(())
}

fn switch(shared: &Shared, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    let text = String::from_utf8_lossy(body);
    match text.trim().parse::<Fault>() {
        Ok(fault) => {
            shared.device.lock().unwrap_or_else(PoisonError::into_inner).inject(fault)?;
            Ok((200, b"done\n".to_vec()))
        }
        Err(message) => Ok((400, format!("{message}\n").into_bytes())),
    }
}

/// Answers in a single write, with `Content-Length` spelled as the real connector spells it: clients read no other.
fn respond(mut stream: &TcpStream, status: u16, body: &[u8]) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        502 => "Bad Gateway",
        _ => "Service Unavailable",
    };
    let head = format!("HTTP/1.1 {status} {reason}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())
}
