//! The troubles, and the site that each needs.

use crate::{
    load::Load,
    site::{Before, Setting},
};

/// A peer or a network in trouble, and nobody dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// This percentage of frames is lost, each independently.
    Loss { percent: u8, flows: u32 },
    /// The first 50 of every 1,000 frames are lost in a row.
    Bursts,
    /// Each frame is up to 200 ms late, and frames overtake each other.
    Jitter,
    /// All processes of the peer are stopped while we upload to it.
    Stopped,
    /// The peer's program reads no more of an upload, but its process is healthy.
    ZeroWindow,
    /// Nothing passes for 150 ms, every two seconds.
    Flaps,
    /// All processes of the peer are killed: its kernel answers with resets.
    Killed,
    /// Every answer comes 2 s late.
    Late,
    /// Our own link goes down. (It does on the baselines' host as well.)
    OwnLink,
    /// Our own switch passes nothing, and the carrier stays.
    OwnSwitch,
    /// The same, and there is no connection with the peer: only one other is heard all the time.
    OwnSwitchIdlePeer,
    /// The daemon and the baselines run in only 5 of every 100 ms, next to busy loops.
    StarvedDaemon,
    /// The same happens to the peer.
    StarvedPeer,
    /// The peer's processes are stopped, and its accept queue is so full that SYNs are dropped.
    AcceptQueueFull,
    /// The peer sends one RST a second.
    ResetsLimited,
    /// Connects to ports of the peer on which nothing serves have always been dropped.
    ClosedPortDropped,
    /// A fifth of the frames to the peer is lost, then a fifth of those from it.
    AsymmetricLoss,
    /// One of four equal paths loses all that hashes to it: other flows every ten seconds.
    OnePathOfFour,
    /// Each frame is up to 5 ms late, so that frames overtake each other.
    Reordering,
    /// A gateway on the link answers ARP for the peer as well, and forwards frames.
    GatewayAnswersArp,
    /// Our own table of connections is full: our SYNs are dropped, flows pass.
    ConntrackFullHere,
    /// The peer's is.
    ConntrackFullThere,
    /// The peer takes one SYN a second.
    SynLimit,
}

impl Trouble {
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for percent in [1, 5, 20, 30] {
            all.extend([1, 20].map(|flows| Self::Loss { percent, flows }));
        }
        all.extend([
            Self::Bursts,
            Self::Jitter,
            Self::Stopped,
            Self::ZeroWindow,
            Self::Flaps,
            Self::Killed,
            Self::Late,
            Self::OwnLink,
            Self::OwnSwitch,
            Self::OwnSwitchIdlePeer,
            Self::StarvedDaemon,
            Self::StarvedPeer,
            Self::AcceptQueueFull,
            Self::ResetsLimited,
            Self::ClosedPortDropped,
            Self::AsymmetricLoss,
            Self::OnePathOfFour,
            Self::Reordering,
            Self::GatewayAnswersArp,
            Self::ConntrackFullHere,
            Self::ConntrackFullThere,
            Self::SynLimit,
        ]);
        all
    }

    pub fn name(&self) -> String {
        match self {
            Self::Loss { percent, flows } => format!("loss-{percent}-flows-{flows}"),
            Self::Bursts => "loss-bursts".to_owned(),
            Self::Jitter => "jitter-200ms".to_owned(),
            Self::Stopped => "stopped-while-uploading".to_owned(),
            Self::ZeroWindow => "zero-window".to_owned(),
            Self::Flaps => "flaps-150ms".to_owned(),
            Self::Killed => "process-killed".to_owned(),
            Self::Late => "answers-2s-late".to_owned(),
            Self::OwnLink => "own-link-down".to_owned(),
            Self::OwnSwitch => "own-switch-down".to_owned(),
            Self::OwnSwitchIdlePeer => "own-switch-down-idle-peer".to_owned(),
            Self::StarvedDaemon => "starved-daemon".to_owned(),
            Self::StarvedPeer => "starved-peer".to_owned(),
            Self::AcceptQueueFull => "accept-queue-full".to_owned(),
            Self::ResetsLimited => "rst-limit-1s".to_owned(),
            Self::ClosedPortDropped => "closed-port-dropped".to_owned(),
            Self::AsymmetricLoss => "asymmetric-loss-20".to_owned(),
            Self::OnePathOfFour => "one-path-of-four-lost".to_owned(),
            Self::Reordering => "reordering-5ms".to_owned(),
            Self::GatewayAnswersArp => "gateway-answers-arp".to_owned(),
            Self::ConntrackFullHere => "conntrack-full-here".to_owned(),
            Self::ConntrackFullThere => "conntrack-full-there".to_owned(),
            Self::SynLimit => "syn-limit-1s".to_owned(),
        }
    }

    /// Busy loops also starve the labs that run at the same time.
    pub fn is_exclusive(self) -> bool {
        matches!(self, Self::StarvedDaemon | Self::StarvedPeer)
    }

    /// Whether this node itself is cut off.
    fn is_our_own(self) -> bool {
        matches!(
            self,
            Self::OwnLink | Self::OwnSwitch | Self::OwnSwitchIdlePeer
        )
    }

    /// The load on the peer; `None` if there must be no connection with it.
    pub fn load(self) -> Option<Load> {
        let load = match self {
            Self::OwnSwitchIdlePeer => return None,
            Self::Loss { flows, .. } => Load::Calls(flows),
            Self::Stopped | Self::ZeroWindow | Self::Reordering => Load::Upload(4),
            Self::OnePathOfFour => Load::Calls(8),
            // Only what has nothing in flight makes the daemon ask.
            Self::ResetsLimited
            | Self::ClosedPortDropped
            | Self::GatewayAnswersArp
            | Self::ConntrackFullHere
            | Self::ConntrackFullThere
            | Self::SynLimit => Load::Waiting,
            _ => Load::Calls(4),
        };
        Some(load)
    }

    pub fn setting(self) -> Setting {
        Setting {
            http: self.load().is_some_and(Load::is_http),
            routed: matches!(
                self,
                Self::ConntrackFullHere | Self::ConntrackFullThere | Self::SynLimit
            ),
            others: match self {
                Self::OwnSwitchIdlePeer => 1,
                _ if self.is_our_own() => 2,
                Self::ConntrackFullHere => 2,
                _ => 0,
            },
            delay_ms: if self == Self::Late { 2000 } else { 0 },
            stall_ms: if self == Self::ZeroWindow { 60_000 } else { 0 },
            spare: self == Self::GatewayAnswersArp,
            before: match self {
                Self::AcceptQueueFull => Before::ShortAcceptQueue,
                Self::ClosedPortDropped => Before::ClosedPortsDropped,
                Self::ConntrackFullHere => Before::WeFollow,
                Self::ConntrackFullThere => Before::PeerFollows,
                _ => Before::Nothing,
            },
            ..Setting::default()
        }
    }
}
