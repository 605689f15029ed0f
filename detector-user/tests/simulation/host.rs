//! A peer's machine: its power, its kernel, its program.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv4Addr},
};

use detector_user::model::{Endpoint, HardwareAddress, PeerName, Time};

use crate::{script::HostSpec, wire::Wire};

pub const PORT: u16 = 9000;
/// The links of the observer by which near hosts and the gateway are reached.
pub const LINK: u32 = 2;
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));

/// The name of the host at this place of the script.
pub fn name_of(index: usize) -> String {
    format!("node{}", index + 1)
}

#[derive(Debug)]
pub struct Host {
    pub name: PeerName,
    pub addr: IpAddr,
    pub spec: HostSpec,
    pub wire: Wire,
    /// How many faults keep it off, its program down, its program stopped.
    pub off: u32,
    pub down: u32,
    pub stopped: u32,
    /// How many faults have it stand still, and stand still while its card answers.
    pub frozen: u32,
    pub frozen_behind_card: u32,
    /// How many faults have another card answer for it, or take its address.
    pub proxied: u32,
    pub usurped: u32,
    /// How many faults drop new connections to it, all or but a few.
    pub syns_dropped: u32,
    pub syns_limited: u32,
    pub syn_limit: Bucket,
    pub prunes: bool,
    pub slow: std::time::Duration,
    /// Lives of the program: sockets of an earlier one are unknown to its kernel.
    pub life: u32,
    /// Connects taken by the kernel while the program is stopped.
    pub queued: u32,
    /// Packets are simulated; else nothing is wrong with it.
    pub awake: bool,
    /// Until when nothing that was asked of it was answered, though it lived.
    pub mute_until: Option<Time>,
    /// When its program last began to serve.
    pub serving_since: Time,
    /// Since when nothing has been wrong.
    pub calm_since: Time,
    /// The observer's kernel has given up asking for its hardware address.
    pub neighbour_failed: bool,
    /// Whether the source reports completed handshakes.
    pub report_established: bool,
}

impl Host {
    pub fn new(index: usize, spec: HostSpec) -> Self {
        let number = index as u8 + 1;
        let (near, name) = (!spec.routed, format!("http://{}:{PORT}", name_of(index)));
        let addr = if near {
            Ipv4Addr::new(10, 0, 0, number)
        } else {
            Ipv4Addr::new(10, 9, 0, number)
        };
        Self {
            name: PeerName::from_canonical(&name),
            addr: addr.into(),
            wire: Wire::new(spec.distance),
            spec,
            off: 0,
            down: 0,
            stopped: 0,
            frozen: 0,
            frozen_behind_card: 0,
            proxied: 0,
            usurped: 0,
            syns_dropped: 0,
            syns_limited: 0,
            syn_limit: Bucket::default(),
            prunes: false,
            slow: std::time::Duration::ZERO,
            life: 0,
            queued: 0,
            awake: true,
            mute_until: None,
            serving_since: Time::default(),
            calm_since: Time::default(),
            neighbour_failed: false,
            report_established: false,
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            addr: self.addr,
            port: PORT,
        }
    }

    /// Its kernel runs and segments go both ways, some at least.
    pub fn is_reachable(&self) -> bool {
        self.off == 0 && self.frozen == 0 && !self.wire.condition.is_cut()
    }

    /// Its own card answers ARP.
    pub fn card_answers(&self) -> bool {
        self.off == 0 && self.card_answers_frozen() && !self.wire.condition.is_link_cut()
    }

    /// While the host is frozen, something answers for its card.
    pub fn card_answers_frozen(&self) -> bool {
        self.frozen == self.frozen_behind_card
    }

    /// Its own card answers on the link, or another one does, or segments of it arrive: what
    /// makes a decision about its kernel take longer.
    pub fn is_gray(&self) -> bool {
        let near = !self.spec.routed && (self.card_answers() || self.proxied > 0);
        near || (self.off == 0 && self.frozen == 0 && self.wire.condition.is_heard_only())
    }

    /// Whether what is in front of it lets a new connection pass.
    pub fn passes_syn(&mut self, now: Time) -> bool {
        let limited = self.syns_limited > 0 && !self.syn_limit.take(now);
        self.syns_dropped == 0 && !limited
    }

    pub fn is_serving(&self) -> bool {
        self.off == 0 && self.down == 0 && self.stopped == 0
    }

    /// The host is alive, but no connect to it is answered: its closed ports are silent and its
    /// program accepts none, or no SYN reaches it.
    pub fn takes_no_connect(&self) -> bool {
        let takes_none = self.down > 0 || (self.stopped > 0 && self.queued > self.spec.backlog);
        let limited = self.syns_dropped + self.syns_limited > 0;
        limited || (self.spec.firewalled && takes_none)
    }

    pub fn is_well(&self) -> bool {
        let faults = self.frozen + self.usurped + self.syns_dropped + self.syns_limited;
        let clear = self.wire.condition.is_clear() && faults == 0;
        self.is_serving() && clear && self.slow.is_zero()
    }
}

/// The usual limit of new connections: three at once, then one a second.
#[derive(Debug, Default)]
pub struct Bucket {
    used: u32,
    since: Time,
}

impl Bucket {
    const BURST: u32 = 3;

    fn take(&mut self, now: Time) -> bool {
        let refilled = now.since(self.since).as_secs() as u32;
        if refilled > 0 {
            self.used = self.used.saturating_sub(refilled);
            self.since = now;
        }
        self.used += 1;
        if self.used > Self::BURST {
            self.used = Self::BURST;
            return false;
        }
        true
    }
}

/// The card that answers for the host with this address in its place.
pub fn other_card(addr: IpAddr) -> HardwareAddress {
    let HardwareAddress([_, rest @ ..]) = card(addr);
    let [a, b, c, d, e] = rest;
    HardwareAddress([6, a, b, c, d, e])
}

/// The card of the host with this address: each has its own.
pub fn card(addr: IpAddr) -> HardwareAddress {
    let mut hasher = DefaultHasher::new();
    addr.hash(&mut hasher);
    let [a, b, c, d, e, ..] = hasher.finish().to_be_bytes();
    HardwareAddress([2, a, b, c, d, e])
}
