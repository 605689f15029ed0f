//! The differences between the sites of the rows.

use detector_tests::{Lab, PEER_PORT, Rules, Way, baseline};

use crate::site::{OTHER_PORT, PEER, US};

/// The differences between the labs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// The peer is behind a router.
    pub routed: bool,
    pub v6: bool,
    /// The programs at both ends are tuned, ours are protected, and the detection time is 50 ms.
    pub tuned: bool,
    /// Our programs are protected.
    pub protected: bool,
    /// At its usual port the peer serves HTTP, and not gRPC.
    pub http: bool,
    /// So many further peers are watched and called: whether it is we who are cut off can
    /// be seen by several only.
    pub others: usize,
    /// The peer answers calls this late.
    pub delay_ms: u64,
    /// The peer reads nothing of an upload for this long.
    pub stall_ms: u64,
    /// The daemon knows the peer by a name, with several addresses.
    pub named: Option<Named>,
    /// Whether there is one more host, which is neither watched nor called.
    pub spare: bool,
    /// The conditions that hold before anything runs.
    pub before: Before,
}

/// The condition of a host or its network, apart from any trouble.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Before {
    #[default]
    Nothing,
    /// The peer's servers have short accept queues.
    ShortAcceptQueue,
    /// Connects to ports of the peer on which nothing serves are dropped.
    ClosedPortsDropped,
    /// We follow connections, as a stateful firewall does.
    WeFollow,
    /// The peer does.
    PeerFollows,
}

/// The addresses of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// The peer's IPv4 and IPv6.
    BothFamilies,
    /// The peer's and the spare host's.
    TwoHosts,
}

impl Named {
    pub fn config(self) -> &'static str {
        match self {
            Self::BothFamilies => {
                "[[peer]]\nurl = \"http://node3:9000\"\naddresses = [\"10.77.0.3\", \"fd77::3\"]\n"
            }
            Self::TwoHosts => {
                "[[peer]]\nurl = \"http://node3:9000\"\naddresses = [\"10.77.0.3\", \"10.77.0.4\"]\n"
            }
        }
    }
}

/// Connections that may wait to be accepted where queues are short.
const SHORT_QUEUE: u16 = 4;

impl Before {
    pub fn begin(self, lab: &Lab) -> anyhow::Result<Option<Rules>> {
        let (us, peer) = (lab.host(US), lab.host(PEER));
        let served = format!("{PEER_PORT}, {OTHER_PORT}, {}", baseline::PORT);
        match self {
            Self::Nothing => Ok(None),
            Self::ShortAcceptQueue => peer.short_accept_queue(SHORT_QUEUE).map(|()| None),
            Self::ClosedPortsDropped => {
                let connects =
                    format!("tcp flags & (syn | ack) == syn tcp dport != {{ {served} }}");
                lab.lose(PEER, Way::To, &connects).map(Some)
            }
            Self::WeFollow => us.follows_connections().map(Some),
            Self::PeerFollows => peer.follows_connections().map(Some),
        }
    }
}
