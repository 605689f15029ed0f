//! The connection to the daemon: a gRPC channel over its Unix socket.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{self, Channel, Endpoint};
use tower::service_fn;

use crate::v1::detector_client::DetectorClient;

/// How long the first connect may take. A local socket answers at once unless its listener hangs.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Why the daemon cannot be reached. None of these errors says anything about a peer: the caller
/// should continue as if there were no detector.
///
/// ```
/// use detector_api::{ConnectError, connect};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let error = connect("/nowhere/detector.sock").await.unwrap_err();
/// assert!(matches!(error, ConnectError::NotRunning { .. }));
/// assert!(error.to_string().contains("is it running?"));
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing listens there.
    #[error(
        "no detector daemon answers at {} ({cause}): is it running? Start it with \
         `detector run`, or name the socket it listens on",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The caller may not use the socket.
    #[error(
        "the socket {} may not be used by this user ({cause}): join the group that owns it \
         (`ls -l` shows it, the daemon's `socket_group` sets it), or run as root",
        path.display()
    )]
    PermissionDenied {
        /// The socket.
        path: PathBuf,
        /// The operating system's error.
        cause: io::Error,
    },
    /// Any other failure, for example a listener that does not answer.
    #[error("cannot connect to the detector daemon at {}", path.display())]
    Failed {
        /// The socket.
        path: PathBuf,
        /// The transport's error.
        source: transport::Error,
    },
}

/// Connects to the daemon that listens at `path`, usually [`DEFAULT_SOCKET`].
///
/// The channel reconnects by itself: a call that is made while the daemon is away fails with
/// `UNAVAILABLE`, and calls after its return succeed. Calls have no deadline of their own; set one
/// for each call (`tonic::Request::set_timeout`, `tokio::time::timeout`).
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use detector_api::{DEFAULT_SOCKET, connect, v1::ListPeersRequest};
///
/// let mut detector = connect(DEFAULT_SOCKET).await?;
/// for state in detector.list_peers(ListPeersRequest {}).await?.into_inner().peers {
///     println!("{}: {:?}", state.peer, state.breaker());
/// }
/// # Ok(())
/// # }
/// ```
///
/// [`DEFAULT_SOCKET`]: crate::DEFAULT_SOCKET
pub async fn connect(path: impl AsRef<Path>) -> Result<DetectorClient<Channel>, ConnectError> {
    let path = path.as_ref().to_owned();
    let dial = {
        let path = path.clone();
        service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        })
    };
    // The authority is only a header: the connector dials the path in any case.
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_LIMIT)
        .connect_with_connector(dial)
        .await
        .map(DetectorClient::new)
        .map_err(|error| ConnectError::from_transport(path, error))
}

impl ConnectError {
    fn from_transport(path: PathBuf, error: transport::Error) -> Self {
        let Some(errno) = os_error(&error) else {
            return Self::Failed {
                path,
                source: error,
            };
        };
        let cause = io::Error::from_raw_os_error(errno);
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Self::NotRunning { path, cause }
            }
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { path, cause },
            _ => Self::Failed {
                path,
                source: error,
            },
        }
    }
}

/// The errno at the end of a chain of errors.
fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let pid = std::process::id();
        std::env::temp_dir().join(format!("detector-api-{pid}-{name}"))
    }

    #[tokio::test]
    async fn no_socket_means_not_running() {
        let path = scratch("none");
        let error = connect(&path).await.unwrap_err();
        assert!(
            matches!(&error, ConnectError::NotRunning { path: p, cause }
                if *p == path && cause.kind() == io::ErrorKind::NotFound),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_stale_socket_means_not_running() {
        let path = scratch("stale");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = connect(&path).await.unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(
            matches!(&error, ConnectError::NotRunning { cause, .. }
                if cause.kind() == io::ErrorKind::ConnectionRefused),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn another_fault_is_told_as_it_is() {
        let path = scratch(&"x".repeat(200));
        let error = connect(&path).await.unwrap_err();
        assert!(matches!(error, ConnectError::Failed { .. }), "{error:?}");
    }
}
