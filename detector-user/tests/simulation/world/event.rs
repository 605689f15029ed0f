//! The events in the cluster, and where they happen.

use std::time::Duration;

use detector_user::model::{ProbeEvent, Signal, Teardown, Time};

use super::{Asked, stalls::Stall};
use crate::{tcp::Ack, ticks::us};

/// What can happen. That which happens on the observer's machine waits while it is paused.
#[derive(Debug)]
pub(super) enum Event {
    // On the hosts and between them.
    Fault {
        index: usize,
        begins: bool,
    },
    Flap {
        index: usize,
        down: bool,
    },
    Start {
        host: usize,
    },
    Settle {
        host: usize,
    },
    SynArrives {
        flow: usize,
        epoch: u32,
    },
    SegmentArrives {
        flow: usize,
        epoch: u32,
        number: u64,
    },
    WindowProbeArrives {
        flow: usize,
        epoch: u32,
    },
    DelayedAck {
        flow: usize,
        epoch: u32,
    },
    Reply {
        flow: usize,
        epoch: u32,
        attempt: u32,
    },
    ProbeArrives {
        asked: Box<Asked>,
    },
    NeighbourGone {
        host: usize,
        cut: u32,
    },
    CheckDead {
        host: usize,
        cut: u32,
        clean: bool,
    },
    CheckClosed {
        host: usize,
        cut: u32,
    },
    CheckStall {
        stall: Stall,
    },
    CheckEnded {
        fault: usize,
        host: usize,
        life: u32,
    },
    // On the observer's machine.
    Report {
        index: usize,
    },
    Work {
        flow: usize,
        epoch: u32,
    },
    Dial {
        flow: usize,
        epoch: u32,
    },
    GiveUp {
        flow: usize,
        epoch: u32,
    },
    Timer {
        flow: usize,
        epoch: u32,
    },
    SynAckArrives {
        flow: usize,
        epoch: u32,
    },
    ResetArrives {
        flow: usize,
        epoch: u32,
    },
    CheckWaiting {
        fault: usize,
        flow: usize,
        cookie: u64,
    },
    AckArrives {
        flow: usize,
        epoch: u32,
        ack: Ack,
        answers: bool,
    },
    DuplicateArrives {
        flow: usize,
        epoch: u32,
    },
    Look {
        host: usize,
    },
    ProbeSent {
        asked: Box<Asked>,
    },
    ProbeAnswered {
        event: Box<ProbeEvent>,
    },
    Destroy {
        host: usize,
        teardown: Box<Teardown>,
    },
    Deliver(Box<Signal>),
    Wake {
        at: Time,
    },
    CatchUp,
}

impl Event {
    /// How long after a pause of the observer's machine it happens; `None` when it happens
    /// elsewhere. Overdue timers run before the packets that have queued up: TIMER_SOFTIRQ
    /// comes before NET_RX_SOFTIRQ (include/linux/interrupt.h). Programs come last.
    pub(super) fn waits_while_paused(&self) -> Option<Duration> {
        match self {
            Self::Timer { .. } => Some(Duration::ZERO),
            Self::SynAckArrives { .. }
            | Self::ResetArrives { .. }
            | Self::AckArrives { .. }
            | Self::DuplicateArrives { .. }
            | Self::ProbeAnswered { .. } => Some(us(100)),
            Self::Report { .. }
            | Self::Work { .. }
            | Self::Dial { .. }
            | Self::GiveUp { .. }
            | Self::Look { .. }
            | Self::ProbeSent { .. }
            | Self::Destroy { .. }
            | Self::Deliver(_)
            | Self::Wake { .. }
            | Self::CatchUp => Some(us(200)),
            _ => None,
        }
    }
    /// Whether it is about a daemon that is no more, once there is another.
    pub(super) fn is_of_daemon(&self) -> bool {
        matches!(
            self,
            Self::Look { .. }
                | Self::ProbeSent { .. }
                | Self::ProbeArrives { .. }
                | Self::ProbeAnswered { .. }
                | Self::Destroy { .. }
                | Self::Deliver(_)
                | Self::Wake { .. }
                | Self::CatchUp
        )
    }
}
