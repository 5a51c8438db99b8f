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
    /// How long connecting may take.
    patience: Duration,
}

impl Connector {
    pub(super) fn new(guard: AddressGuard, attempt: Duration) -> Self {
        Self { guard, patience: attempt / 2 }
    }

    /// Connects to the first of these addresses that is allowed and answers. They were resolved once; nothing resolves
    /// them again (lesson 10). All of them together get the time that one would have, so that the rest of the attempt is
    /// left for what is asked, however many are dead.
    pub(super) async fn connect(&self, addresses: &[IpAddr], port: u16, trace: &mut Trace) -> Result<TcpStream, Problem> {
        let tried = self.tried(addresses)?;
        let patience = self.patience / u32::try_from(tried.len()).unwrap_or(u32::MAX).max(1);
        let mut last = problem(ProblemType::Dns, "the name has no address");
        for address in tried {
            match self.connect_to(SocketAddr::new(address, port), patience, trace).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Those that are tried: allowed ones, of both families by turns, IPv6 first. Neither addresses that are refused nor a
    /// family that does not work keep the others from being tried.
    fn tried(&self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Problem> {
        let judged = |address: &IpAddr| self.guard.check(*address).map(|()| *address);
        let allowed: Vec<IpAddr> = addresses.iter().filter_map(|address| judged(address).ok()).collect();
        if let (true, Some(Err(refused))) = (allowed.is_empty(), addresses.first().map(judged)) {
            return Err(problem(ProblemType::Unauthorized, refused.to_string()));
        }
        let (six, four): (Vec<_>, Vec<_>) = allowed.into_iter().partition(IpAddr::is_ipv6);
        let turns = six.len().max(four.len());
        let by_turns = (0..turns).flat_map(|turn| [six.get(turn), four.get(turn)]).flatten();
        Ok(by_turns.take(MAX_TRIES).copied().collect())
    }

    async fn connect_to(&self, address: SocketAddr, patience: Duration, trace: &mut Trace) -> Result<TcpStream, Problem> {
        self.guard.check(address.ip()).map_err(|refused| problem(ProblemType::Unauthorized, refused.to_string()))?;
        trace.connecting(address.ip());
        let failed = |why: &str| problem(ProblemType::Connection, format!("{address}: {why}"));
        match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(failed(&error.kind().to_string())),
            Err(_) => Err(failed("no connection in time")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a12_refused_addresses_and_a_dead_family_keep_no_other_from_being_tried() {
        let check = |addresses: &[&str], expected: Result<&[&str], &str>| {
            let guard = AddressGuard::new(vec!["10.0.0.0/8".parse().unwrap()], true);
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let tried = Connector::new(guard, Duration::from_secs(10)).tried(&addresses);
            match expected {
                Ok(expected) => assert_eq!(tried.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), expected),
                Err(why) => assert!(tried.unwrap_err().detail.contains(why)),
            }
        };
        let six = ["2600::1", "2600::2", "2600::3", "2600::4", "2600::5", "10.0.0.1", "8.8.8.8"];
        check(&six, Ok(&["2600::1", "10.0.0.1", "2600::2", "8.8.8.8"]));
        check(&["127.0.0.1", "fd00::1", "fd00::2", "fd00::3", "169.254.169.254", "10.0.0.1"], Ok(&["10.0.0.1"]));
        check(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"], Ok(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]));
        check(&["127.0.0.1", "fd00::1"], Err("a loopback"));
        check(&[], Ok(&[]));
    }

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
