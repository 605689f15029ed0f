//! How a command ends: the exit code, and an error message that says what to do.

use std::{error::Error as _, io, time::Duration};

use detector_api::{ConnectError, NameError};
use thiserror::Error;
use tonic::Code;

use crate::config::ConfigErrors;

/// The documented exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    BadUsage = 2,
    NotReachable = 3,
    NoSuchPeer = 4,
    Missing = 5,
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("{0}")]
    Config(ConfigErrors),
    #[error("not a peer's name: {0}")]
    PeerName(#[from] NameError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the daemon went away: {0}; try again, or see its log")]
    Lost(String),
    #[error("the daemon did not answer within {limit:?}; see its log")]
    Timeout { limit: Duration },
    #[error("no peer {0} is watched; `detector peers` lists those that are")]
    NoSuchPeer(String),
    #[error("no peer {peer} is in the recording at that moment; {}", listed(.known))]
    NotRecorded { peer: String, known: Vec<String> },
    #[error("the daemon refused ({code:?}): {message}")]
    Refused { code: Code, message: String },
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

fn listed(peers: &[String]) -> String {
    match peers.is_empty() {
        true => "none is".to_owned(),
        false => format!("these are: {}", peers.join(", ")),
    }
}

impl Failure {
    pub fn exit(&self) -> Exit {
        match self {
            // `detector peers | head -1` is not a failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Config(_) | Self::PeerName(_) => Exit::BadUsage,
            Self::Connect(_) | Self::Lost(_) | Self::Timeout { .. } => Exit::NotReachable,
            Self::NoSuchPeer(_) | Self::NotRecorded { .. } => Exit::NoSuchPeer,
            Self::Refused { .. } | Self::Output(_) | Self::Other(_) => Exit::Failed,
        }
    }

    /// The message for the user; empty if there is none.
    pub fn message(&self) -> String {
        match self {
            _ if self.exit() == Exit::Done => String::new(),
            Self::Config(ConfigErrors(errors)) => {
                let plural = if errors.len() == 1 { "" } else { "s" };
                format!(
                    "{self}\nerror: {} error{plural} in the configuration\n",
                    errors.len()
                )
            }
            _ => {
                let mut message = format!("error: {self}");
                let mut source = self.source();
                while let Some(cause) = source {
                    let cause_text = cause.to_string();
                    if !message.ends_with(&cause_text) {
                        message = format!("{message}: {cause_text}");
                    }
                    source = cause.source();
                }
                message + "\n"
            }
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let message = status.message().to_owned();
        // A status with a source error was made on this side, because the connection broke. The
        // daemon's own statuses have no source.
        match status.code() {
            Code::Unavailable => Self::Lost(message),
            _ if status.source().is_some() => Self::Lost(message),
            code => Self::Refused { code, message },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn io_error(kind: io::ErrorKind) -> io::Error {
        io::Error::from(kind)
    }

    #[test]
    fn each_failure_has_its_documented_exit_code() {
        let config = config::load(Some("/nonexistent".as_ref()), &[]).unwrap_err();
        let path = std::path::PathBuf::from("/s");
        let cause = io_error(io::ErrorKind::NotFound);
        for (failure, code) in [
            (Failure::Config(config), 2),
            (Failure::PeerName(NameError::Empty), 2),
            (ConnectError::NotRunning { path, cause }.into(), 3),
            (tonic::Status::unavailable("gone").into(), 3),
            (Failure::NoSuchPeer("http://a:1".into()), 4),
            (
                Failure::NotRecorded {
                    peer: "http://a:1".into(),
                    known: Vec::new(),
                },
                4,
            ),
            (tonic::Status::internal("x").into(), 1),
            (anyhow::anyhow!("x").into(), 1),
            (io_error(io::ErrorKind::StorageFull).into(), 1),
            (io_error(io::ErrorKind::BrokenPipe).into(), 0),
        ] {
            assert_eq!(failure.exit() as u8, code, "{failure:?}");
            assert_eq!(failure.message().is_empty(), code == 0, "{failure:?}");
        }
    }

    #[test]
    fn a_message_tells_the_causes() {
        let error = anyhow::anyhow!("bottom").context("middle").context("top");
        assert_eq!(
            Failure::from(error).message(),
            "error: top: middle: bottom\n"
        );
    }
}
