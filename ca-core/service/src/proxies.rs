//! Proxies in front of a listener: whose word counts, and how it is given.
//!
//! A site names its proxies' networks and the one way in which they tell the client's address. Only that way counts: a
//! proxy that adds one header and hands another through would let clients choose their address. From everywhere else a
//! PROXY header is no TLS handshake and no request, so the connection ends, and headers of requests are not looked at.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ca_core::peer::{MAX_HEADER, ProxyHeader, client_of, hops_of_forwarded, hops_of_x_forwarded_for, read_proxy_header};
use ca_core::validation::Network;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// The most networks of proxies.
pub const MAX_NETWORKS: usize = 256;

/// How proxies tell the client's address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxySays {
    /// By the PROXY protocol, version 1 or 2, at the beginning of each connection.
    #[default]
    ProxyProtocol,
    /// By the header `Forwarded` of each request (RFC 7239).
    Forwarded,
    /// By the header `X-Forwarded-For` of each request.
    XForwardedFor,
}

/// Where a request comes from: the peer of its connection, or who is behind the proxies. A request that came over no socket
/// has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress(pub IpAddr);

/// Beside [`ClientAddress`]: that is a proxy's, which does not say who is behind it. It counts for limits and the log; nobody
/// is inside a network by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unnamed;

/// Who is at the other end of a connection, or of a request in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// Its address; that of a proxy which does not say who is behind it.
    pub address: IpAddr,
    /// Whether it is its own.
    pub named: bool,
}

/// The proxies of a listener.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies {
    networks: Vec<Network>,
    says: ProxySays,
}

impl Proxies {
    /// No proxies: every connection is its client's own.
    pub const fn none() -> Self {
        Self { networks: Vec::new(), says: ProxySays::ProxyProtocol }
    }

    /// The proxies in these networks.
    pub const fn new(networks: Vec<Network>, says: ProxySays) -> Self {
        Self { networks, says }
    }

    /// Whether this is one of them.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Reads what a proxy says before a connection begins; gives the stream as it is from there on, and the address of
    /// who is behind it. Connections from elsewhere are not read from.
    ///
    /// # Errors
    /// When a proxy that must say so does not within `patience`, or says something else.
    pub async fn open<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        peer: IpAddr,
        patience: Duration,
    ) -> io::Result<(Opened<S>, Client)> {
        let peer = peer.to_canonical();
        if self.says != ProxySays::ProxyProtocol || !self.is_trusted(peer) {
            return Ok((Opened { stream, read: Vec::new(), given: 0 }, Client { address: peer, named: true }));
        }
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the proxy did not send its PROXY header in time");
        let (read, given, client) = tokio::time::timeout(patience, read_header(&mut stream)).await.map_err(late)??;
        Ok((Opened { stream, read, given }, Client { address: client.unwrap_or(peer), named: client.is_some() }))
    }

    /// Where a request comes from: `peer` is the connection's, `values` gives the values of a header by its name.
    pub fn client<'a, V: Iterator<Item = &'a [u8]>>(&self, peer: Client, values: impl FnOnce(&'static str) -> V) -> Client {
        if self.says == ProxySays::ProxyProtocol || !self.is_trusted(peer.address) {
            return peer;
        }
        let hops = match self.says {
            ProxySays::Forwarded => hops_of_forwarded(values("forwarded")),
            ProxySays::XForwardedFor | ProxySays::ProxyProtocol => hops_of_x_forwarded_for(values("x-forwarded-for")),
        };
        let (address, named) = client_of(peer.address, &hops, |address| self.is_trusted(address));
        Client { address, named }
    }
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(Vec<u8>, usize, Option<IpAddr>)> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut read = Vec::with_capacity(256);
    loop {
        match read_proxy_header(&read).map_err(|e| wrong(e.to_string()))? {
            ProxyHeader::Present { length, client } => return Ok((read, length, client)),
            ProxyHeader::Absent => {
                let why = "a trusted proxy sent no PROXY header (hint: have it send one, or take it off trusted_proxies)";
                return Err(wrong(why.to_owned()));
            }
            // Within that many octets a header has ended or is refused.
            ProxyHeader::Incomplete if read.len() > MAX_HEADER => return Err(wrong("the PROXY header is too long".to_owned())),
            ProxyHeader::Incomplete => {
                if stream.read_buf(&mut read).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

/// A stream from behind a proxy's header: what was read beyond the header comes first.
#[derive(Debug)]
pub struct Opened<S> {
    stream: S,
    read: Vec<u8>,
    given: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.given < this.read.len() {
            let count = buffer.remaining().min(this.read.len() - this.given);
            buffer.put_slice(&this.read[this.given..this.given + count]);
            this.given += count;
            if this.given == this.read.len() {
                this.read = Vec::new();
                this.given = 0;
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Whether there are not too many networks.
///
/// # Errors
/// The text for the operator, with `key`.
pub fn check_proxies(key: &str, networks: &[Network]) -> Result<(), String> {
    match networks.len() {
        0..=MAX_NETWORKS => Ok(()),
        n => Err(format!("{key} has {n} networks; the most is {MAX_NETWORKS}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn proxies(says: ProxySays) -> Proxies {
        Proxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], says)
    }

    fn direct(peer: &str) -> Client {
        Client { address: peer.parse().unwrap(), named: true }
    }

    /// What comes out where these pieces go in, from this peer.
    async fn open(peer: &str, pieces: &[&[u8]]) -> io::Result<(Vec<u8>, Client)> {
        let (mut far, near) = duplex(16);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let sender = tokio::spawn(async move {
            for piece in pieces {
                // The other side may have had enough.
                if far.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        let (mut stream, client) = proxies(ProxySays::ProxyProtocol).open(near, peer.parse().unwrap(), PATIENCE).await?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        sender.await.unwrap();
        Ok((rest, client))
    }

    #[tokio::test]
    async fn a23_a_proxys_header_is_taken_off_and_nothing_else() {
        let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n";
        let expected = (b"hello, and more".to_vec(), Client { address: "192.0.2.1".parse().unwrap(), named: true });
        for pieces in [&[&header[..], b"hello, and more"][..], &[b"PROX", &header[4..], b"hello,", b" and more"]] {
            assert_eq!(open("10.1.2.3", pieces).await.unwrap(), expected);
        }
        let whole = [&header[..], b"hello, and more"].concat();
        assert_eq!(open("::ffff:10.1.2.3", &[&whole]).await.unwrap(), expected);
        let (rest, client) = open("10.1.2.3", &[b"PROXY UNKNOWN\r\nx"]).await.unwrap();
        assert_eq!((rest.as_slice(), client), (&b"x"[..], Client { address: "10.1.2.3".parse().unwrap(), named: false }));
    }

    #[tokio::test]
    async fn a23_from_elsewhere_nothing_is_taken_for_a_header() {
        let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n";
        let (rest, client) = open("198.51.100.1", &[header]).await.unwrap();
        assert_eq!((rest.as_slice(), client), (&header[..], Client { address: "198.51.100.1".parse().unwrap(), named: true }));
    }

    #[tokio::test]
    async fn a23_a_proxy_must_say_and_in_time() {
        for wrong in [&b"\x16\x03\x01\x02\x00\x01"[..], b"PROXY TCP4 x\r\n", b"PROXY TCP4", b""] {
            assert!(open("10.1.2.3", &[wrong]).await.is_err(), "{wrong:?}");
        }
        let (far, near) = duplex(16);
        let late = proxies(ProxySays::ProxyProtocol).open(near, "10.1.2.3".parse().unwrap(), Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[test]
    fn a23_only_the_configured_header_counts_and_only_from_proxies() {
        let client = |says: ProxySays, peer: &str, forwarded: &str, x: &str| {
            let values = |name: &'static str| {
                let value = match name {
                    "forwarded" => forwarded.as_bytes(),
                    _ => x.as_bytes(),
                };
                std::iter::once(value)
            };
            proxies(says).client(direct(peer), values).address.to_string()
        };
        let (forwarded, x) = ("for=192.0.2.1", "192.0.2.2");
        assert_eq!(client(ProxySays::Forwarded, "10.0.0.1", forwarded, x), "192.0.2.1");
        assert_eq!(client(ProxySays::XForwardedFor, "10.0.0.1", forwarded, x), "192.0.2.2");
        assert_eq!(client(ProxySays::XForwardedFor, "::ffff:10.0.0.1", forwarded, x), "192.0.2.2");
        assert_eq!(client(ProxySays::ProxyProtocol, "10.0.0.1", forwarded, x), "10.0.0.1");
        for says in [ProxySays::Forwarded, ProxySays::XForwardedFor, ProxySays::ProxyProtocol] {
            assert_eq!(client(says, "198.51.100.1", forwarded, x), "198.51.100.1");
            assert_eq!(Proxies::none().client(direct("10.0.0.1"), |_| std::iter::once(&b"192.0.2.1"[..])), direct("10.0.0.1"));
        }
    }
}
