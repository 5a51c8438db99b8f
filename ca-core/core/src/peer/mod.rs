//! Who is at the other end, where proxies stand in between: their words, read from octets.
//!
//! - `proxy`: the header with which a proxy opens a connection (the PROXY protocol, versions 1 and 2);
//! - `forwarded`: the headers that it adds to each request (RFC 7239, `X-Forwarded-For`).
//!
//! Whose words count is the caller's to say: anyone can write these headers.

mod forwarded;
mod proxy;

pub use forwarded::{Hop, MAX_HOPS, client_of, hops_of_forwarded, hops_of_x_forwarded_for};
pub use proxy::{MAX_HEADER, ProxyError, ProxyHeader, read_proxy_header};
