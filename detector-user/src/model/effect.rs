//! What the core requests of the driver.

use std::{net::IpAddr, time::Duration};

use super::{Measured, OverrideEnd, PeerName, PeerState, ProbeId, ProbeTarget, Teardown, Time};

/// What the driver should do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read all sockets with this address of the peer and hand them back as
    /// `Signal::SocketsRead`. At most one such request is pending for an address of a peer at a
    /// time.
    ReadSockets { peer: PeerName, addr: IpAddr },
    /// Send one probe and report with `Signal::Probe` that it was sent, or failed, and then its
    /// answer, if one comes within `give_up_after`.
    Probe {
        probe: ProbeId,
        target: ProbeTarget,
        give_up_after: Duration,
        /// Nothing stands unanswered: it can be sent together with others, and its answer be read
        /// together with theirs, as long as that is before the next time-out.
        can_wait: bool,
    },
    /// Destroy these sockets, except those that the last reading before spares, and report with
    /// `Signal::SocketsDestroyed`.
    DestroySockets(Teardown),
    /// The peer is back: destroy no more of its sockets with this address.
    CancelTeardown { peer: PeerName, addr: IpAddr },
    /// The peer was heard; nothing else in the published state has changed.
    Heard { peer: PeerName, at: Time },
    /// This is what was measured of the peer at this address; nothing else has changed.
    Measured {
        peer: PeerName,
        addr: IpAddr,
        measured: Measured,
    },
    /// Publish this change.
    Publish(PeerState),
    /// An override has ended by itself; [`Self::Publish`] shows the peer without it.
    OverrideEnded { peer: PeerName, why: OverrideEnd },
    /// Publish that the peer is no longer watched.
    Retract { peer: PeerName, revision: u64 },
    /// Ask the source to report finished handshakes with this address, or to stop doing so.
    ReportEstablished {
        peer: PeerName,
        addr: IpAddr,
        on: bool,
    },
}
