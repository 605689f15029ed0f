//! The connections of clients: their number is bounded, and each process gets a share.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::stream::{Stream, unfold};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        UnixStream,
        unix::{UCred, pid_t},
    },
};
use tonic::transport::server::{Connected, UdsConnectInfo};
use tracing::debug;

use super::listening::Listening;
use crate::files;

/// The most connections of all clients.
const CONNECTIONS: usize = 256;

/// The most connections of one process.
const CONNECTIONS_OF_ONE: usize = 16;

/// How many connections each process has; 0 stands for processes of other pid namespaces.
#[derive(Clone, Debug)]
struct Shares {
    counts: Arc<Mutex<HashMap<pid_t, usize>>>,
    /// Of all processes.
    most: usize,
}

impl Shares {
    /// No more than this process may open files for.
    fn new(files: usize) -> Self {
        Self {
            counts: Arc::default(),
            most: files.min(CONNECTIONS),
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<pid_t, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection of this process, if its share and the total permit that.
    fn take(&self, pid: pid_t) -> Option<Share> {
        let mut counts = self.counts();
        if counts.values().sum::<usize>() >= self.most {
            return None;
        }
        let count = counts.entry(pid).or_default();
        if *count >= CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Share {
            pid,
            shares: self.clone(),
        })
    }
}

/// One counted connection of a process; dropping it ends the count.
#[derive(Debug)]
struct Share {
    pid: pid_t,
    shares: Shares,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.shares.counts();
        if let Some(count) = counts.get_mut(&self.pid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.pid);
            }
        }
    }
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    _share: Share,
}

/// Accepts connections for ever. Those beyond a share are closed at once.
pub(super) fn accepted(listening: Listening) -> impl Stream<Item = io::Result<Connection>> {
    unfold(
        (listening, Shares::new(files::Shares::now().clients)),
        async |(mut listening, shares)| {
            loop {
                let stream = listening.accept().await;
                let pid = stream.peer_cred().ok().as_ref().and_then(UCred::pid);
                if let Some(share) = shares.take(pid.unwrap_or_default()) {
                    let connection = Connection {
                        stream,
                        _share: share,
                    };
                    return Some((Ok(connection), (listening, shares)));
                }
                debug!(pid, "a connection beyond its process's share was closed");
            }
        },
    )
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_takes_no_more_than_its_share() {
        let shares = Shares::new(CONNECTIONS);
        let mut held: Vec<_> = (0..CONNECTIONS_OF_ONE).map(|_| shares.take(7)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take(7).is_none());
        assert!(shares.take(8).is_some());
        held.pop();
        assert!(shares.take(7).is_some());
        drop(held);
        assert!(shares.counts().is_empty(), "nothing grows");
    }

    #[test]
    fn all_processes_together_are_bounded() {
        for (files, most) in [(1 << 20, CONNECTIONS), (5, 5)] {
            let shares = Shares::new(files);
            let held: Vec<_> = (0..most as pid_t).map(|pid| shares.take(pid)).collect();
            assert!(held.iter().all(Option::is_some));
            assert!(shares.take(-1).is_none());
        }
    }
}
