//! A peer's machine: its power, its kernel, its program.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, Ipv4Addr},
};

use detector_user::core::{Endpoint, HardwareAddress, PeerName, Time};

use crate::{script::HostSpec, wire::Wire};

pub const PORT: u16 = 9000;
/// The links of the observer by which near hosts and the gateway are reached.
pub const LINK: u32 = 2;
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));

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
    pub prunes: bool,
    pub slow: std::time::Duration,
    /// Lives of the program: sockets of an earlier one are unknown to its kernel.
    pub life: u32,
    /// Connects taken by the kernel while the program is stopped.
    pub queued: u32,
    /// Packets are simulated; else nothing is wrong with it.
    pub awake: bool,
    /// When its program last began to serve.
    pub serving_since: Time,
    /// Since when nothing has been wrong.
    pub calm_since: Time,
    /// The observer's kernel has given up asking for its hardware address.
    pub neighbour_failed: bool,
    /// The source tells of finished handshakes.
    pub report_established: bool,
}

impl Host {
    pub fn new(number: usize, spec: HostSpec) -> Self {
        let number = number as u8 + 1;
        let (near, name) = (!spec.routed, format!("http://node{number}:{PORT}"));
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
            prunes: false,
            slow: std::time::Duration::ZERO,
            life: 0,
            queued: 0,
            awake: true,
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

    /// Its kernel runs and packets go both ways, some at least.
    pub fn is_reachable(&self) -> bool {
        self.off == 0 && !self.wire.condition.is_cut()
    }

    pub fn is_serving(&self) -> bool {
        self.off == 0 && self.down == 0 && self.stopped == 0
    }

    /// It lives, and nothing that can be asked of it from elsewhere is answered: no
    /// neighbour, closed ports that are silent, and nobody who takes a connect.
    pub fn is_mute(&self) -> bool {
        let takes_none = self.down > 0 || (self.stopped > 0 && self.queued > self.spec.backlog);
        self.spec.routed && self.spec.firewalled && takes_none
    }

    pub fn is_well(&self) -> bool {
        self.is_serving() && self.wire.condition.is_clear() && self.slow.is_zero()
    }
}

/// The card of the host with this address: each has its own.
pub fn card(addr: IpAddr) -> HardwareAddress {
    let mut hasher = DefaultHasher::new();
    addr.hash(&mut hasher);
    let [a, b, c, d, e, ..] = hasher.finish().to_be_bytes();
    HardwareAddress([2, a, b, c, d, e])
}
