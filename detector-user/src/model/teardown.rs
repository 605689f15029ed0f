//! Which sockets are destroyed: one type on the whole way from the core to the kernel.

use std::{net::IpAddr, time::Duration};

use super::{FlowId, FlowReading, HEARD_RESOLUTION, PeerName, Time};

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
    /// For flows that have been stalled since this moment, while their peer lives: this socket makes
    /// progress again, or the peer's program does not read (zero window). What is in flight must be
    /// acknowledged, because the peer may answer keepalives; where nothing is in flight, any segment
    /// is progress.
    ProgressedSince(Time),
    /// Nothing spares the socket. For a peer that receives nothing while its own segments still
    /// arrive: a socket that has just received something does not show that the peer receives.
    Nothing,
}

impl FlowReading {
    /// Whether the flow is not stalled, as far as it was stalled `since` this moment: something was
    /// acknowledged since the last retransmission time-out, or the peer's window is closed, or,
    /// where nothing is in flight, something was heard. `resolution` is the largest error of
    /// `last_heard`.
    pub fn is_progressing(&self, since: Time, resolution: Duration) -> bool {
        if self.send_window_bytes == 0 {
            return true;
        }
        match self.unacked_segments > 0 || self.unacked_bytes > 0 {
            true => self.rto_count == 0,
            false => self.last_heard > Some(since + resolution.max(HEARD_RESOLUTION)),
        }
    }
}
