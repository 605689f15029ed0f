//! Finds when a peer that was cut off is first heard again. It looks at the frames themselves,
//! because the network may take up to a second to forward after a port was down.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::Context as _;
use detector_tests::{Host, clock};
use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
            sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike as _},
    },
};
use tokio::sync::oneshot;

/// Waits for the peer's first TCP segment, ARP reply or neighbour advertisement.
#[derive(Debug)]
pub struct Sniffer {
    first: oneshot::Receiver<u64>,
    stop: Arc<AtomicBool>,
}

impl Sniffer {
    /// Listens from now on, on all links of the host.
    pub fn start(host: &Host, peer: IpAddr) -> anyhow::Result<Self> {
        let socket = host.within(|| {
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
        })?;
        let socket = socket.context("cannot open a packet socket")?;
        // To see now and then whether it is still wanted.
        setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(100))?;
        let (tell, first) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        thread::Builder::new()
            .name("sniffer".to_owned())
            .spawn(move || {
                if let Some(at_ns) = first_frame(&socket, peer, &stopped) {
                    let _nobody_waits = tell.send(at_ns);
                }
            })
            .context("cannot start the sniffer's thread")?;
        Ok(Self { first, stop })
    }

    /// When the first frame came, if one has come.
    pub fn heard(mut self) -> Option<u64> {
        self.first.try_recv().ok()
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn first_frame(socket: &OwnedFd, peer: IpAddr, stopped: &AtomicBool) -> Option<u64> {
    let mut frame = [0; 128];
    while !stopped.load(Ordering::Relaxed) {
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                let at_ns = clock::now_ns();
                if shows(&frame[..length], peer) {
                    return Some(at_ns);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
    None
}

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Whether the frame is a sign of the peer's life that the detector could have seen.
fn shows(frame: &[u8], peer: IpAddr) -> bool {
    let kind = frame.get(12..ETHERNET);
    let packet = frame.get(ETHERNET..).unwrap_or_default();
    let at = |range: std::ops::Range<usize>| packet.get(range);
    match (kind, peer) {
        // RFC 791: the protocol at 9, the source at 12.
        (Some([0x08, 0x00]), IpAddr::V4(peer)) => {
            at(9..10) == Some(&[TCP]) && at(12..16) == Some(&peer.octets())
        }
        // RFC 826: the operation at 6 (2 is a reply), the sender's address at 14.
        (Some([0x08, 0x06]), IpAddr::V4(peer)) => {
            at(6..8) == Some(&[0, 2]) && at(14..18) == Some(&peer.octets())
        }
        // RFC 8200: the next header at 6, the source at 8, 40 bytes in all.
        (Some([0x86, 0xdd]), IpAddr::V6(peer)) => {
            let wanted = at(6..7) == Some(&[TCP])
                || at(6..7) == Some(&[ICMPV6]) && at(40..41) == Some(&[NEIGHBOUR_ADVERTISEMENT]);
            wanted && at(8..24) == Some(&peer.octets())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: [u8; 2], bytes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut frame = vec![0; 80];
        frame[12..14].copy_from_slice(&kind);
        for (at, bytes) in bytes {
            frame[ETHERNET + at..][..bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    #[test]
    fn a_segment_or_an_address_from_the_peer_and_nothing_else() {
        let peer = IpAddr::from([10, 77, 0, 3]);
        let (them, other): (&[u8], &[u8]) = (&[10, 77, 0, 3], &[10, 77, 0, 2]);
        let ip = |protocol: u8, from| frame([8, 0], &[(9, &[protocol]), (12, from)]);
        assert!(shows(&ip(6, them), peer));
        assert!(!shows(&ip(17, them), peer), "the baselines' heartbeats");
        assert!(!shows(&ip(6, other), peer));
        let arp = |operation: u8, from| frame([8, 6], &[(6, &[0, operation]), (14, from)]);
        assert!(shows(&arp(2, them), peer));
        assert!(!shows(&arp(1, them), peer), "it asks for someone");
        assert!(!shows(&[0; 5], peer));
    }

    #[test]
    fn the_same_of_ipv6() {
        let peer: std::net::Ipv6Addr = "fd77::3".parse().unwrap();
        let from = peer.octets();
        let ip =
            |next: u8, kind: u8| frame([0x86, 0xdd], &[(6, &[next]), (8, &from), (40, &[kind])]);
        assert!(shows(&ip(6, 0), peer.into()));
        assert!(shows(&ip(58, 136), peer.into()));
        assert!(!shows(&ip(58, 135), peer.into()));
    }
}
