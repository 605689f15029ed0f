//! What is known of flows by all that send keepalives: their numbers, as the kernel has them now, and
//! when each was asked last.

use std::sync::{Mutex, MutexGuard, PoisonError};

use detector_ebpf::Sequences;
use nix::errno::Errno;
use tracing::warn;

use super::{
    history::History,
    segment::{self, Kind, Question},
};
use crate::{
    model::FlowId,
    source::ebpf::{EbpfUnavailable, SequenceReader},
};

/// `include/net/tcp_states.h`
const TCP_SYN_SENT: u8 = 2;
const TCP_SYN_RECV: u8 = 3;
const TCP_TIME_WAIT: u8 = 6;
const TCP_CLOSE: u8 = 7;
const TCP_LISTEN: u8 = 10;

/// What is known of flows by all that send keepalives.
#[derive(Debug)]
pub(in crate::source::probe) struct Flows {
    reader: Result<SequenceReader, Errno>,
    history: Mutex<History>,
}

impl Flows {
    /// Loads the program that reads flows, which takes some milliseconds. Without it no flow can be
    /// probed.
    pub(in crate::source::probe) fn load(most: usize) -> Self {
        Self {
            reader: SequenceReader::load().map_err(|error| unavailable(&error)),
            history: Mutex::new(History::new(most)),
        }
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        // A history is whole after each of its methods.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prepares a keepalive on each of these flows; called in their network namespace. Also returns
    /// the mark with which the flow is routed.
    pub(super) fn questions(&self, all: &[Asking]) -> Vec<Result<(Question, u32), Errno>> {
        let reader = match &self.reader {
            Ok(reader) => reader,
            Err(errno) => return all.iter().map(|_| Err(*errno)).collect(),
        };
        let flows: Vec<FlowId> = all.iter().map(|asking| asking.flow).collect();
        let numbers = reader.read_all(&flows).into_iter();
        let question = |(asking, numbers): (&Asking, Result<_, _>)| asking.question(numbers?);
        all.iter().zip(numbers).map(question).collect()
    }
}

/// A flow on which a keepalive should be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub flow: FlowId,
    pub cookie: u64,
    pub kind: Kind,
}

impl Asking {
    /// The keepalive, by the flow's numbers as they were just read.
    pub(super) fn question(&self, numbers: Option<Sequences>) -> Result<(Question, u32), Errno> {
        let sequences = numbers.ok_or(Errno::ENOTCONN)?;
        check(&sequences, self.cookie)?;
        let kind = match sequences.snd_wnd {
            0 => Kind::Octet,
            _ => self.kind,
        };
        Ok((Question::new(self.flow, sequences, kind), sequences.mark))
    }
}

/// Whether this is the right socket, in a state in which it can be probed.
fn check(sequences: &Sequences, cookie: u64) -> Result<(), Errno> {
    // A new connection reuses the same addresses and ports.
    if cookie != 0 && sequences.cookie != cookie {
        return Err(Errno::ESTALE);
    }
    match sequences.tcp_state {
        0 | TCP_SYN_SENT | TCP_SYN_RECV | TCP_TIME_WAIT | TCP_CLOSE | TCP_LISTEN => {
            return Err(Errno::ENOTCONN);
        }
        _ => {}
    }
    match segment::can_speak(sequences) {
        true => Ok(()),
        false => Err(Errno::EOPNOTSUPP),
    }
}

fn unavailable(error: &EbpfUnavailable) -> Errno {
    warn!(
        "flows cannot be asked by keepalive segments: {error}; peers are asked by TCP connects \
         and neighbour probes alone"
    );
    error.errno()
}
