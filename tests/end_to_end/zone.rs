//! A zone of names that no grant covers: the policy that lets them be challenged, and a name server and ports that
//! validation is pointed at.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, MessageType};
use hickory_resolver::proto::rr::rdata::{A, TXT};
use hickory_resolver::proto::rr::{RData, Record, RecordType};

use crate::harness::{Demo, free_port};

/// A name server: every name has the address 127.0.0.1, and the TXT records that stand in files of its folder.
struct NameServer {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    fn start(folder: PathBuf) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket has a time limit");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0u8; 1500];
            while !stopped.load(Ordering::SeqCst) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
                let _ = socket.send_to(&answer(&query, &folder).to_vec().expect("a message"), peer);
            }
        });
        Self { port, stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(query: &Message, folder: &Path) -> Message {
    let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    answer.metadata.recursion_available = true;
    let Some(question) = query.queries.first() else { return answer };
    answer.add_query(question.clone());
    let name = question.name().to_ascii();
    let data = match question.query_type() {
        RecordType::A => Some(RData::A(A::new(127, 0, 0, 1))),
        RecordType::TXT => std::fs::read_to_string(folder.join(&name)).ok().map(|text| RData::TXT(TXT::new(vec![text.trim().to_owned()]))),
        _ => None,
    };
    if let Some(data) = data {
        answer.add_answer(Record::from_rdata(question.name().clone(), 1, data));
    }
    answer
}

/// The zone of a demonstration, whose officers put it in force.
pub(crate) struct Zone {
    names: NameServer,
    /// The ports that http-01 and tls-alpn-01 look for an answer on.
    pub(crate) http_port: u16,
    pub(crate) tls_port: u16,
    /// Where the TXT records' files lie.
    pub(crate) records: PathBuf,
}

impl Zone {
    /// The zone's names are those right below this one.
    pub(crate) const NAME: &str = "dmz.demo.test";

    /// Opens it in a demonstration with its first policy, which it starts anew. `more` are further lines of the zone.
    pub(crate) fn open(demo: &mut Demo, more: &str) -> Self {
        let records = demo.path("records");
        std::fs::create_dir(&records).expect("the folder is writable");
        let names = NameServer::start(records.clone());
        let (http_port, tls_port) = (free_port(), free_port());

        let zone = Self::NAME;
        demo.put_in_force(2, |text| {
            let names = format!("\"dns:*.demo.test\", \"dns:*.{zone}\", \"dns-wildcard:{zone}\"");
            let section = format!(
                "\n[[authority.challenge]]\nnames = [\"dns:*.{zone}\", \"dns-wildcard:{zone}\"]\nmethods = [\"http-01\", \"dns-01\", \"tls-alpn-01\"]\n{more}\n"
            );
            text.replacen("\"dns:*.demo.test\"", &names, 1) + &section
        });
        demo.stop();
        let config = demo.var().join("ca.toml");
        let text = std::fs::read_to_string(&config).expect("the configuration");
        let validation = format!(
            "\n[validation]\nresolvers = [\"127.0.0.1:{}\"]\nnetworks = [\"127.0.0.1\"]\nhttp_port = {http_port}\ntls_port = {tls_port}\n",
            names.port
        );
        std::fs::write(&config, text + &validation).expect("the folder is writable");
        demo.launch(&[]);
        Self { names, http_port, tls_port, records }
    }

    /// The name server, as ADDRESS:PORT.
    pub(crate) fn resolver(&self) -> String {
        format!("127.0.0.1:{}", self.names.port)
    }
}
