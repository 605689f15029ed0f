//! What is destroyed: one type from the rule to the kernel.

use std::net::IpAddr;

use super::{FlowId, PeerName, Time};

/// Sockets that are to be destroyed, each looked at once more before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teardown {
    pub peer: PeerName,
    pub addr: IpAddr,
    /// The generation of the peer's state that asked for it.
    pub generation: u64,
    /// Each flow with the cookie of its socket.
    pub sockets: Vec<(FlowId, u64)>,
    pub spare: Spare,
}

/// Which of them are left alone at the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// Those that have heard anything since.
    HeardSince(Time),
    /// Those on which something was acknowledged: no retransmission of theirs is unanswered
    /// any more, or their window is zero. A stalled flow may hear probes answered all the time.
    Progressed,
}
