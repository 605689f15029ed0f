//! The first answer of a stream, when it is large: it has a buffer of its own, which is freed once it
//! is sent. tonic keeps one buffer for all answers of a stream, as large as the largest, for as long
//! as the stream is open: with thousands of peers and watchers, gigabytes.

use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyStream, StreamBody};
use prost::{Message, bytes::BufMut as _};
use tonic::{
    Response,
    body::Body,
    codegen::{Bytes, http},
};

type Frame = http_body::Frame<Bytes>;

/// Before each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// An answer that is sent before those of the stream.
#[derive(Clone, Debug)]
struct First(Bytes);

/// The stream's answers, with this one before them.
pub(super) fn with_first<S>(first: &impl Message, answers: S) -> Response<S> {
    let mut response = Response::new(answers);
    response.extensions_mut().insert(First(prefixed(first)));
    response
}

fn prefixed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    // The states of 65,536 peers take a hundredth of what 32 bits can count.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.put_slice(&message.encode_to_vec());
    bytes.into()
}

/// The response as it is sent.
pub(super) fn first_sent(mut response: http::Response<Body>) -> http::Response<Body> {
    let Some(First(first)) = response.extensions_mut().remove() else {
        return response;
    };
    let first = stream::iter([Ok(Frame::data(first))]);
    response.map(|rest| Body::new(StreamBody::new(first.chain(BodyStream::new(rest)))))
}
