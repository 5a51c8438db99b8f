//! Addresses: taken before anything is signed, listened on only when there is something to serve.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use crate::exit::{Exit, failure};

const BACKLOG: u32 = 1024;

/// An address that is ours; nobody can connect yet.
pub struct Held {
    socket: TcpSocket,
    address: SocketAddr,
    key: &'static str,
}

/// Takes every address, or none. `key` is the configuration's name for them.
///
/// # Errors
/// When one is taken, is not this host's, or needs a capability.
pub fn hold(addresses: &[SocketAddr], key: &'static str) -> anyhow::Result<Vec<Held>> {
    addresses.iter().map(|address| one(*address, key).map_err(|e| refused(*address, key, &e))).collect()
}

fn one(address: SocketAddr, key: &'static str) -> io::Result<Held> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait for old connections; a live listener still refuses.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(Held { socket, address, key })
}

fn refused(address: SocketAddr, key: &str, error: &io::Error) -> anyhow::Error {
    let (exit, hint) = match error.kind() {
        io::ErrorKind::AddrInUse => {
            (Exit::Temporary, format!("another process listens there; stop it (`ss -ltnp` shows which), or change {key}"))
        }
        io::ErrorKind::AddrNotAvailable => (Exit::Configuration, format!("this host has no such address; change {key}")),
        io::ErrorKind::PermissionDenied => {
            (Exit::Configuration, format!("ports below 1024 need a capability; change {key}, or allow CAP_NET_BIND_SERVICE"))
        }
        _ => (Exit::Configuration, format!("see {key}")),
    };
    failure(exit, format!("cannot listen on {address}: {error} (hint: {hint})"))
}

impl Held {
    /// Listens from now on.
    ///
    /// # Errors
    /// When another process was quicker.
    pub fn listen(self) -> anyhow::Result<TcpListener> {
        self.socket.listen(BACKLOG).map_err(|e| refused(self.address, self.key, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::code_of;

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let holder = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = holder.local_addr().unwrap();
        let error = hold(&[address], "acme.listen").err().unwrap();
        assert_eq!(code_of(&error), Exit::Temporary);
        assert!(error.to_string().contains(&address.to_string()) && error.to_string().contains("acme.listen"), "{error}");
    }

    #[tokio::test]
    async fn what_is_held_is_not_listened_on_yet() {
        // The kernel chooses: a port that was free a moment ago may be somebody else's.
        let held = hold(&["127.0.0.1:0".parse().unwrap()], "acme.listen").unwrap().remove(0);
        let address = held.socket.local_addr().unwrap();
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        let listener = held.listen().unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        tokio::net::TcpStream::connect(address).await.unwrap();
    }
}
