//! The thread that sends probes and receives their answers.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use super::{
    Order,
    connect::Connects,
    keepalive::{self, Flows, Keepalives},
    neighbour::Neighbours,
    report::Report,
};
use crate::{
    clock,
    model::{ProbeTarget, Time},
    netns::Namespaces,
    signals::SignalSender,
    worker::Inbox,
};

/// The epoll tokens: what woke the thread is the queue, one of the two sockets for neighbours, one
/// that keepalives share, or, with any smaller token, a keepalive or a connect.
const WAKE: u64 = u64::MAX;
pub(super) const ARP: u64 = u64::MAX - 1;
pub(super) const NDP: u64 = u64::MAX - 2;

/// The most events that are taken from the kernel at a time.
const EVENTS: usize = 256;

/// The most probes that are sent before answers and deadlines are looked at again.
const AT_ONCE: usize = 256;

/// The thread: waits for answers, orders, deadlines, and room for its reports.
#[derive(Debug)]
pub(super) struct Probing {
    epoll: Epoll,
    report: Report,
    connects: Connects,
    keepalives: Keepalives,
    neighbours: Neighbours,
}

impl Probing {
    pub(super) fn new(
        signals: SignalSender,
        namespaces: Namespaces,
        malformed: Arc<AtomicU64>,
        flows: Arc<Flows>,
        most: usize,
    ) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .context("cannot make an epoll instance; is the limit of open files reached?")?;
        Ok(Self {
            epoll,
            report: Report::new(signals),
            connects: Connects::new(namespaces.clone(), most),
            keepalives: Keepalives::new(flows, namespaces, most),
            neighbours: Neighbours::new(malformed, most),
        })
    }

    pub(super) fn run(mut self, orders: &Inbox<VecDeque<Order>>) -> Result<(), Errno> {
        if let Some(wake) = orders.as_fd() {
            // While orders have to wait, they must not wake the thread again and again.
            let edge = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
            self.epoll.add(wake, EpollEvent::new(edge, WAKE))?;
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut are_left = false;
        while !orders.is_stopped() && !self.report.is_closed() {
            let timeout = match are_left {
                true => EpollTimeout::ZERO,
                false => self.timeout(),
            };
            let ready = match self.epoll.wait(&mut events, timeout) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => 0,
                Err(errno) => return Err(errno),
            };
            let at = clock::now();
            for event in &events[..ready] {
                self.ready(event.data(), event.events(), at);
            }
            let some: Vec<Order>;
            (some, are_left) = orders.take(|orders| {
                let some = orders.drain(..orders.len().min(AT_ONCE)).collect();
                (some, !orders.is_empty())
            });
            let alone = self
                .keepalives
                .send_together(&self.epoll, some, &mut self.report);
            for order in alone {
                self.send(&order);
            }
            let now = clock::now();
            self.connects.give_up(now);
            self.neighbours.give_up(now);
            self.keepalives.give_up(now);
        }
        Ok(())
    }

    fn ready(&mut self, token: u64, flags: EpollFlags, at: Time) {
        match token {
            WAKE => {}
            keepalive::TOGETHER => self.keepalives.read_together(&mut self.report),
            ARP | NDP => self.neighbours.receive(token, at, &mut self.report),
            token if token & keepalive::TOKEN != 0 => {
                self.keepalives.ready(token, at, &mut self.report);
            }
            token => self.connects.ready(token, flags, at, &mut self.report),
        }
    }

    fn send(&mut self, order: &Order) {
        let sent = match order.target {
            ProbeTarget::Connect(endpoint) => {
                self.connects
                    .send(&self.epoll, order, None, endpoint, &mut self.report)
            }
            ProbeTarget::ConnectFrom { netns, endpoint } => {
                self.connects
                    .send(&self.epoll, order, Some(netns), endpoint, &mut self.report)
            }
            ProbeTarget::Neighbour { addr, link } => {
                self.neighbours
                    .send(&self.epoll, order, addr, link, &mut self.report)
            }
            ProbeTarget::Flow { flow, cookie } => {
                self.keepalives
                    .send(&self.epoll, order, flow, cookie, &mut self.report)
            }
        };
        if let Err(errno) = sent {
            self.report.failed(order, errno);
        }
    }

    /// The time until the next deadline, rounded up: waking before it would be useless.
    fn timeout(&self) -> EpollTimeout {
        let now = clock::now();
        let deadlines = [
            self.connects.deadline(),
            self.neighbours.deadline(),
            self.keepalives.deadline(),
        ];
        let Some(next) = deadlines.into_iter().flatten().min() else {
            return EpollTimeout::NONE;
        };
        let wait = next.since(now) + Duration::from_millis(1);
        EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::MAX)
    }
}
