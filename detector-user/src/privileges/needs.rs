//! What the work of a daemon takes, from its configuration and from this machine.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use aya::util::KernelVersion;
use nix::unistd::geteuid;
use rustix::thread::CapabilitySet;

use super::CAPABILITIES;
use crate::config::{Config, Target};

/// From this kernel on, using a map takes only its descriptor ("bpf: refine
/// kernel.unprivileged_bpf_disabled behaviour").
const MAPS_ARE_FREE: (u8, u8, u16) = (5, 19, 0);

/// Below this, a port takes CAP_NET_BIND_SERVICE (ip(7)).
const FREE_PORTS: u16 = 1024;

/// What a daemon does that takes a capability while it works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub destroys: bool,
    pub protects: bool,
    pub enters_namespaces: bool,
    pub finds_programs: bool,
    pub reads_stores: bool,
    pub maps_take_a_capability: bool,
    pub gives_its_socket_to_a_group: bool,
    pub serves_on_a_low_port: bool,
    pub uses_what_others_own: bool,
}

impl Needs {
    /// Those of a daemon with this configuration, from this file.
    pub fn of(config: &Config, file: Option<&Path>) -> Self {
        let (refused, tuned) = (config.refused(), config.tuned());
        let namespaces = config.namespaces();
        let mut targets = refused.iter().chain(&tuned).chain(&namespaces);
        let directories = [config.socket.parent(), Some(&*config.state_directory)];
        let mut paths = directories.into_iter().chain([file]).flatten();
        Self {
            // Also in observe mode, which a reload ends.
            destroys: config.core.destroy_sockets,
            protects: !refused.is_empty() || !tuned.is_empty(),
            enters_namespaces: !namespaces.is_empty(),
            finds_programs: targets.any(|target| matches!(target, Target::Exe(_))),
            reads_stores: !config.stores.is_empty(),
            maps_take_a_capability: maps_take_a_capability(),
            gives_its_socket_to_a_group: config.socket_group.is_some(),
            serves_on_a_low_port: config
                .metrics
                .is_some_and(|address| (1..FREE_PORTS).contains(&address.port())),
            uses_what_others_own: paths.any(is_anothers),
        }
    }

    /// The capabilities that the work takes.
    pub(super) fn kept(&self) -> CapabilitySet {
        let kept = CAPABILITIES.iter().filter(|one| one.is_kept(self));
        kept.map(|one| one.set).collect()
    }
}

/// Whatever the source is, keepalives read flows by running a program.
fn maps_take_a_capability() -> bool {
    let (major, minor, patch) = MAPS_ARE_FREE;
    KernelVersion::current().is_ok_and(|now| now < KernelVersion::new(major, minor, patch))
}

/// Whether another user owns it. What is not there will be made, and is this user's.
fn is_anothers(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.uid() != geteuid().as_raw())
}
