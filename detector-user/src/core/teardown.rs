//! Which sockets are destroyed: one type on the whole way from the core to the kernel.

use std::net::IpAddr;

use super::{FlowId, FlowReading, PeerName, Time};

/// Sockets that should be destroyed; each is read once more just before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teardown {
    pub peer: PeerName,
    pub addr: IpAddr,
    /// How often the path's verdict had changed when the teardown was requested. This is not the
    /// generation that is published: that one counts changes of the peer's verdict.
    pub generation: u64,
    /// Each flow with the cookie of its socket.
    pub sockets: Vec<(FlowId, u64)>,
    pub spare: Spare,
}

/// What spares a socket when it is read for the last time before it would be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// For a dead peer: any socket of the peer has received something after this moment. That
    /// spares all of its sockets.
    HeardSince(Time),
    /// For stalled flows, whose peer lives and may answer keepalives: this socket makes progress
    /// again, or the peer's program does not read (zero window).
    Progressed,
    /// Nothing spares the socket. For a peer that receives nothing while its own segments still
    /// arrive: a socket that has just received something does not show that the peer receives.
    Nothing,
}

impl FlowReading {
    /// Whether the flow is not stalled: everything sent is acknowledged, or something was
    /// acknowledged since the last retransmission time-out, or the peer's window is closed.
    pub const fn is_progressing(&self) -> bool {
        let in_flight = self.unacked_segments > 0 || self.unacked_bytes > 0;
        !in_flight || self.rto_count == 0 || self.send_window_bytes == 0
    }
}
