//! The floor: a program with the same connections that makes only the system calls without which no
//! idle peer can be probed. Every interval a timer wakes it; it reads the answers to the last
//! keepalives, and sends the next ones, 64 with one call.
//!
//! The segments are made once, at the start: it finds out nothing about a flow that is not idle, and
//! decides nothing.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use detector_user::{model::FlowId, source::ebpf::SequenceReader};
use nix::sys::{
    socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use socket2::{Domain, Protocol, Socket, Type};

const AT_A_TIME: usize = 64;
/// An IPv4 and a TCP header with their options.
const PACKET: usize = 128;
const ACK: u8 = 0x10;
const TCP: u32 = 6;

/// Probes the peers of these connections until the process is ended. Prints how many of the first
/// probes were answered.
pub fn probe(streams: &[TcpStream], every: Duration) -> anyhow::Result<()> {
    let reader = SequenceReader::load()?;
    let segments = streams.iter().map(|stream| segment(&reader, stream));
    let segments: Vec<(Ipv4Addr, Vec<u8>)> = segments.collect::<anyhow::Result<_>>()?;
    drop(reader);
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
    socket.set_recv_buffer_size(4 << 20)?;
    let local = streams.first().context("no connections")?.local_addr()?;
    socket.bind(&SocketAddr::new(local.ip(), 0).into())?;
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
    let interval = Expiration::Interval(TimeSpec::from(every));
    timer.set(interval, TimerSetTimeFlags::empty())?;
    for round in 0_u64.. {
        timer.wait()?;
        let answers = receive_all(&socket)?;
        if round == 1 {
            println!("probing {}, {answers} answered", segments.len());
        }
        for some in segments.chunks(AT_A_TIME) {
            send(&socket, some)?;
        }
    }
    Ok(())
}

/// The last octet that the peer has acknowledged, once more: it is acknowledged each time.
fn segment(reader: &SequenceReader, stream: &TcpStream) -> anyhow::Result<(Ipv4Addr, Vec<u8>)> {
    let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
    let netns = 0;
    let flow = FlowId {
        netns,
        local,
        remote,
    };
    let numbers = reader.read(&flow)?.context("the connection is not found")?;
    let (IpAddr::V4(from), IpAddr::V4(to)) = (local.ip(), remote.ip()) else {
        bail!("{remote} is no IPv4 address");
    };
    let mut segment = Vec::new();
    segment.extend(local.port().to_be_bytes());
    segment.extend(remote.port().to_be_bytes());
    segment.extend(numbers.snd_una.wrapping_sub(1).to_be_bytes());
    segment.extend(numbers.rcv_wup.to_be_bytes());
    segment.extend([5 << 4, ACK]);
    segment.extend(u16::MAX.to_be_bytes());
    segment.extend([0; 4]);
    segment.push(0);
    let length = segment.len() as u32;
    let sum = sum(&from.octets()) + sum(&to.octets()) + TCP + length + sum(&segment);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    segment[16..18].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    Ok((to, segment))
}

fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn send(socket: &Socket, segments: &[(Ipv4Addr, Vec<u8>)]) -> anyhow::Result<()> {
    let slices = segments.iter().map(|(_, bytes)| [IoSlice::new(bytes)]);
    let slices: Vec<_> = slices.collect();
    let to = segments
        .iter()
        .map(|(host, _)| Some(SockaddrStorage::from(SocketAddr::from((*host, 0)))));
    let to: Vec<_> = to.collect();
    let mut headers = MultiHeaders::preallocate(slices.len(), None);
    // It waits for room in the socket.
    let flags = MsgFlags::empty();
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &to, [], flags)?;
    let count = sent.count();
    ensure!(count == segments.len(), "{count} of {}", segments.len());
    Ok(())
}

/// How many segments have arrived.
fn receive_all(socket: &Socket) -> anyhow::Result<usize> {
    let mut packets = vec![[0; PACKET]; AT_A_TIME];
    let mut all = 0;
    loop {
        let mut slices: Vec<_> = packets
            .iter_mut()
            .map(|packet| [IoSliceMut::new(packet)])
            .collect();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(AT_A_TIME, None);
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None);
        let count = received.map_or(0, |received| received.count());
        all += count;
        if count < AT_A_TIME {
            return Ok(all);
        }
    }
}
