//! What is wrong with a frame.

use std::net::IpAddr;

use thiserror::Error;

/// Why a packet is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("{0} bytes are too few")]
    Short(usize),
    #[error("a hop limit of {0}: it was not sent on this link")]
    HopLimit(u8),
    #[error("an unknown code {0}")]
    Code(u8),
    #[error("a wrong checksum")]
    Checksum,
    #[error("the option {0} has a wrong length")]
    Option(u8),
    #[error("{0} is nobody's own address")]
    Address(IpAddr),
}
