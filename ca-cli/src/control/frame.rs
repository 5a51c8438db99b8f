//! Lines of JSON, bounded in size and time.

use std::io;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest request line: the largest policy, or a list of 100,000 serial numbers.
pub(super) const MAX_REQUEST: u64 = 5 * 1024 * 1024;
/// The longest answer line: a CRL of a million entries fits.
pub(super) const MAX_ANSWER: u64 = 128 * 1024 * 1024;

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Reads one line of at most `max` bytes within `patience`; none: the other side has gone.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
    max: u64,
    patience: Duration,
) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    let mut bounded = from.take(max + 1);
    match tokio::time::timeout(patience, bounded.read_until(b'\n', &mut line)).await {
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the other side took too long")),
        Ok(Err(error)) => Err(error),
        Ok(Ok(0)) => Ok(None),
        Ok(Ok(_)) if line.last() != Some(&b'\n') => {
            Err(wrong(if line.len() as u64 > max { "the line is too long" } else { "the line was cut off" }))
        }
        Ok(Ok(_)) => serde_json::from_slice(&line).map(Some).map_err(|e| wrong(format!("not understood: {e}"))),
    }
}

/// Writes one line within `patience`.
pub(super) async fn write<T: Serialize + Sync>(to: &mut (impl AsyncWrite + Unpin), value: &T, patience: Duration) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(|e| wrong(e.to_string()))?;
    line.push(b'\n');
    let write = async {
        to.write_all(&line).await?;
        to.flush().await
    };
    tokio::time::timeout(patience, write).await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the other side took too long"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<Vec<u32>>, &str>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let got = runtime.block_on(async {
            let mut reader = tokio::io::BufReader::new(bytes);
            read::<Vec<u32>>(&mut reader, 16, PATIENCE).await
        });
        match (got, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (Err(got), Err(part)) => assert!(got.to_string().contains(part), "{got}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn lines_are_bounded() {
        check(b"[1,2]\n", Ok(Some(vec![1, 2])));
        check(b"", Ok(None));
        check(b"[1,2]", Err("cut off"));
        check(b"[1,2,3,4,5,6,7,8,9]\n", Err("too long"));
        check(b"{}\n", Err("not understood"));
    }
}
