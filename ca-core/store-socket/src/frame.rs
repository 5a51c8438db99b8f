//! Frames: a length (4 octets, big-endian), a number (8), a mark (1) and a payload.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The most octets of a command: an order with its evidence (64 KiB) and a hundred authorizations fits many times.
pub(crate) const MAX_COMMAND: usize = 1 << 20;
/// The most octets of an answer, all its pieces together: a CRL of a million entries (49 MB) fits.
pub(crate) const MAX_ANSWER: usize = 128 << 20;
/// The most octets in one frame from the server; longer answers go in several.
pub(crate) const PIECE: usize = 64 * 1024;

const HEADER: usize = 13;
const LAST: u8 = 0;
const MORE: u8 = 1;

/// A frame as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The number of the command; its answer has the same. 0 is the greeting's.
    pub(crate) id: u64,
    /// Whether further pieces of the same answer follow.
    pub(crate) more: bool,
    pub(crate) payload: Vec<u8>,
}

/// Appends a frame to `out`. The payload is at most [`MAX_COMMAND`] or [`PIECE`] long, so that its length fits.
pub(crate) fn append(out: &mut Vec<u8>, id: u64, more: bool, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("payloads are bounded far below 4 GiB");
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&id.to_be_bytes());
    out.push(if more { MORE } else { LAST });
    out.extend_from_slice(payload);
}

/// Reads a frame whose payload has at most `max` octets; none: the other side closed the connection between frames.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Option<Frame>> {
    let mut header = [0u8; HEADER];
    if from.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut header[1..]).await?;
    let [l0, l1, l2, l3, id @ .., mark] = header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    if length > max {
        return Err(wrong(format!("a frame has {length} octets; the most is {max}")));
    }
    let more = match mark {
        LAST => false,
        MORE => true,
        other => return Err(wrong(format!("a frame has the mark {other}"))),
    };
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some(Frame { id: u64::from_be_bytes(id), more, payload }))
}

pub(crate) fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_bounded() {
        let mut bytes = Vec::new();
        append(&mut bytes, 7, true, b"abc");
        append(&mut bytes, u64::MAX, false, b"");
        let mut reader = bytes.as_slice();
        assert_eq!(read(&mut reader, 3).await.unwrap(), Some(Frame { id: 7, more: true, payload: b"abc".to_vec() }));
        assert_eq!(read(&mut reader, 3).await.unwrap(), Some(Frame { id: u64::MAX, more: false, payload: Vec::new() }));
        assert_eq!(read(&mut reader, 3).await.unwrap(), None);

        let check = async |bytes: &[u8], kind| assert_eq!(read(&mut &*bytes, 2).await.unwrap_err().kind(), kind);
        check(&bytes, io::ErrorKind::InvalidData).await;
        check(&bytes[..12], io::ErrorKind::UnexpectedEof).await;
        check(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0], io::ErrorKind::InvalidData).await;
        check(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9], io::ErrorKind::UnexpectedEof).await;
        check(&[0xff; 13], io::ErrorKind::InvalidData).await;
    }
}
