//! Links, routes, neighbours and network namespaces, as the kernel reports them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::HardwareAddress;

/// The way to an address, as the kernel routes it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Index of the outgoing link.
    pub link: u32,
    /// The next hop; `None` where the address is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// The state of a neighbour entry in the kernel, where it says something about the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NeighbourState {
    /// The neighbour answered, or TCP heard from it.
    Reachable,
    /// The hardware address is known but was not confirmed lately; it may be a new one.
    Stale,
    /// The kernel asked repeatedly and got no answer.
    Failed,
}

impl NeighbourState {
    /// The word for it, in lower snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Failed => "failed",
        }
    }
}

/// A change in this host's network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkEvent {
    /// A link can carry traffic (carrier, administratively up), or cannot.
    Link { link: u32, name: String, up: bool },
    /// The route to an address of interest; `None` when there is none, or the address is this
    /// host's own.
    Route { addr: IpAddr, route: Option<Route> },
    /// A neighbour answered or did not.
    Neighbour {
        addr: IpAddr,
        link: u32,
        state: NeighbourState,
        /// The hardware address that the kernel sends to; `None` where it knows none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hardware: Option<HardwareAddress>,
    },
}

impl NetworkEvent {
    /// The word for it, in lower snake case: the `kind` label of the signals metric.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Link { up: true, .. } => "link_up",
            Self::Link { up: false, .. } => "link_down",
            Self::Route { .. } => "route",
            Self::Neighbour {
                state: NeighbourState::Reachable,
                ..
            } => "neighbour_reachable",
            Self::Neighbour {
                state: NeighbourState::Stale,
                ..
            } => "neighbour_stale",
            Self::Neighbour {
                state: NeighbourState::Failed,
                ..
            } => "neighbour_failed",
        }
    }
}

impl NetworkEvent {
    /// What the event is about: a link or an address.
    pub fn subject(&self) -> String {
        match self {
            Self::Link { name, .. } => name.clone(),
            Self::Route { addr, .. } | Self::Neighbour { addr, .. } => addr.to_string(),
        }
    }
}

/// What became of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NamespaceChange {
    /// From now on it is watched besides the daemon's own: peers can be probed from it.
    Watched,
    /// Its sockets could not be read: what is known of its flows is out of date.
    Unreadable,
    /// It no longer exists, or is no longer watched.
    Gone,
}

impl NamespaceChange {
    /// The word for it, in lower snake case: the `kind` label of the signals metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Watched => "namespace_watched",
            Self::Unreadable => "namespace_unreadable",
            Self::Gone => "namespace_gone",
        }
    }
}
