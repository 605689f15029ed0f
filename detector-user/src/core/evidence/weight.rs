//! What a single event says about its peer.

use crate::model::{FlowEventKind, Reason};

/// The `errno` values (asm-generic/errno.h) that say something about the peer.
mod errno {
    pub const PIPE: u32 = 32;
    pub const CONNRESET: u32 = 104;
    pub const TIMEDOUT: u32 = 110;
    pub const CONNREFUSED: u32 = 111;
    pub const HOSTDOWN: u32 = 112;
    pub const HOSTUNREACH: u32 = 113;
}

/// Whether an event is evidence for or against the peer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Weight {
    /// The peer's host was heard: it acknowledged something, or reset a connection.
    Heard(Reason),
    /// Something may be unanswered: the sockets are read and the path is probed.
    Adverse,
    /// Something may be unanswered, or not: the sockets are read. An unanswered connect probe of
    /// the daemon ends like this, and must not cause the next probe.
    Unclear,
    Neutral,
}

/// What a single event of this kind says.
pub(in crate::core) fn weigh(kind: FlowEventKind) -> Weight {
    match kind {
        FlowEventKind::Tlp | FlowEventKind::Rto { .. } | FlowEventKind::SynRetransmit { .. } => {
            Weight::Adverse
        }
        FlowEventKind::Recovered => Weight::Heard(Reason::PacketReceived),
        FlowEventKind::Established => Weight::Heard(Reason::ConnectSucceeded),
        FlowEventKind::ConnectFailed { errno }
        | FlowEventKind::Closed { errno }
        | FlowEventKind::ErrorReport { errno } => match errno {
            errno::CONNRESET | errno::PIPE => Weight::Heard(Reason::ResetReceived),
            // This may be an ICMP error, which any router or firewall can send in the host's name.
            errno::CONNREFUSED => Weight::Unclear,
            errno::TIMEDOUT | errno::HOSTUNREACH | errno::HOSTDOWN => Weight::Adverse,
            // The caller gave up a connect. Whether that means anything depends on its
            // retransmitted SYNs, which were reported before.
            0 if matches!(kind, FlowEventKind::ConnectFailed { .. }) => Weight::Unclear,
            _ => Weight::Neutral,
        },
    }
}

/// Whether a connect was refused.
pub(in crate::core) fn is_refusal(kind: FlowEventKind) -> bool {
    match kind {
        FlowEventKind::ConnectFailed { errno }
        | FlowEventKind::Closed { errno }
        | FlowEventKind::ErrorReport { errno } => errno == errno::CONNREFUSED,
        _ => false,
    }
}

/// Whether the kernel gave up on the flow because no answer came.
pub(in crate::core) fn gave_up(kind: FlowEventKind) -> bool {
    match kind {
        FlowEventKind::ConnectFailed { errno } | FlowEventKind::Closed { errno } => matches!(
            errno,
            errno::TIMEDOUT | errno::HOSTUNREACH | errno::HOSTDOWN
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A destroyed socket is reported as closed with ECONNABORTED: that was us.
    #[test]
    fn what_we_destroyed_ourselves_is_no_evidence() {
        const ECONNABORTED: u32 = 103;
        for kind in [
            FlowEventKind::ConnectFailed {
                errno: ECONNABORTED,
            },
            FlowEventKind::Closed {
                errno: ECONNABORTED,
            },
            FlowEventKind::ErrorReport {
                errno: ECONNABORTED,
            },
        ] {
            assert_eq!(weigh(kind), Weight::Neutral, "{kind:?}");
            assert!(!gave_up(kind), "{kind:?}");
        }
    }
}
