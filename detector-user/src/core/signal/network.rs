//! Links, routes, neighbours and network namespaces, as the kernel tells of them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::core::HardwareAddress;

/// The way to an address, as the kernel routes it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Index of the link it leaves by.
    pub link: u32,
    /// The next hop; `None` where the address is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// What the kernel believes of a neighbour, where it says something of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NeighbourState {
    /// It answered, or TCP heard from it.
    Reachable,
    /// Its hardware address is known, and was not confirmed lately: the address may be new.
    Stale,
    /// It was asked over and over and did not answer.
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

/// What the network of this host looks like has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkEvent {
    /// A link can carry traffic (carrier, administratively up), or cannot.
    Link { link: u32, name: String, up: bool },
    /// How an address that is asked about is reached; `None` when there is no route, or the
    /// address is this host's own.
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
    /// What it is about: a link or an address.
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
    /// It is watched beside the daemon's own from now on: peers can be asked from it.
    Watched,
    /// Its sockets could not be read: what is known of its flows is no longer so.
    Unreadable,
    /// It is no longer there, or no longer watched.
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
