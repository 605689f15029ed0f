//! What an event says about its peer, by itself.

use crate::core::{FlowEventKind, Reason};

/// `errno` values (asm-generic/errno.h) by what they say of the peer.
mod errno {
    pub const PIPE: u32 = 32;
    pub const CONNRESET: u32 = 104;
    pub const TIMEDOUT: u32 = 110;
    pub const CONNREFUSED: u32 = 111;
    pub const HOSTDOWN: u32 = 112;
    pub const HOSTUNREACH: u32 = 113;
}

/// How an event speaks for or against the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Weight {
    /// The peer's host was heard: it acknowledged something, or reset a connection.
    Heard(Reason),
    /// Something may be unanswered: look, and ask.
    Adverse,
    /// It may have left something unanswered: look. A probe of our own that nobody answered
    /// ends like this, and must not be a reason for the next.
    Unclear,
    Neutral,
}

/// What an event of this kind says, by itself.
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
            // Any router or firewall refuses in the host's name, by ICMP.
            errno::CONNREFUSED => Weight::Unclear,
            errno::TIMEDOUT | errno::HOSTUNREACH | errno::HOSTDOWN => Weight::Adverse,
            // A connect that its caller gave up: whether that says anything, the SYNs that
            // were sent again tell.
            0 if matches!(kind, FlowEventKind::ConnectFailed { .. }) => Weight::Unclear,
            _ => Weight::Neutral,
        },
    }
}

/// Whether the kernel gave up on the flow for want of an answer.
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
