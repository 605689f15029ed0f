//! The gray faults, and the expected results of each.

use detector_api::v1::{Breaker, PeerState, Reason, Verdict};
use serde::Serialize;

use crate::site::{Named, Setting, Site};

/// A fault in which something still answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The peer's IP takes and gives nothing, and ARP answers: a firewall set to DROP.
    Deaf,
    /// The peer's processes stand still, and all that its card still does is answer ARP.
    Hung,
    /// What is sent to the peer is lost; it has nothing to say by itself.
    SendsLost,
    /// What the peer sends is lost.
    AnswersLost,
    /// As `SendsLost`, and the peer sends to us by itself.
    SendsLostPeerSends,
    /// As `AnswersLost`, and the peer sends to us by itself.
    AnswersLostPeerSends,
    /// Frames of more than 1,000 bytes are lost: a path MTU black hole.
    LargeLost,
    /// What one of three flows sends is lost.
    FlowLost,
    /// A firewall on the way has forgotten one of three flows.
    FlowForgotten,
    /// The peer goes, and another host takes its address over.
    Moved,
    /// The peer restarts within 300 ms, and knows no flow any more.
    Restarted,
    /// The peer's IPv6 is dead, its IPv4 lives.
    Ipv6Dead,
    /// The peer is cut off, and another host answers ARP for it.
    ArpByAnother,
    /// The peer is cut off, and our switch shuts a port by which more than 15 ARP frames a second
    /// come.
    ArpInspected,
    /// The peer is cut off, and we have a connection for each call.
    ShortConnections,
    /// The peer's name has addresses of two hosts, and one of them is cut off.
    OneOfTwoHosts,
}

/// Which blocked calls must return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Those with a request in flight and those that only wait.
    All,
    /// Those with a request in flight.
    Requests,
    /// The one request on the flow that is lost.
    Lost,
    /// Those that only wait.
    Waiting,
}

/// The expected results of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub verdict: Verdict,
    /// Any of these reasons; an empty list permits every reason.
    pub reasons: &'static [Reason],
    /// From the fault to the verdict.
    pub told_within_ms: Option<f64>,
    pub blocked: Blocked,
    /// From the fault to the return of the blocked calls; from the first answer, where there is
    /// one.
    pub freed_within_ms: f64,
    /// Whether the verdict Dead would be wrong.
    pub lives: bool,
}

const HOST_SILENT_MS: f64 = 1300.0;
/// Destroying waits for 1 s of silence at most, or for the verdict when that is later.
const HOST_FREED_MS: f64 = HOST_SILENT_MS + 1000.0;
/// If there are only SYNs, no tail loss probe can be missed.
const SHORT_TOLD_MS: f64 = 500.0;
const STALL_TOLD_MS: f64 = 2500.0;
const STALL_FREED_MS: f64 = 5500.0;
const RESTART_FREED_MS: f64 = 2000.0;

/// An address of which nothing at all is heard may be found dead by whatever is missed first.
const SILENCE: &[Reason] = &[
    Reason::TlpUnanswered,
    Reason::RtoUnanswered,
    Reason::ConnectUnanswered,
    Reason::ProbeUnanswered,
    Reason::NeighbourFailed,
    Reason::ErrorReported,
    Reason::HostUnanswered,
];

impl Fault {
    pub const ALL: [Self; 16] = [
        Self::Deaf,
        Self::Hung,
        Self::SendsLost,
        Self::AnswersLost,
        Self::SendsLostPeerSends,
        Self::AnswersLostPeerSends,
        Self::LargeLost,
        Self::FlowLost,
        Self::FlowForgotten,
        Self::Moved,
        Self::Restarted,
        Self::Ipv6Dead,
        Self::ArpByAnother,
        Self::ArpInspected,
        Self::ShortConnections,
        Self::OneOfTwoHosts,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deaf => "deaf-behind-arp",
            Self::Hung => "hung-behind-arp",
            Self::SendsLost => "sends-lost",
            Self::AnswersLost => "answers-lost",
            Self::SendsLostPeerSends => "sends-lost-peer-sends",
            Self::AnswersLostPeerSends => "answers-lost-peer-sends",
            Self::LargeLost => "large-frames-lost",
            Self::FlowLost => "one-flow-of-three-lost",
            Self::FlowForgotten => "firewall-forgot-flow",
            Self::Moved => "address-moved",
            Self::Restarted => "restart-300ms",
            Self::Ipv6Dead => "ipv6-dead-ipv4-lives",
            Self::ArpByAnother => "cut-arp-by-another",
            Self::ArpInspected => "cut-arp-inspected",
            Self::ShortConnections => "cut-short-connections",
            Self::OneOfTwoHosts => "cut-one-of-two-hosts",
        }
    }

    pub fn setting(self) -> Setting {
        Setting {
            http: true,
            protected: true,
            routed: self == Self::FlowForgotten,
            v6: self == Self::Ipv6Dead,
            named: match self {
                Self::Ipv6Dead => Some(Named::BothFamilies),
                Self::OneOfTwoHosts => Some(Named::TwoHosts),
                _ => None,
            },
            spare: matches!(self, Self::Moved | Self::ArpByAnother | Self::OneOfTwoHosts),
            ..Setting::default()
        }
    }

    pub fn peer_sends(self) -> bool {
        matches!(self, Self::SendsLostPeerSends | Self::AnswersLostPeerSends)
    }

    /// Whether the peer answers again before the fault is ended, and thereby shows that it does not
    /// know the flows any more.
    pub fn is_answered(self) -> bool {
        matches!(self, Self::Moved | Self::Restarted)
    }

    pub fn expected(self) -> Expected {
        match self {
            Self::Deaf | Self::Hung | Self::AnswersLost | Self::AnswersLostPeerSends => {
                silent(&[Reason::HostUnanswered])
            }
            // Both are right, whether or not another card's answers count as the peer's, if the
            // address is published as contested.
            Self::ArpByAnother | Self::ArpInspected => silent(SILENCE),
            Self::ShortConnections => Expected {
                told_within_ms: Some(SHORT_TOLD_MS),
                blocked: Blocked::Requests,
                ..silent(SILENCE)
            },
            // What it still sends may be no more than what it had under way; and what it sends by
            // itself may be retransmissions, which need not come in time.
            Self::SendsLost | Self::SendsLostPeerSends => {
                silent(&[Reason::HostUnanswered, Reason::SendsUnanswered])
            }
            Self::LargeLost => stalled(Reason::LargeSegmentsLost, Blocked::Requests),
            Self::FlowLost | Self::FlowForgotten => stalled(Reason::FlowsStalled, Blocked::Lost),
            Self::Moved => answered(true),
            // While the peer is away, nothing distinguishes it from a dead one.
            Self::Restarted => answered(false),
            Self::Ipv6Dead | Self::OneOfTwoHosts => Expected {
                lives: true,
                ..silent(SILENCE)
            },
        }
    }

    /// The verdict and the reason of the peer or path that the fault affects.
    pub fn view(self, site: &Site, state: &PeerState) -> (Verdict, Reason) {
        if !self.is_path() {
            return (state.verdict(), state.reason());
        }
        let address = site.peer().ip().to_string();
        let path = state.paths.iter().find(|path| path.address == address);
        path.map_or((Verdict::Unknown, Reason::Unspecified), |path| {
            (path.verdict(), path.reason())
        })
    }

    /// Whether the fault is about one of the peer's addresses while the other is alive.
    pub fn is_path(self) -> bool {
        self.setting().named.is_some()
    }

    /// Whether other flows of the same peer must continue.
    pub fn spares_some(self) -> bool {
        self.is_path() || self.expected().blocked == Blocked::Lost
    }

    /// What is wrong with the state in which the fault has left the peer.
    pub fn wrong_at_end(self, site: &Site, state: &PeerState) -> Option<String> {
        if self == Self::ArpByAnother && !state.contested {
            return Some("the address is not told to be contested".to_owned());
        }
        let (verdict, reason) = self.view(site, state);
        if self == Self::SendsLostPeerSends && reason != Reason::SendsUnanswered {
            return Some(format!("{} at the end", super::said(verdict, reason)));
        }
        let (expected, lives) = (self.expected().verdict, self.expected().lives);
        let is_right = match expected {
            Verdict::Dead if lives => verdict == Verdict::Dead && state.verdict() != Verdict::Dead,
            Verdict::Dead => verdict == Verdict::Dead,
            Verdict::Alive => verdict == Verdict::Alive && state.breaker() == Breaker::Closed,
            // A stalled flow that was freed is stalled no more.
            _ => verdict != Verdict::Dead,
        };
        (!is_right).then(|| format!("{} at the end", super::said(verdict, reason)))
    }
}

fn silent(reasons: &'static [Reason]) -> Expected {
    Expected {
        verdict: Verdict::Dead,
        reasons,
        told_within_ms: Some(HOST_SILENT_MS),
        blocked: Blocked::All,
        freed_within_ms: HOST_FREED_MS,
        lives: false,
    }
}

fn stalled(reason: Reason, blocked: Blocked) -> Expected {
    Expected {
        verdict: Verdict::Degraded,
        reasons: match reason {
            Reason::LargeSegmentsLost => &[Reason::LargeSegmentsLost],
            _ => &[Reason::FlowsStalled],
        },
        told_within_ms: Some(STALL_TOLD_MS),
        blocked,
        freed_within_ms: STALL_FREED_MS,
        lives: true,
    }
}

fn answered(lives: bool) -> Expected {
    Expected {
        verdict: Verdict::Alive,
        reasons: &[],
        told_within_ms: None,
        blocked: Blocked::Waiting,
        freed_within_ms: RESTART_FREED_MS,
        lives,
    }
}
