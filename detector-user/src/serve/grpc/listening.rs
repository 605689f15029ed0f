//! The socket on which clients are awaited. If its file is deleted, nobody can connect any more: then
//! it is made anew, and the clients that are connected notice nothing.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{UnixListener, UnixStream},
    task::spawn_blocking,
    time::sleep,
};
use tracing::{info, warn};

use crate::serve::{BoundSocket, socket::SocketFile};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The pause after a connection that could not be accepted, as when there are too many open files.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Listening {
    listener: UnixListener,
    file: HeldFile,
}

/// The socket's file, until the server stops.
#[derive(Clone, Debug)]
pub(super) struct HeldFile(Arc<Mutex<Option<SocketFile>>>);

impl HeldFile {
    /// Removes it for good.
    pub(super) fn remove(&self) {
        self.with(|file| *file = None);
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<SocketFile>) -> T) -> T {
        // It is whole after each statement under the lock.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Listening {
    pub(super) fn new(bound: BoundSocket) -> io::Result<Self> {
        let BoundSocket { file, listener } = bound;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            file: HeldFile(Arc::new(Mutex::new(Some(file)))),
        })
    }

    pub(super) fn file(&self) -> HeldFile {
        self.file.clone()
    }

    /// The next client.
    pub(super) async fn accept(&mut self) -> UnixStream {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => return stream,
                    Err(error) => {
                        warn!(%error, "a client's connection was not accepted");
                        sleep(ACCEPT_AGAIN_AFTER).await;
                    }
                },
                () = sleep(LOOK_EVERY) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let gone = |file: &mut Option<SocketFile>| {
            let gone = file.as_ref().filter(|file| file.is_gone());
            gone.map(SocketFile::remake)
        };
        let Some(remake) = self.file.with(gone) else {
            return;
        };
        // Another start may hold the directory for a while.
        match spawn_blocking(remake).await {
            Ok(Ok(bound)) => self.take(bound),
            Ok(Err(error)) => warn!(%error, "the socket's file was deleted; trying again"),
            Err(_) => warn!("the socket's file was deleted, and making it anew failed"),
        }
    }

    fn take(&mut self, bound: BoundSocket) {
        let BoundSocket { file, listener } = bound;
        match UnixListener::from_std(listener) {
            Ok(listener) => {
                self.listener = listener;
                // The old one's file is gone; if the server has stopped meanwhile, so is this one's.
                self.file.with(|held| {
                    if held.is_some() {
                        *held = Some(file);
                    }
                });
                info!("the socket's file was deleted, and is made anew");
            }
            Err(error) => warn!(%error, "the socket cannot be made anew; trying again"),
        }
    }
}
