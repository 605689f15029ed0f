//! Neighbour probes: ARP (RFC 826) and neighbour discovery (RFC 4861), sent and received by this
//! process itself. The kernel sends requests only when it has something to send, and reports
//! answers late or not at all.
//!
//! A request goes to the card that the neighbour is known to have, as the kernel's later ones do
//! (RFC 1122, 2.3.2.1; RFC 4861, 7.2.2), and to all on the link only where no card is known or that
//! one did not answer. Any frame that the probed address sends, including its own requests, is an
//! answer: it shows a card that answers for the address. A proxy's answer (proxy ARP) differs from
//! the neighbour's own only in the hardware address, which is reported.

mod access;
mod arp;
mod cards;
mod links;
mod malformed;
mod ndp;
mod sockets;

pub use self::access::Access;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{errno::Errno, sys::epoll::Epoll};
use tracing::debug;

use self::{
    cards::{Cards, Key},
    links::Links,
    sockets::{Heard, Sockets},
};
use super::{Order, report::Report, waiting::Waiting, worker};
use crate::{
    clock,
    model::{HardwareAddress, ProbeAnswer, ProbeId, ProbeTarget, Time},
};

/// Sockets that were not used for this long are closed.
const CLOSED_AFTER: Duration = Duration::from_secs(60);

/// Frames taken at a time, so that a flood of them cannot keep the thread from its deadlines.
const FRAMES: usize = 64;

/// Reads any bytes: see [`hostile`](crate::hostile).
pub fn any_arp(frame: &[u8]) {
    arp::any_frame(frame);
}

/// Reads any bytes: see [`hostile`](crate::hostile).
pub fn any_ndp(frame: &[u8]) {
    ndp::any_frame(frame);
}

/// The neighbour probes of all links.
#[derive(Debug)]
pub(super) struct Neighbours {
    /// Answers that could not be understood.
    malformed: Arc<AtomicU64>,
    most: usize,
    waiting: Waiting<Asked>,
    /// Every probe that waits for this address on this link, the oldest first.
    by_address: HashMap<Key, Vec<u64>>,
    cards: Cards,
    links: Links,
    sockets: Sockets,
    last_used: Time,
}

#[derive(Debug)]
struct Asked {
    probe: ProbeId,
    target: ProbeTarget,
    key: Key,
    /// The card to which the request went; `None` for all.
    card: Option<HardwareAddress>,
}

impl Neighbours {
    pub(super) fn new(malformed: Arc<AtomicU64>, most: usize) -> Self {
        Self {
            malformed,
            most,
            cards: Cards::new(most),
            waiting: Waiting::new(),
            by_address: HashMap::new(),
            links: Links::default(),
            sockets: Sockets::default(),
            last_used: Time::default(),
        }
    }

    /// Sends a request. An error means that nothing was sent.
    pub(super) fn send(
        &mut self,
        epoll: &Epoll,
        order: &Order,
        addr: IpAddr,
        link: u32,
        report: &mut Report,
    ) -> Result<(), Errno> {
        if self.waiting.len() >= self.most {
            return Err(Errno::EAGAIN);
        }
        let addr = addr.to_canonical();
        let sent_at = clock::now();
        self.last_used = sent_at;
        let card = self.cards.whom((addr, link));
        self.ask(epoll, addr, link, card)?;
        report.sent(sent_at, order);
        let asked = Asked {
            probe: order.probe,
            target: order.target,
            key: (addr, link),
            card,
        };
        let token = self.waiting.insert(sent_at + order.give_up_after, asked);
        self.by_address.entry((addr, link)).or_default().push(token);
        Ok(())
    }

    fn ask(
        &mut self,
        epoll: &Epoll,
        addr: IpAddr,
        link: u32,
        card: Option<HardwareAddress>,
    ) -> Result<(), Errno> {
        let sockets = &mut self.sockets;
        match addr {
            IpAddr::V4(addr) => {
                let arp = sockets.arp(epoll)?;
                let link = self.links.usable(link, self.last_used)?;
                let source = link.source_for(addr).ok_or(Errno::EADDRNOTAVAIL)?;
                arp.send(&arp::request(link.mac, source, addr, card), &link.address)
            }
            IpAddr::V6(addr) => {
                let ndp = sockets.ndp(epoll)?;
                let usable = self.links.usable(link, self.last_used)?;
                let source = links::source_for_v6(addr, link)?;
                let frame = ndp::solicitation(usable.mac, source, addr, card);
                ndp.send(&frame, &usable.address)
            }
        }
    }

    /// Takes in the frames that have arrived on the socket of this token.
    pub(super) fn receive(&mut self, token: u64, at: Time, report: &mut Report) {
        for _ in 0..FRAMES {
            let received = match token {
                worker::ARP => self.sockets.receive_arp(),
                _ => self.sockets.receive_ndp(),
            };
            match received {
                Some(Ok(Some(heard))) => self.heard(heard, at, report),
                Some(Ok(None)) => {}
                Some(Err(malformed)) => {
                    self.malformed.fetch_add(1, Ordering::Relaxed);
                    debug!(%malformed, "a neighbour's packet is dropped");
                }
                None => return,
            }
        }
    }

    /// A card answers for this address: every probe that waits for the address is answered.
    fn heard(&mut self, heard: Heard, at: Time, report: &mut Report) {
        let key = (heard.addr, heard.link);
        for token in self.by_address.remove(&key).unwrap_or_default() {
            let Some(asked) = self.waiting.answer(token, at) else {
                continue;
            };
            self.cards.answered(key, asked.card, heard.hardware);
            let answer = ProbeAnswer::Neighbour(heard.hardware);
            report.answered(at, asked.probe, asked.target, answer);
        }
    }

    /// Forgets probes that were not answered in time, and closes sockets that are no longer used.
    pub(super) fn give_up(&mut self, now: Time) {
        while let Some((token, asked)) = self.waiting.pop_expired(now) {
            self.cards.unanswered(asked.key, asked.card);
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
            self.cards = Cards::new(self.most);
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
    use tokio::sync::mpsc::Receiver;

    use super::*;
    use crate::{
        model::{ProbeOutcome, Signal},
        signals,
    };

    /// There is none of this number: the kernel knows nobody on it.
    const LINK: u32 = 0x7fff_fff0;

    fn neighbours() -> (Neighbours, Report, Receiver<Signal>) {
        let (sender, signals) = signals::channel(16);
        (
            Neighbours::new(Arc::default(), 16),
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
        let asked = Asked {
            probe: ProbeId(probe),
            target,
            key,
            card: neighbours.cards.whom(key),
        };
        let token = neighbours.waiting.insert(deadline, asked);
        neighbours.by_address.entry(key).or_default().push(token);
    }

    /// The card of every host here.
    const CARD: HardwareAddress = HardwareAddress([2, 0, 0, 0, 0, 1]);

    fn hear(neighbours: &mut Neighbours, addr: IpAddr, at: Time, report: &mut Report) {
        let heard = Heard {
            addr,
            link: LINK,
            hardware: CARD,
        };
        neighbours.heard(heard, at, report);
    }

    fn answered(signals: &mut Receiver<Signal>) -> Vec<u64> {
        let mut probes = Vec::new();
        while let Ok(Signal::Probe(event)) = signals.try_recv() {
            let answer = ProbeOutcome::Answered(ProbeAnswer::Neighbour(CARD));
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
        hear(&mut neighbours, asked, at(10), &mut report);
        assert_eq!(answered(&mut signals), [1, 2]);
        hear(&mut neighbours, asked, at(11), &mut report);
        assert_eq!(answered(&mut signals), [0; 0], "answered once");
        assert_eq!(neighbours.waiting.len(), 2);
    }

    #[test]
    fn an_answer_after_giving_up_is_dropped() {
        let (mut neighbours, mut report, mut signals) = neighbours();
        let asked = addr("fd00::2");
        wait(&mut neighbours, 1, (asked, LINK), at(50));
        wait(&mut neighbours, 2, (asked, LINK), at(100));
        hear(&mut neighbours, asked, at(51), &mut report);
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
        hear(&mut neighbours, asked, at(102), &mut report);
        assert_eq!(answered(&mut signals), [0; 0]);
    }

    #[test]
    fn one_card_is_asked_after_its_answer_and_all_after_its_silence() {
        let (mut neighbours, mut report, _signals) = neighbours();
        let key = (addr("10.0.0.2"), LINK);
        wait(&mut neighbours, 1, key, at(100));
        hear(&mut neighbours, key.0, at(10), &mut report);
        assert_eq!(neighbours.cards.whom(key), Some(CARD));
        wait(&mut neighbours, 2, key, at(200));
        neighbours.give_up(at(201));
        assert_eq!(neighbours.cards.whom(key), None);
    }
}
