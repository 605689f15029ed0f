//! A host on the link that speaks in another host's name: it knows every address and port, and
//! guesses the sequence numbers, or repeats what it once overheard.

use std::{
    io::{self, Read as _},
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use anyhow::Context as _;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Host, PEER_PORT};

/// The pause after one of each kind was sent for each port.
const PAUSE: Duration = Duration::from_millis(2);
/// `IPPROTO_RAW`: the IP header is in what is sent (raw(7)).
const RAW: i32 = 255;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const IP_HEADER: usize = 20;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = SYN | ACK;
/// Codes of ICMP's type 3: the network, the host, the port, forbidden.
const UNREACHABLE: [u8; 4] = [0, 1, 3, 13];

/// What it says.
#[derive(Clone, Debug)]
pub struct Forged {
    /// In whose name, to whom.
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    /// The ports of the other host's connections.
    pub ports: Vec<u16>,
    /// Whole packets that are sent again and again as they are.
    pub overheard: Vec<Vec<u8>>,
}

/// A thread that sends; it ends on drop.
#[derive(Debug)]
#[must_use = "it speaks until this is dropped"]
pub struct Forger {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// From now on this host sends resets, answers to connects, acknowledgements and ICMP errors.
    pub fn forges(&self, forged: Forged) -> anyhow::Result<Forger> {
        let open = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)));
        let socket = self.within(open)??;
        let (stop, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (stop.clone(), sent.clone());
        let thread = thread::Builder::new().name("lab-forger".to_owned());
        let thread = thread.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match forged.turn(&socket) {
                    Ok(packets) => count.fetch_add(packets, Ordering::Relaxed),
                    Err(error) => return eprintln!("lab: the forger ended: {error}"),
                };
                sleep(PAUSE);
            }
        });
        Ok(Forger {
            stop,
            sent,
            thread: Some(thread.context("cannot start the forger's thread")?),
        })
    }

    /// The answers to connects that arrive at this host while `connects` runs, as whole packets.
    pub fn overhears(&self, connects: impl FnOnce() + Send) -> anyhow::Result<Vec<Vec<u8>>> {
        let overhear = || -> io::Result<Vec<Vec<u8>>> {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
            connects();
            socket.set_nonblocking(true)?;
            let mut heard = Vec::new();
            let mut packet = [0; 128];
            while let Ok(length) = (&socket).read(&mut packet) {
                heard.push(packet[..length].to_vec());
            }
            Ok(heard)
        };
        let heard = self.within(overhear)??;
        let is_answer = |packet: &Vec<u8>| packet.get(IP_HEADER + 13) == Some(&SYN_ACK);
        Ok(heard.into_iter().filter(is_answer).collect())
    }
}

impl Forger {
    /// How many packets it has sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Forger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Forged {
    /// Sends one of each kind for each port, and for a port that a probe may have; returns how many
    /// packets.
    fn turn(&self, socket: &Socket) -> io::Result<u64> {
        let guessed = fastrand::u16(32_768..61_000);
        let mut packets = self.overheard.clone();
        for &port in self.ports.iter().chain([&guessed]) {
            let flags = [RST, RST | ACK, SYN_ACK, ACK];
            packets.extend(flags.map(|flags| self.segment(port, flags)));
            packets.extend(UNREACHABLE.map(|code| self.unreachable(port, code)));
        }
        let to = SocketAddr::from((self.to, 0)).into();
        for packet in &packets {
            socket.send_to(packet, &to)?;
        }
        Ok(packets.len() as u64)
    }

    /// A segment to this port of the one end, in the name of the other (RFC 9293).
    fn segment(&self, port: u16, flags: u8) -> Vec<u8> {
        let mut tcp = [PEER_PORT, port].map(u16::to_be_bytes).concat();
        tcp.extend(
            [fastrand::u32(..), fastrand::u32(..)]
                .map(u32::to_be_bytes)
                .concat(),
        );
        tcp.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let length = u16::try_from(tcp.len()).unwrap_or_default();
        let pseudo = [
            &self.from.octets()[..],
            &self.to.octets(),
            &[0, TCP],
            &length.to_be_bytes(),
        ];
        let sum = checksum(&[&pseudo.concat()[..], &tcp].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        self.packet(TCP, &tcp)
    }

    /// An ICMP error about a segment of this port (RFC 792); the sequence number is guessed.
    fn unreachable(&self, port: u16, code: u8) -> Vec<u8> {
        let mut segment = [port, PEER_PORT].map(u16::to_be_bytes).concat();
        segment.extend(fastrand::u32(..).to_be_bytes());
        let about = header(TCP, self.to, self.from, 20 + 20);
        let mut icmp = vec![3, code, 0, 0, 0, 0, 0, 0];
        icmp.extend([about, segment].concat());
        let sum = checksum(&icmp);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        self.packet(ICMP, &icmp)
    }

    fn packet(&self, protocol: u8, content: &[u8]) -> Vec<u8> {
        let mut packet = header(protocol, self.from, self.to, IP_HEADER + content.len());
        packet.extend(content);
        packet
    }
}

/// An IPv4 header (RFC 791). In what is sent, the kernel fills in the checksum.
fn header(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap_or_default();
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let words = words.map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&b| b.into()));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_is_in_place_sums_up_to_nothing() {
        let header = header(TCP, [10, 0, 0, 1].into(), [10, 0, 0, 2].into(), 40);
        assert_eq!(checksum(&header), 0);
        assert_eq!(checksum(&[0xff, 0xff, 0]), 0);
    }
}
