//! Carries out one request: takes a socket snapshot, destroys a batch, and repeats.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use tracing::{debug, info, warn};

use super::{
    count,
    rule::{self, Unfit},
    shared::{Shared, look},
};
use crate::{
    model::{Destroyed, FlowId, PeerName, Spare, Teardown, Time},
    netlink::sock_diag::{DestroyError, SockDiagError, Socket, Tables},
};

/// How many sockets are destroyed between two snapshots: about 5 ms of work.
const BATCH: usize = 256;

/// How many snapshots must agree that the peer was heard. If this thread had to wait for a
/// processor during a snapshot, all its times are too late, but never too early. So one snapshot
/// that shows silence is enough.
pub(super) const LOOKS: u32 = 3;

/// The kernel's sockets, or fake ones.
pub(super) trait Table {
    /// Whether the table contains the sockets of this network namespace.
    fn reaches(&self, netns: u32) -> bool;
    /// Whether all network namespaces could be read so far.
    fn is_complete(&self) -> bool;
    /// The largest error of the times at which sockets heard something.
    fn resolution(&self) -> Duration;
    /// The sockets whose remote address is one of these. A namespace that cannot be read counts as
    /// not reached from then on.
    fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Vec<Socket>, SockDiagError>;
    /// The socket as it is now; `None` if it is gone.
    fn again(&mut self, socket: &Socket) -> Result<Option<Socket>, SockDiagError>;
    fn destroy(&mut self, socket: &Socket) -> Result<(), DestroyError>;
}

impl Table for Tables<'_> {
    fn reaches(&self, netns: u32) -> bool {
        self.reaches(netns)
    }

    fn is_complete(&self) -> bool {
        self.is_complete()
    }

    fn resolution(&self) -> Duration {
        self.resolution()
    }

    fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Vec<Socket>, SockDiagError> {
        Ok(self.sockets(addrs)?.flows)
    }

    fn again(&mut self, socket: &Socket) -> Result<Option<Socket>, SockDiagError> {
        self.again(socket)
    }

    fn destroy(&mut self, socket: &Socket) -> Result<(), DestroyError> {
        self.destroy(socket)
    }
}

/// Why the work on a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The peer was silent to the end.
    Silent,
    /// A socket of the peer has heard something.
    Heard,
    /// The request was cancelled.
    CalledOff,
    /// The kernel cannot destroy sockets, or this process lacks the privilege.
    Refused,
    /// The kernel's answer was missing or wrong.
    NoAnswer,
}

impl Ending {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Heard => "heard",
            Self::CalledOff => "called_off",
            Self::Refused => "refused",
            Self::NoAnswer => "no_answer",
        }
    }
}

/// Whether the running request is still wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    GoOn,
    /// Destroy nothing more; the remaining sockets count as spared.
    CallOff,
    /// Nobody waits for the answer.
    Stop,
}

/// Carries out requests, one at a time.
#[derive(Default)]
pub(super) struct Teardowns {
    /// Whether the operator was warned that the kernel refuses. The warning comes once, not with
    /// each death.
    has_warned: bool,
    shared: Shared,
}

impl Teardowns {
    /// Returns what happened to the sockets; `None` if the work was stopped halfway. `wish` is
    /// called before each batch. Requests for the addresses `next` are likely to follow.
    pub(super) fn carry_out(
        &mut self,
        table: &mut impl Table,
        request: &Teardown,
        next: &BTreeSet<IpAddr>,
        wish: impl Fn() -> Wish,
    ) -> Option<Destroyed> {
        let mut result = Destroyed::default();
        let mut left = fit(table, request, &mut result);
        let addrs: BTreeSet<IpAddr> = left.iter().map(|(flow, _)| flow.remote.ip()).collect();
        let mut first = match request.spare {
            // The peer is alive: only a snapshot of this moment shows which flows make progress.
            Spare::ProgressedSince(_) => None,
            Spare::HeardSince(_) | Spare::Nothing => self.shared.sockets(table, &addrs, next).ok(),
        };
        let mut ending = Ending::Silent;
        while ending == Ending::Silent && !left.is_empty() {
            ending = match wish() {
                Wish::Stop => return None,
                Wish::CallOff => Ending::CalledOff,
                Wish::GoOn => {
                    let look = look(table, request, &addrs, first.take());
                    self.batch(table, request, look, &mut left, &mut result)
                }
            };
        }
        match ending {
            Ending::Heard | Ending::CalledOff => result.spared += count(left.len()),
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
            "{}",
            what(request)
        );
        Some(result)
    }

    /// Destroys some of the sockets that are `left`, after a `look` at all of the peer's sockets.
    fn batch(
        &mut self,
        table: &mut impl Table,
        request: &Teardown,
        look: Result<(Vec<Socket>, Option<Time>), SockDiagError>,
        left: &mut Vec<(FlowId, u64)>,
        result: &mut Destroyed,
    ) -> Ending {
        let (look, heard) = match look {
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
            debug!(peer = %request.peer, ?at, "heard since it was called silent");
            return Ending::Heard;
        }
        if let Spare::ProgressedSince(since) = request.spare {
            let resolution = table.resolution();
            let before = left.len();
            left.retain(|(_, cookie)| {
                let socket = there.get(cookie);
                !socket.is_some_and(|socket| socket.reading.is_progressing(since, resolution))
            });
            result.spared += count(before - left.len());
        }
        for _ in 0..BATCH {
            let Some((flow, cookie)) = left.pop() else {
                break;
            };
            // The socket is in the snapshot, or it would not be left.
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

    /// Destroys one socket. A result other than [`Ending::Silent`] also applies to all remaining
    /// sockets.
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
            warn!(%peer, %error, "sockets cannot be destroyed; this is logged once");
            self.has_warned = true;
        }
        result.failed += 1;
        match error {
            DestroyError::Unsupported | DestroyError::NotPermitted => Ending::Refused,
            // Each of the others could take as long again.
            DestroyError::NoAnswer(_) => Ending::NoAnswer,
            DestroyError::Gone | DestroyError::Refused(_) => Ending::Silent,
        }
    }
}

/// The sockets that can be named exactly; the others count as failed.
fn fit(table: &impl Table, request: &Teardown, result: &mut Destroyed) -> Vec<(FlowId, u64)> {
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
        let why = match reason {
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
            "some {} cannot be destroyed: {why}",
            what(request)
        );
    }
    left
}

fn what(request: &Teardown) -> &'static str {
    match request.spare {
        Spare::HeardSince(_) | Spare::Nothing => "sockets of a dead peer",
        Spare::ProgressedSince(_) => "stalled sockets of a living peer",
    }
}
