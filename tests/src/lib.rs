//! The network-namespace lab, on which the end-to-end tests, `lab` and `bench` are built.
//!
//! ```text
//!   h1 ──┐                    each host is a network namespace
//!   h2 ──┼── switch           with 10.77.0.N/24 and fd77::N/64;
//!   h3 ──┘                    the switch is a bridge in one more;
//!                             behind a router there may be h4, … in 10.78.0.N/24
//! ```
//!
//! [`Lab`] makes and cuts the network, [`Process`] runs a program on a host, and [`peer`] is that
//! program: a storage peer that speaks gRPC or HTTP. [`store`] is a small real store. [`Daemon`]
//! runs the real detector on a host and records what a gRPC watcher receives, with the times.

pub mod asker;
pub mod baseline;
pub mod browser;
mod cgroup;
pub mod clock;
pub mod crowd;
mod daemon;
mod debian;
pub mod guest;
mod http;
pub mod kernel;
mod lab;
mod log;
pub mod name_server;
mod names;
pub mod peer;
mod peers;
mod process;
mod scene;
pub mod spent;
mod stand_in;
mod starve;
pub mod stats;
pub mod store;
mod terminal;
pub mod testbed;
pub mod trio;
mod watcher;

pub use self::{
    cgroup::{Cgroup, Joined},
    daemon::{Daemon, DaemonOptions, METRICS, Via, binary},
    debian::{Debian, package},
    http::{get, post},
    lab::{
        ArpCount, Cut, CutMoment, Forged, Forger, Host, Inspection, Lab, Loss, PodNetwork, Rules,
        Says, SecondCard, StandsIn, Stranger, Way,
    },
    log::Log,
    names::Names,
    peers::{Traffic, dial},
    process::Process,
    scene::{Scene, SceneOptions},
    stand_in::{STAND_IN, StandIn},
    starve::Starvation,
    terminal::Terminal,
    trio::Trio,
    watcher::{Observed, Watcher, connect},
};

/// The port on which the lab's storage peers serve.
pub const PEER_PORT: u16 = 9000;
