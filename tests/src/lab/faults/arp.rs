//! ARP as a switch sees it: inspection and counting.

use std::{
    collections::VecDeque,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
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

use super::Rules;
use crate::{Host, Lab, clock};

/// A switch that inspects ARP and shuts a port by which too much of it comes.
#[derive(Debug)]
#[must_use = "the port is inspected, or shut, until this is dropped"]
pub struct Inspection(Rules);

impl Lab {
    /// Shuts the host's port when more than 15 ARP frames a second come from it: the default
    /// of a widespread switch.
    pub fn arp_inspection(&self, host: usize) -> anyhow::Result<Inspection> {
        let host = self.host(host);
        let (port, chain) = (host.port(), "type filter hook");
        let rules = format!(
            "set shut {{\n type ether_addr; flags dynamic; size 16;\n}}\n\
             chain from {{\n {chain} ingress device \"{port}\" priority 0;\n \
             ether saddr @shut drop\n ether type arp counter\n \
             ether type arp limit rate over 15/second burst 15 packets add @shut {{ ether saddr }}\n}}\n\
             chain to {{\n {chain} egress device \"{port}\" priority 0;\n \
             ether daddr @shut drop\n}}\n"
        );
        Rules::load(self.switch_of(host).namespace(), "netdev", &rules).map(Inspection)
    }
}

impl Inspection {
    /// Whether the port was shut.
    pub fn has_shut(&self) -> anyhow::Result<bool> {
        Ok(self.0.listed("shut")?.contains("elements"))
    }
}

/// Counts the ARP requests that a host sends, its kernel's and its programs'.
#[derive(Debug)]
pub struct ArpCount {
    sent_ns: Arc<Mutex<Vec<u64>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ArpCount {
    /// Counts from now on.
    pub fn on(host: &Host) -> anyhow::Result<Self> {
        let hardware = host.hardware()?;
        let socket = host.within(packets)??;
        let sent_ns = Arc::new(Mutex::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&sent_ns), stop.clone());
        let thread = thread::Builder::new()
            .name("lab-arp".to_owned())
            .spawn(move || count(&socket, hardware, &kept, &stopped))
            .context("cannot start the thread that counts ARP")?;
        Ok(Self {
            sent_ns,
            stop,
            thread: Some(thread),
        })
    }

    /// All of them, and the most that were sent within one second, at `since_ns` or later.
    pub fn since(&self, since_ns: u64) -> (usize, usize) {
        let sent = self.sent_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let sent: Vec<u64> = sent.iter().copied().filter(|&at| at >= since_ns).collect();
        (sent.len(), most_within(Duration::from_secs(1), &sent))
    }
}

impl Drop for ArpCount {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Sees all frames; only a socket for every protocol sees those that are sent.
fn packets() -> anyhow::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )
    .context("cannot open a packet socket")?;
    // To see now and then whether it is still wanted.
    setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(100))?;
    Ok(socket)
}

fn count(socket: &OwnedFd, from: [u8; 6], sent_ns: &Mutex<Vec<u64>>, stopped: &AtomicBool) {
    let mut frame = [0; 64];
    while !stopped.load(Ordering::Relaxed) {
        match recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(_) if frame[6..12] == from && is_request(&frame) => {
                let mut sent = sent_ns.lock().unwrap_or_else(PoisonError::into_inner);
                sent.push(clock::now_ns());
            }
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => {
                eprintln!("lab: ARP is no longer counted: {error}");
                return;
            }
        }
    }
}

/// RFC 826: Ethernet's type 0x0806, and the operation 1.
fn is_request(frame: &[u8; 64]) -> bool {
    frame[12..14] == [0x08, 0x06] && frame[20..22] == [0, 1]
}

/// The most of these times, which are in order, that lie within so long.
fn most_within(time: Duration, times_ns: &[u64]) -> usize {
    let mut window: VecDeque<u64> = VecDeque::new();
    let mut most = 0;
    for &at in times_ns {
        window.push_back(at);
        while window
            .front()
            .is_some_and(|&first| clock::between(first, at) >= time)
        {
            window.pop_front();
        }
        most = most.max(window.len());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_second_is_found() {
        let ms = |times: &[u64]| times.iter().map(|ms| ms * 1_000_000).collect::<Vec<_>>();
        let second = Duration::from_secs(1);
        assert_eq!(most_within(second, &ms(&[])), 0);
        assert_eq!(most_within(second, &ms(&[0, 900, 1000, 1100, 2500])), 3);
    }
}
