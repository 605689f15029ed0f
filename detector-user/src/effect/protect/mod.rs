//! Protects services without changes to them, by BPF programs on their cgroups.
//!
//! ```text
//! state ──▶ refuse ──▶ DEAD ──────▶ connect4, connect6: EHOSTUNREACH at once
//! peers ──▶ tune ────▶ WATCHED ───▶ sockops: RTO min, keepalive, user time-out
//!           follow ──▶ attaches both to the cgroups, as those come and go
//! ```
//!
//! The programs decide by the address alone. A service may be in any network namespace: the
//! operator who names it states that the addresses mean the same hosts there. Each kind of program
//! is loaded only if a service needs it. The programs vanish with the process, however it ends.

mod error;
mod follow;
mod kept;
mod load;
mod refuse;
pub mod support;
mod tune;

use std::collections::BTreeMap;

use tracing::debug;

pub use self::{
    error::ProtectError,
    load::{RefusePrograms, TuneProgram, check_links},
    tune::{Tuned, TunedSockets, tune_config},
};
use self::{
    follow::Follower,
    refuse::{DeadMaps, Refuser},
    tune::Tuner,
};
use crate::{
    cgroup::NoTree,
    config::{Config, Target, Tuning},
    keeper::{Keeper, Look},
    model::{Bounds, Endpoint, PeerName, PeerState},
    process::Finder,
};

/// The active protection. Dropping it ends the protection.
#[derive(Debug, Default)]
pub struct Protection {
    refuser: Option<Refuser<DeadMaps>>,
    tuner: Option<Tuner>,
    _keeper: Option<Keeper>,
}

impl Protection {
    /// Loads the programs that the configuration asks for, and attaches them where possible.
    /// Blocks.
    pub fn load(config: &Config, finder: &Finder) -> Result<Self, ProtectError> {
        let mut protection = Self::default();
        let (refused, tuned) = (config.refused(), config.tuned());
        if refused.is_empty() && tuned.is_empty() {
            return Ok(protection);
        }
        check_tree(finder)?;
        let mut followers: Vec<Box<dyn Look>> = Vec::new();
        if !refused.is_empty() {
            let bounds = config.core.bounds();
            let peers = u32::try_from(config.core.max_peers).unwrap_or(u32::MAX);
            let mut programs = RefusePrograms::load(peers, bounds.map_entries())?;
            let maps = DeadMaps {
                dead: programs.programs.take_map("DEAD")?,
                refusals: programs.programs.take_map("REFUSALS")?,
                lease: programs.programs.take_map("LEASE")?,
            };
            protection.refuser = Some(Refuser::new(maps, peers));
            let follower = Follower::new(finder.clone(), programs, &refused, &[]);
            followers.push(Box::new(follower));
        }
        if !tuned.is_empty() {
            let bounds = config.core.bounds();
            let (tuner, follower) = tuner(finder, bounds, &config.tune, (&tuned, &refused), false)?;
            protection.tuner = Some(tuner);
            followers.push(Box::new(follower));
        }
        protection._keeper =
            Some(Keeper::start("cgroups", followers).map_err(ProtectError::Thread)?);
        Ok(protection)
    }

    /// Only tunes, and announces each socket for [`Self::announced`]. Blocks.
    pub fn tune(tuning: &Tuning, target: Target, bounds: Bounds) -> Result<Self, ProtectError> {
        let finder = Finder::new().map_err(ProtectError::Mounts)?;
        check_tree(&finder)?;
        let (tuner, follower) = tuner(&finder, bounds, tuning, (&[target], &[]), true)?;
        let keeper =
            Keeper::start("cgroups", vec![Box::new(follower)]).map_err(ProtectError::Thread)?;
        Ok(Self {
            refuser: None,
            tuner: Some(tuner),
            _keeper: Some(keeper),
        })
    }

    /// Takes in a peer's new state: connects to it are refused while its breaker is Open.
    pub fn publish(&mut self, state: &PeerState) {
        if let Some(refuser) = &mut self.refuser {
            refuser.publish(state);
        }
    }

    /// The peer is no longer watched.
    pub fn retract(&mut self, peer: &PeerName) {
        if let Some(refuser) = &mut self.refuser {
            refuser.retract(peer);
        }
    }

    /// Sets the peers: from now on connections with their endpoints are tuned.
    pub fn watch(&mut self, peers: &BTreeMap<PeerName, Vec<Endpoint>>) {
        if let Some(tuner) = &mut self.tuner {
            tuner.watch(peers);
        }
    }

    /// Must be called once a second. Renews the refusals, which otherwise expire after three
    /// seconds, and retries what the kernel did not accept.
    pub fn chores(&mut self) {
        if let Some(refuser) = &mut self.refuser {
            refuser.chores();
        }
        if let Some(tuner) = &mut self.tuner {
            tuner.chores();
        }
    }

    /// How many connects were refused, for each peer that was ever Open.
    pub fn refused(&self) -> Vec<(PeerName, u64)> {
        self.refuser
            .as_ref()
            .map_or_else(Vec::new, Refuser::refused)
    }

    /// How many open sockets are tuned; at most 4,096 are remembered.
    pub fn sockets_tuned(&mut self) -> usize {
        self.tuner.as_mut().map_or(0, Tuner::count)
    }

    /// The open sockets that are tuned, for reading on a thread where that may take some time;
    /// `None` if tuning is off.
    pub fn tuned(&self) -> Option<TunedSockets> {
        self.tuner.as_ref().map(|tuner| tuner.tuned().clone())
    }

    /// After [`Self::tune`]: the sockets that were tuned since the last call, and the total number
    /// of sockets that were missed.
    pub fn announced(&mut self) -> (Vec<Tuned>, u64) {
        self.tuner
            .as_mut()
            .map_or_else(Default::default, |tuner| (tuner.drain(), tuner.untold()))
    }
}

fn check_tree(finder: &Finder) -> Result<(), ProtectError> {
    let tree = finder.tree();
    let tree = tree.ok_or_else(|| ProtectError::NoTree(NoTree::reason()))?;
    debug!(mount = %tree.mount().display(), "the cgroup v2 tree");
    Ok(())
}

fn tuner(
    finder: &Finder,
    bounds: Bounds,
    tuning: &Tuning,
    (targets, told): (&[Target], &[Target]),
    announce: bool,
) -> Result<(Tuner, Follower<TuneProgram>), ProtectError> {
    let config = tune_config(tuning, announce);
    let mut program = TuneProgram::load(&config, bounds.map_entries())?;
    let tuner = Tuner::new(&mut program, bounds.addresses())?;
    Ok((tuner, Follower::new(finder.clone(), program, targets, told)))
}
