//! Answers whose grants are given back when nobody takes them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use serde::Serialize;

use crate::undo::Undo;

/// A JSON answer. `undo` is disarmed when the connection takes the body, and acts when it is dropped before.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T, undo: Vec<Undo>) -> Response {
    let bytes = serde_json::to_vec(value).expect("an answer is plain data");
    let mut response = Response::new(Body::new(Taken { bytes: Some(bytes.into()), undo }));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body of one frame that knows whether it was taken.
struct Taken {
    bytes: Option<Bytes>,
    undo: Vec<Undo>,
}

impl http_body::Body for Taken {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.bytes.take().map(|bytes| Ok(Frame::data(bytes)));
        self.undo.drain(..).for_each(|mut undo| undo.disarm());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
