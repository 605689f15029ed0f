use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use tracing::{debug, info, warn};

use super::{
    Request, count,
    rule::{self, Unfit},
};
use crate::{
    core::{Destroyed, FlowId, PeerName, Time},
    netlink::sock_diag::{DestroyError, SockDiagError, Socket, Tables},
};

/// Sockets that are destroyed between two looks: about 5 ms of work.
const BATCH: usize = 256;

/// Looks that have to agree that the peer was heard. One that came late, because this thread
/// had to wait for a processor, dates everything too late; never too early, so that one look
/// which shows silence is enough.
pub(super) const LOOKS: u32 = 3;

/// The kernel's sockets.
pub(super) trait Table {
    /// Whether those of this network namespace are among them.
    fn reaches(&self, netns: u32) -> bool;
    /// How far what they say of when they heard may lie from the truth.
    fn resolution(&self) -> Duration;
    /// Those whose remote address is one of these. A namespace that cannot be read is not
    /// reached from then on.
    fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Vec<Socket>, SockDiagError>;
    fn destroy(&mut self, socket: &Socket) -> Result<(), DestroyError>;
}

impl Table for Tables<'_> {
    fn reaches(&self, netns: u32) -> bool {
        self.reaches(netns)
    }

    fn resolution(&self) -> Duration {
        self.resolution()
    }

    fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Vec<Socket>, SockDiagError> {
        Ok(self.sockets(addrs)?.flows)
    }

    fn destroy(&mut self, socket: &Socket) -> Result<(), DestroyError> {
        self.destroy(socket)
    }
}

/// Why a request ended as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The peer was silent to the last.
    Silent,
    /// A socket of the peer has heard something.
    Heard,
    /// The kernel destroys no sockets, or not for us.
    Refused,
    /// The kernel did not answer as it should.
    NoAnswer,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Heard => "heard",
            Self::Refused => "refused",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// Carries out one request after the other.
#[derive(Default)]
pub(super) struct Worker {
    /// Whether the operator was told that the kernel refuses: once, not with each death.
    has_warned: bool,
}

impl Worker {
    /// What became of the sockets; `None` when it was `stopped` half-way.
    pub(super) fn carry_out(
        &mut self,
        table: &mut impl Table,
        request: &Request,
        stopped: impl Fn() -> bool,
    ) -> Option<Destroyed> {
        let mut result = Destroyed::default();
        let mut left = fit(table, request, &mut result);
        let addrs: BTreeSet<IpAddr> = left.iter().map(|(flow, _)| flow.remote.ip()).collect();
        let mut ending = Ending::Silent;
        while ending == Ending::Silent && !left.is_empty() {
            if stopped() {
                return None;
            }
            ending = self.batch(table, request, &addrs, &mut left, &mut result);
        }
        match ending {
            Ending::Heard => result.spared += count(left.len()),
            _ => result.failed += count(left.len()),
        }
        info!(
            peer = %request.peer,
            generation = request.generation,
            reason = ending.as_str(),
            destroyed = result.destroyed,
            spared = result.spared,
            gone = result.gone,
            failed = result.failed,
            "sockets of a dead peer"
        );
        Some(result)
    }

    /// Looks at all of the peer's sockets, then destroys some of those that are `left`.
    fn batch(
        &mut self,
        table: &mut impl Table,
        request: &Request,
        addrs: &BTreeSet<IpAddr>,
        left: &mut Vec<(FlowId, u64)>,
        result: &mut Destroyed,
    ) -> Ending {
        let (look, heard) = match look(table, request, addrs) {
            Ok(found) => found,
            Err(error) => {
                warn!(peer = %request.peer, %error, "no socket snapshot just before, so nothing is destroyed");
                return Ending::NoAnswer;
            }
        };
        let there: HashMap<u64, &Socket> = look
            .iter()
            .map(|socket| (socket.reading.cookie, socket))
            .collect();
        let before = left.len();
        left.retain(|(flow, _)| flow.netns == 0 || table.reaches(flow.netns));
        result.failed += count(before - left.len());
        let before = left.len();
        left.retain(|(_, cookie)| there.contains_key(cookie));
        result.gone += count(before - left.len());

        if let Some(at) = heard {
            let after = at.since(request.silent_since);
            debug!(peer = %request.peer, ?after, "heard since it was called silent");
            return Ending::Heard;
        }
        for _ in 0..BATCH {
            let Some((flow, cookie)) = left.pop() else {
                break;
            };
            // It is there, or it would not be left.
            let Some(socket) = there.get(&cookie) else {
                continue;
            };
            let ending = self.destroy(table, &request.peer, &flow, socket, result);
            if ending != Ending::Silent {
                return ending;
            }
        }
        Ending::Silent
    }

    /// Destroys one socket; anything but [`Ending::Silent`] speaks of all that are left, too.
    fn destroy(
        &mut self,
        table: &mut impl Table,
        peer: &PeerName,
        flow: &FlowId,
        socket: &Socket,
        result: &mut Destroyed,
    ) -> Ending {
        let error = match table.destroy(socket) {
            Ok(()) => {
                debug!(%peer, %flow, "destroyed");
                result.destroyed += 1;
                self.has_warned = false;
                return Ending::Silent;
            }
            Err(DestroyError::Gone) => {
                debug!(%peer, %flow, "gone before it was destroyed");
                result.gone += 1;
                return Ending::Silent;
            }
            Err(error) => error,
        };
        debug!(%peer, %flow, %error, "not destroyed");
        if !self.has_warned {
            warn!(%peer, %error, "a dead peer's sockets cannot be destroyed; told once");
            self.has_warned = true;
        }
        result.failed += 1;
        match error {
            DestroyError::Unsupported | DestroyError::NotPermitted => Ending::Refused,
            // It could take as long again for each of the others.
            DestroyError::NoAnswer(_) => Ending::NoAnswer,
            DestroyError::Gone | DestroyError::Refused(_) => Ending::Silent,
        }
    }
}

/// The sockets that can be named exactly; the others count as failed.
fn fit(table: &impl Table, request: &Request, result: &mut Destroyed) -> Vec<(FlowId, u64)> {
    let reaches = |netns| table.reaches(netns);
    let mut unfit = None;
    let mut left = request.sockets.clone();
    left.retain(|(flow, cookie)| match rule::check(flow, *cookie, reaches) {
        Ok(()) => true,
        Err(reason) => {
            debug!(peer = %request.peer, %flow, reason = reason.as_str(), "not destroyed");
            unfit = Some(reason);
            false
        }
    });
    result.failed = count(request.sockets.len() - left.len());
    if let Some(reason) = unfit {
        let what = match reason {
            Unfit::NoCookie => "their cookies are not known",
            Unfit::ForeignNamespace => {
                "they are in another network namespace, which is gone or was never named \
                 (network_namespaces)"
            }
        };
        warn!(
            peer = %request.peer,
            sockets = result.failed,
            reason = reason.as_str(),
            "some sockets of a dead peer cannot be destroyed: {what}"
        );
    }
    left
}

/// All of the peer's sockets, and when it was heard, if it was since it was called silent.
fn look(
    table: &mut impl Table,
    request: &Request,
    addrs: &BTreeSet<IpAddr>,
) -> Result<(Vec<Socket>, Option<Time>), SockDiagError> {
    let mut looks = 0;
    loop {
        let look = table.sockets(addrs)?;
        looks += 1;
        let times = look.iter().map(|socket| socket.reading.last_heard);
        let resolution = table.resolution();
        let heard = rule::heard_since(times, request.silent_since, resolution);
        if heard.is_none() || looks == LOOKS {
            return Ok((look, heard));
        }
    }
}
