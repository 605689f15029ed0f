use super::{FlowId, FlowReading, PeerName, Time};

/// Sockets that are to be destroyed: the same from the detector to the hand that does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teardown {
    pub peer: PeerName,
    /// Of the verdict that it follows from.
    pub generation: u64,
    /// Each flow with the cookie of its socket.
    pub sockets: Vec<(FlowId, u64)>,
    pub spare: Spare,
}

/// What keeps a socket at the last look before it would be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// Of a dead peer: that any socket of the peer heard something after this moment. It
    /// keeps all of them.
    HeardSince(Time),
    /// Of stalled flows, whose peer lives and whose keepalives may be answered: that this
    /// socket goes on, or that the peer's program does not read.
    Progressed,
}

impl FlowReading {
    /// Whether nothing that was sent awaits its acknowledgement in vain: all of it was
    /// acknowledged, or some since the last time-out, or the peer's window is shut.
    pub const fn is_progressing(&self) -> bool {
        let in_flight = self.unacked_segments > 0 || self.unacked_bytes > 0;
        !in_flight || self.rto_count == 0 || self.send_window_bytes == 0
    }
}
