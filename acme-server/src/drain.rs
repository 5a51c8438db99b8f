//! Reads on what a refused request still sends.
//!
//! Answered before its body is read, an HTTP/2 stream ends with RST_STREAM, and curl among others then drops the
//! answer it already has. So the rest is read and thrown away, within a bound of size and time.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt as _;
use hyper::body::Frame;

/// The most octets that are read for nothing.
const MAX: usize = 1 << 20;

/// The longest that is waited for them.
const PATIENCE: Duration = Duration::from_secs(2);

/// A request's body, of which the rest can be read once the handler is done with it.
pub(crate) struct Rest(Arc<Mutex<Body>>);

struct Lent(Arc<Mutex<Body>>);

/// Gives the handler its body and keeps a hand on it.
pub(crate) fn lend(body: Body) -> (Body, Rest) {
    let shared = Arc::new(Mutex::new(body));
    (Body::new(Lent(Arc::clone(&shared))), Rest(shared))
}

impl Rest {
    /// Reads what the handler left.
    pub(crate) async fn drain(self) {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream() {
            return;
        }
        let mut rest = Lent(self.0);
        let read = async {
            let mut left = MAX;
            while let Some(Ok(frame)) = rest.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        };
        // Whoever sends more or slower loses its answer, not more.
        let _ = tokio::time::timeout(PATIENCE, read).await;
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }
}
