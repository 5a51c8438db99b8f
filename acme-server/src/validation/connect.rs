//! The only way in which validation connects: the guard judges the very address of the socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ca_core::model::{Problem, ProblemType};
use ca_core::validation::AddressGuard;
use tokio::net::TcpStream;

use super::{Trace, problem};

/// How many addresses of a name are tried.
const MAX_TRIES: usize = 4;

pub(super) struct Connector {
    guard: AddressGuard,
    /// How long one connection may take.
    patience: Duration,
}

impl Connector {
    pub(super) fn new(guard: AddressGuard, attempt: Duration) -> Self {
        Self { guard, patience: attempt / 2 }
    }

    /// Connects to the first of these addresses that is allowed and answers. They were resolved once; nothing resolves
    /// them again (lesson 10).
    pub(super) async fn connect(&self, addresses: &[IpAddr], port: u16, trace: &mut Trace) -> Result<TcpStream, Problem> {
        let mut last = problem(ProblemType::Dns, "the name has no address");
        for address in addresses.iter().take(MAX_TRIES) {
            match self.connect_to(SocketAddr::new(*address, port), trace).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr, trace: &mut Trace) -> Result<TcpStream, Problem> {
        self.guard.check(address.ip()).map_err(|refused| problem(ProblemType::Unauthorized, refused.to_string()))?;
        trace.connecting(address.ip());
        let failed = |why: &str| problem(ProblemType::Connection, format!("{address}: {why}"));
        match tokio::time::timeout(self.patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failed(&error.kind().to_string())),
            Err(_) => Err(failed("no connection in time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Lesson 35: no validator has a way around the guard.
    #[test]
    fn lesson_35_only_the_guarded_connector_connects() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/validation");
        let connecting = ["TcpStream::connect", "UdpSocket", "HttpConnector", "TcpSocket"];
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            files += 1;
            let text = std::fs::read_to_string(&path).unwrap();
            let connects = connecting.iter().any(|word| text.contains(word));
            assert_eq!(connects, path.ends_with("connect.rs"), "{}", path.display());
        }
        assert!(files >= 10, "{files}");
    }
}
