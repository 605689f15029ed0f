//! Waits on the loop until a descriptor is readable.

use std::{io, os::fd::AsRawFd};

use tokio::io::{Interest, unix::AsyncFd};

/// For types that keep one descriptor until they are dropped. Must be called within a tokio runtime.
#[expect(
    deprecated,
    reason = "its replacement is unsafe because a type may change its descriptor while it is \
              registered; the types used here do not"
)]
pub fn readable<T: AsRawFd>(inner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, Interest::READABLE)
}
