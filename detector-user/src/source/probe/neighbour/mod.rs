//! Neighbour probes: ARP (RFC 826) and neighbour discovery (RFC 4861), asked and heard by
//! this process itself. The kernel would only ask when it has something to send, and tells
//! of answers late or not at all.
//!
//! Requests are multicast, as the kernel's first ones are: a unicast request would need the
//! peer's hardware address from the kernel's neighbour table, one more thing that can be
//! stale, and it would miss a peer that moved to another card. Any frame that the asked
//! address sent by itself (its own requests too) is an answer: it shows a living host. One
//! that a proxy answers for (proxy ARP) cannot be told from a living one.

mod access;
mod arp;
mod links;
mod ndp;
mod sockets;

pub use self::access::Access;

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use nix::{errno::Errno, sys::epoll::Epoll};
use thiserror::Error;
use tracing::debug;

use self::{links::Links, sockets::Sockets};
use super::{Order, Shared, report::Report, waiting::Waiting, worker};
use crate::{
    clock,
    core::{ProbeAnswer, ProbeId, ProbeTarget, Time},
};

/// Sockets that were not used for so long are closed.
const CLOSED_AFTER: Duration = Duration::from_secs(60);

/// Frames taken at a time, so that a flood of them cannot keep the thread from its deadlines.
const FRAMES: usize = 64;

/// A packet that is not what its own words say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Malformed {
    #[error("{0} bytes are too few")]
    Short(usize),
    #[error("a hop limit of {0}: it was not sent on this link")]
    HopLimit(i32),
    #[error("an unknown code {0}")]
    Code(u8),
    #[error("{0} is nobody's own address")]
    Address(IpAddr),
}

/// What is asked of a link's neighbours.
#[derive(Debug)]
pub(super) struct Neighbours {
    shared: Arc<Shared>,
    waiting: Waiting<Asked>,
    /// Every probe that waits for this address on this link, the oldest first.
    by_address: HashMap<(IpAddr, u32), Vec<u64>>,
    links: Links,
    sockets: Sockets,
    last_used: Time,
}

#[derive(Debug)]
struct Asked {
    probe: ProbeId,
    target: ProbeTarget,
    key: (IpAddr, u32),
}

impl Neighbours {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            waiting: Waiting::new(),
            by_address: HashMap::new(),
            links: Links::default(),
            sockets: Sockets::default(),
            last_used: Time::default(),
        }
    }

    /// Asks. An error says that nothing was sent.
    pub(super) fn send(
        &mut self,
        epoll: &Epoll,
        order: &Order,
        addr: IpAddr,
        link: u32,
        report: &mut Report,
    ) -> Result<(), Errno> {
        if self.waiting.len() >= self.shared.most {
            return Err(Errno::EAGAIN);
        }
        let addr = addr.to_canonical();
        let sent_at = clock::now();
        self.last_used = sent_at;
        self.ask(epoll, addr, link, sent_at)?;
        report.sent(sent_at, order);
        let asked = Asked {
            probe: order.probe,
            target: order.target,
            key: (addr, link),
        };
        let token = self.waiting.insert(sent_at + order.give_up_after, asked);
        self.by_address.entry((addr, link)).or_default().push(token);
        Ok(())
    }

    fn ask(&mut self, epoll: &Epoll, addr: IpAddr, link: u32, now: Time) -> Result<(), Errno> {
        match addr {
            IpAddr::V4(addr) => {
                let arp = self.sockets.arp(epoll)?;
                let link = self.links.usable(link, now)?;
                let source = link.source_for(addr).ok_or(Errno::EADDRNOTAVAIL)?;
                arp.send(&arp::request(link.mac, source, addr), &link.address)
            }
            IpAddr::V6(addr) => {
                let ndp = self.sockets.ndp(epoll)?;
                let usable = self.links.usable(link, now)?;
                ndp.send(&ndp::solicitation(usable.mac, addr), addr, link)
            }
        }
    }

    /// Takes in what has come on the socket of this token.
    pub(super) fn receive(&mut self, token: u64, at: Time, report: &mut Report) {
        for _ in 0..FRAMES {
            let received = match token {
                worker::ARP => self.sockets.receive_arp(),
                _ => self.sockets.receive_ndp(),
            };
            match received {
                Some(Ok(Some((addr, link)))) => self.heard(addr, link, at, report),
                Some(Ok(None)) => {}
                Some(Err(malformed)) => {
                    self.shared.count_malformed();
                    debug!(%malformed, "a neighbour's packet is dropped");
                }
                None => return,
            }
        }
    }

    /// This address lives: whoever asked for it is answered.
    fn heard(&mut self, addr: IpAddr, link: u32, at: Time, report: &mut Report) {
        let Some(tokens) = self.by_address.remove(&(addr, link)) else {
            return;
        };
        for token in tokens {
            if let Some(asked) = self.waiting.answer(token, at) {
                report.answered(
                    at,
                    asked.probe,
                    asked.target,
                    ProbeAnswer::Neighbour(crate::core::HardwareAddress([0; 6])),
                );
            }
        }
    }

    /// Forgets what was not answered in time, and closes what is no longer used.
    pub(super) fn give_up(&mut self, now: Time) {
        while let Some((token, asked)) = self.waiting.pop_expired(now) {
            if let Some(tokens) = self.by_address.get_mut(&asked.key) {
                tokens.retain(|waiting| *waiting != token);
                if tokens.is_empty() {
                    self.by_address.remove(&asked.key);
                }
            }
        }
        if now > self.last_used + CLOSED_AFTER && self.waiting.is_empty() && self.sockets.are_open()
        {
            self.sockets.close();
            self.links = Links::default();
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let close = || {
            self.sockets
                .are_open()
                .then(|| self.last_used + CLOSED_AFTER)
        };
        self.waiting.deadline().or_else(close)
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::eventfd::EventFd;
    use tokio::sync::mpsc::{self, Receiver};

    use super::*;
    use crate::core::{ProbeOutcome, Signal};

    const LINK: u32 = 7;

    fn neighbours() -> (Neighbours, Report, Receiver<Signal>) {
        let shared = Shared {
            queue: Default::default(),
            wake: EventFd::new().unwrap(),
            malformed: Default::default(),
            most: 16,
        };
        let (sender, signals) = mpsc::channel(16);
        (
            Neighbours::new(Arc::new(shared)),
            Report::new(sender),
            signals,
        )
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    /// As [`Neighbours::send`] does once a request has left.
    fn wait(neighbours: &mut Neighbours, probe: u64, key: (IpAddr, u32), deadline: Time) {
        let target = ProbeTarget::Neighbour {
            addr: key.0,
            link: key.1,
        };
        let probe = ProbeId(probe);
        let token = neighbours
            .waiting
            .insert(deadline, Asked { probe, target, key });
        neighbours.by_address.entry(key).or_default().push(token);
    }

    fn answered(signals: &mut Receiver<Signal>) -> Vec<u64> {
        let mut probes = Vec::new();
        while let Ok(Signal::Probe(event)) = signals.try_recv() {
            let answer = ProbeOutcome::Answered(ProbeAnswer::Neighbour(
                crate::core::HardwareAddress([0; 6]),
            ));
            assert_eq!(event.outcome, answer);
            probes.push(event.probe.0);
        }
        probes
    }

    #[test]
    fn an_answer_answers_every_probe_to_that_address_on_that_link() {
        let (mut neighbours, mut report, mut signals) = neighbours();
        let (asked, other) = (addr("10.0.0.2"), addr("10.0.0.3"));
        wait(&mut neighbours, 1, (asked, LINK), at(100));
        wait(&mut neighbours, 2, (asked, LINK), at(50));
        wait(&mut neighbours, 3, (asked, LINK + 1), at(100));
        wait(&mut neighbours, 4, (other, LINK), at(100));
        neighbours.heard(asked, LINK, at(10), &mut report);
        assert_eq!(answered(&mut signals), [1, 2]);
        neighbours.heard(asked, LINK, at(11), &mut report);
        assert_eq!(answered(&mut signals), [0; 0], "answered once");
        assert_eq!(neighbours.waiting.len(), 2);
    }

    #[test]
    fn an_answer_after_giving_up_is_dropped() {
        let (mut neighbours, mut report, mut signals) = neighbours();
        let asked = addr("fd00::2");
        wait(&mut neighbours, 1, (asked, LINK), at(50));
        wait(&mut neighbours, 2, (asked, LINK), at(100));
        neighbours.heard(asked, LINK, at(51), &mut report);
        assert_eq!(answered(&mut signals), [2]);
    }

    #[test]
    fn what_is_given_up_leaves_nothing_behind() {
        let (mut neighbours, mut report, mut signals) = neighbours();
        let asked = addr("10.0.0.2");
        wait(&mut neighbours, 1, (asked, LINK), at(50));
        wait(&mut neighbours, 2, (asked, LINK), at(100));
        neighbours.give_up(at(51));
        assert_eq!(neighbours.by_address[&(asked, LINK)].len(), 1);
        assert_eq!(neighbours.deadline(), Some(at(100)));
        neighbours.give_up(at(101));
        assert!(neighbours.by_address.is_empty() && neighbours.waiting.is_empty());
        assert_eq!(neighbours.deadline(), None);
        neighbours.heard(asked, LINK, at(102), &mut report);
        assert_eq!(answered(&mut signals), [0; 0]);
    }
}
