//! The script of a run: hosts, their work, settings, and a list of timed faults.

use std::time::Duration;

use detector_user::model::Settings;

pub use crate::{
    fault::{Fault, Ways},
    work::{Kind, Work},
};

/// Everything that a run depends on: the same script gives the same run.
#[derive(Clone, Debug)]
pub struct Script {
    pub seed: u64,
    pub scenario: &'static str,
    pub length: Duration,
    pub settings: Settings,
    pub hosts: Vec<HostSpec>,
    /// Whether the observer knows a gateway, even if no host is behind it.
    pub gateway: bool,
    pub faults: Vec<Timed>,
}

/// One peer of the observer.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSpec {
    /// One way to it.
    pub distance: Duration,
    /// Behind the gateway.
    pub routed: bool,
    /// A closed port is not answered by a reset.
    pub firewalled: bool,
    /// Connects that its kernel takes while the program does not.
    pub backlog: u32,
    /// Segments that its kernel takes while the program does not.
    pub window: u32,
    pub work: Vec<Work>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// From the start of the run.
    pub at: Duration,
    pub fault: Fault,
    pub lasts: Duration,
}

impl Script {
    /// Nodes of the cluster times its length.
    pub fn node_hours(&self) -> f64 {
        (self.hosts.len() + 1) as f64 * self.length.as_secs_f64() / 3600.0
    }
}

impl HostSpec {
    /// A host on the same switch with this work.
    pub fn near(work: &[Work]) -> Self {
        Self {
            distance: Duration::from_micros(50),
            routed: false,
            firewalled: false,
            backlog: 128,
            window: 64,
            work: work.to_vec(),
        }
    }
}
