//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`), as a receiver reads it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The most octets of a header. Version 1 has at most 107 (§2.1), version 2 what its length says: extensions that a
/// proxy adds beside the addresses fit.
pub const MAX_HEADER: usize = 2048;

/// §2.1: "the maximum line lengths the receiver must support including the CRLF".
const MAX_LINE: usize = 107;

/// §2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

const LINE_START: &[u8; 6] = b"PROXY ";

/// What the octets that a connection begins with are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    /// Too few to say.
    Incomplete,
    /// Something else.
    Absent,
    /// A header.
    Present {
        /// How many octets it has.
        length: usize,
        /// The client; none: the proxy speaks for itself, or cannot say.
        client: Option<IpAddr>,
    },
}

/// A header that begins like one and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It has no end within its bound.
    #[error("the PROXY header is too long")]
    TooLong,
    /// Version 1, of another form.
    #[error("the line of the PROXY header is not `PROXY TCP4|TCP6|UNKNOWN SOURCE DESTINATION PORT PORT`")]
    Line,
    /// Version 2, of another form.
    #[error("the binary PROXY header has another version, command, transport or length than there are")]
    Binary,
}

/// Reads the header at the beginning of `octets`.
///
/// # Errors
/// When a header begins there that is malformed or too long.
pub fn read_proxy_header(octets: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let begins = |start: &[u8]| octets.iter().zip(start).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        return if octets.len() < SIGNATURE.len() { Ok(ProxyHeader::Incomplete) } else { binary(octets) };
    }
    if begins(LINE_START) {
        return if octets.len() < LINE_START.len() { Ok(ProxyHeader::Incomplete) } else { line(octets) };
    }
    Ok(ProxyHeader::Absent)
}

fn line(octets: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let window = &octets[..octets.len().min(MAX_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if octets.len() >= MAX_LINE { Err(ProxyError::TooLong) } else { Ok(ProxyHeader::Incomplete) };
    };
    let text = std::str::from_utf8(&window[LINE_START.len()..end]).map_err(|_| ProxyError::Line)?;
    let present = |client| Ok(ProxyHeader::Present { length: end + 2, client });
    // §2.1: "the receiver must ignore anything presented before the CRLF".
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return present(None);
    }
    let parts: Vec<&str> = text.split(' ').collect();
    let [family, source, destination, from, to] = parts[..] else { return Err(ProxyError::Line) };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let is_port = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok();
    match (address(source), address(destination)) {
        (Some(client), Some(_)) if is_port(from) && is_port(to) => present(Some(client.to_canonical())),
        _ => Err(ProxyError::Line),
    }
}

fn binary(octets: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let Some([command, transport, high, low]) = octets.get(12..16) else { return Ok(ProxyHeader::Incomplete) };
    let length = 16 + usize::from(u16::from_be_bytes([*high, *low]));
    if length > MAX_HEADER {
        return Err(ProxyError::TooLong);
    }
    // §2.2: LOCAL and PROXY; "Receivers must drop connections presenting unexpected values here."
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Binary),
    };
    let Some(addresses) = octets.get(16..length) else { return Ok(ProxyHeader::Incomplete) };
    let client = match transport {
        _ if local => None,
        // AF_UNSPEC, and AF_UNIX as a stream: no address of a network.
        0x00 | 0x31 => None,
        0x11 if addresses.len() >= 12 => Some(IpAddr::V4(Ipv4Addr::new(addresses[0], addresses[1], addresses[2], addresses[3]))),
        0x21 if addresses.len() >= 36 => {
            let mut source = [0u8; 16];
            source.copy_from_slice(&addresses[..16]);
            Some(IpAddr::V6(Ipv6Addr::from(source)))
        }
        _ => return Err(ProxyError::Binary),
    };
    Ok(ProxyHeader::Present { length, client: client.map(|address| address.to_canonical()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(octets: &[u8], expected: Result<Option<&str>, ProxyError>) {
        let read = read_proxy_header(&[octets, b"\x16\x03\x01 and what follows"].concat());
        let expected =
            expected.map(|client| ProxyHeader::Present { length: octets.len(), client: client.map(|text| text.parse().unwrap()) });
        assert_eq!(read, expected, "{:?}", String::from_utf8_lossy(octets));
        // However it arrives, the answer is the same, and nothing is read out of half of it.
        for end in 0..octets.len() {
            match read_proxy_header(&octets[..end]) {
                Ok(ProxyHeader::Incomplete) => {}
                early => assert!(early.is_err() && early == expected, "{early:?} after {end} octets"),
            }
        }
    }

    fn binary(command: u8, transport: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, transport, length[0], length[1]], body].concat()
    }

    #[test]
    fn a23_lines_of_version_1() {
        check(b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", Ok(Some("192.0.2.1")));
        check(b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", Ok(Some("2001:db8::1")));
        check(b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Ok(Some("192.0.2.1")));
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        check(b"PROXY UNKNOWN 192.0.2.1 anything at all\r\n", Ok(None));
        for bad in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1  2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNTCP4 192.0.2.1\r\n",
            "PROXY TCP4 192.0.2.1\n10.0.0.1 1 2\r\n",
        ] {
            check(bad.as_bytes(), Err(ProxyError::Line));
        }
        check(b"PROXY TCP4 \xff 10.0.0.1 1 2\r\n", Err(ProxyError::Line));
        let endless = [&b"PROXY UNKNOWN "[..], &[b'a'; 200]].concat();
        assert_eq!(read_proxy_header(&endless), Err(ProxyError::TooLong));
        assert_eq!(read_proxy_header(&endless[..106]), Ok(ProxyHeader::Incomplete));
    }

    #[test]
    fn a23_headers_of_version_2() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4];
        let v6 = [&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()[..], &[0; 20]].concat();
        check(&binary(0x21, 0x11, &v4), Ok(Some("192.0.2.1")));
        check(&binary(0x21, 0x21, &v6), Ok(Some("2001:db8::1")));
        // Extensions follow the addresses.
        check(&binary(0x21, 0x11, &[&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat()), Ok(Some("192.0.2.1")));
        check(&binary(0x20, 0x00, &[]), Ok(None));
        check(&binary(0x20, 0x11, &v4), Ok(None));
        check(&binary(0x21, 0x00, &[0; 40]), Ok(None));
        check(&binary(0x21, 0x31, &[0; 216]), Ok(None));
        for (command, transport, body) in [
            (0x11, 0x11, &v4[..]),
            (0x22, 0x11, &v4[..]),
            (0x21, 0x12, &v4[..]),
            (0x21, 0x41, &v4[..]),
            (0x21, 0x11, &v4[..11]),
            (0x21, 0x21, &v6[..35]),
            (0x21, 0x11, &[]),
        ] {
            check(&binary(command, transport, body), Err(ProxyError::Binary));
        }
        assert_eq!(read_proxy_header(&binary(0x21, 0x11, &[0; 2033])), Err(ProxyError::TooLong));
        assert!(read_proxy_header(&binary(0x21, 0x11, &[0; 2032])).is_ok());
    }

    #[test]
    fn what_is_no_header_is_absent() {
        for octets in [&b"\x16\x03\x01\x02\x00"[..], b"POST / HTTP/1.1\r\n", b"PROXYTCP4", b"proxy TCP4 ", b"\r\n\r\n\0\r\nQUIT\r", b"GET"]
        {
            assert_eq!(read_proxy_header(octets), Ok(ProxyHeader::Absent), "{octets:?}");
        }
        for octets in [&b""[..], b"P", b"PROXY", b"\r\n\r\n"] {
            assert_eq!(read_proxy_header(octets), Ok(ProxyHeader::Incomplete), "{octets:?}");
        }
    }
}
