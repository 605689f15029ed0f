//! `detector doctor`'s proof that flows can be probed on this machine: it probes one of its own
//! while data flows over it.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, poll},
};
use socket2::SockRef;
use thiserror::Error;

use super::{
    Asking, ask,
    segment::{Heard, Kind},
};
use crate::{
    clock,
    model::FlowId,
    source::ebpf::{EbpfUnavailable, SequenceReader},
};

/// The kernel answers itself within microseconds; this only keeps a failure from blocking.
const WITHIN_MS: u16 = 1000;
const READ_WITHIN: Duration = Duration::from_secs(1);

/// The first is plain, which the kernel answers only at a limited rate; the others carry an octet.
const QUESTIONS: u8 = 50;

/// Why it is not proven that flows can be probed.
#[derive(Debug, Error)]
pub enum KeepaliveProofError {
    #[error("cannot connect to myself over 127.0.0.1 to try it: {0}; is lo up?")]
    Loopback(#[from] io::Error),
    #[error(transparent)]
    Sequences(#[from] EbpfUnavailable),
    #[error("cannot ask on my own connection over 127.0.0.1: {0}")]
    Ask(#[from] Errno),
    #[error("my own connection over 127.0.0.1 did not answer within a second")]
    Silent,
    #[error("what came over my own connection while it was asked is not what was sent")]
    Harmed,
}

/// Probes a loopback connection of its own, and sends a byte both ways after each probe. Returns
/// how long the slowest answer took.
pub fn prove() -> Result<Duration, KeepaliveProofError> {
    let reader = SequenceReader::load()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = TcpStream::connect(listener.local_addr()?)?;
    let (theirs, _) = listener.accept()?;
    let mut slowest = Duration::ZERO;
    for number in 0..QUESTIONS {
        let kind = if number == 0 {
            Kind::Plain
        } else {
            Kind::Octet
        };
        slowest = slowest.max(answer(&reader, &ours, kind)?);
        carry(&ours, &theirs, number)?;
        carry(&theirs, &ours, number)?;
    }
    nothing_more(&ours)?;
    nothing_more(&theirs)?;
    Ok(slowest)
}

/// Sends one probe, and waits for the answer.
fn answer(
    reader: &SequenceReader,
    stream: &TcpStream,
    kind: Kind,
) -> Result<Duration, KeepaliveProofError> {
    let flow = FlowId {
        netns: 0,
        local: stream.local_addr()?,
        remote: stream.peer_addr()?,
    };
    let begun = clock::now();
    let cookie = SockRef::from(stream).cookie()?;
    let asking = Asking { flow, cookie, kind };
    let (question, mark) = asking.question(reader.read(&flow)?)?;
    let (socket, question) = ask(flow, question, mark)?;
    let mut wait = [PollFd::new(socket.socket().as_fd(), PollFlags::POLLIN)];
    while poll(&mut wait, WITHIN_MS)? > 0 {
        let heard = socket.receive(|segment| question.hear(segment));
        let is_answer = |heard: &Heard| matches!(heard, Heard::Ack | Heard::PerhapsAck { .. });
        if heard.iter().any(is_answer) {
            return Ok(clock::now().since(begun));
        }
    }
    Err(KeepaliveProofError::Silent)
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, byte: u8) -> Result<(), KeepaliveProofError> {
    to.set_read_timeout(Some(READ_WITHIN))?;
    from.write_all(&[byte])?;
    let mut came = [0];
    to.read_exact(&mut came)?;
    match came == [byte] {
        true => Ok(()),
        false => Err(KeepaliveProofError::Harmed),
    }
}

fn nothing_more(mut stream: &TcpStream) -> Result<(), KeepaliveProofError> {
    stream.set_nonblocking(true)?;
    match stream.read(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(KeepaliveProofError::Harmed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_its_own_answers() {
        if !nix::unistd::geteuid().is_root() || crate::object::OBJECT.is_none() {
            eprintln!("skipped: takes root and the eBPF object");
            return;
        }
        let slowest = prove().unwrap_or_else(|error| panic!("{error}"));
        assert!(slowest > Duration::ZERO);
    }
}
