//! Why a dump fails, and the bounds of one.

use std::io;

use thiserror::Error;

use crate::netlink::socket::SocketError;

/// The most sockets of one dump. The daemon is not made for more connections with watched peers.
pub(super) const MAX_FLOWS: usize = 262_144;

/// How often a dump is tried if the kernel reports it as inconsistent.
pub(super) const ATTEMPTS: u32 = 3;

/// Why the socket dump could not be read. Nothing of a failed dump is used.
#[derive(Debug, Error)]
pub enum SockDiagError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot tell the network namespace from /proc/thread-self/ns/net: {0}")]
    Namespace(#[source] io::Error),
    #[error("cannot enter the network namespace: {0}; this needs CAP_SYS_ADMIN")]
    Enter(#[source] io::Error),
    #[error("the sockets of its network namespace could not be read before")]
    Closed,
    #[error(
        "the kernel refused to dump its {family} TCP sockets: {source}; \
         ENOENT means that the module tcp_diag is missing"
    )]
    Refused {
        family: &'static str,
        source: io::Error,
    },
    #[error("the kernel lost part of the socket dump (NLMSG_OVERRUN)")]
    Overrun,
    #[error("the sockets changed during each of {ATTEMPTS} dumps (NLM_F_DUMP_INTR)")]
    Interrupted,
    #[error("the socket dump is malformed: {0}")]
    Malformed(String),
    #[error("more than {MAX_FLOWS} connections match; name fewer peers")]
    TooManyFlows,
}
