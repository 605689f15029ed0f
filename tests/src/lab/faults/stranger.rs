//! A station at the switch that sends arbitrary ARP messages: an attacker, or a fabric that answers
//! for other hosts.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::Duration,
};

use anyhow::Context as _;
use tun_rs::SyncDevice;

use crate::{
    Lab, clock,
    lab::{command, host::within, relay},
};

/// Its own card, which no host of the lab has.
const OWN: [u8; 6] = [0x02, 0, 0, 0, 0, 0x66];
const EVERYONE: [u8; 6] = [0xff; 6];
const DEVICE: &str = "stranger";
const CLAIM_EVERY: Duration = Duration::from_millis(20);
/// How long a turn lasts in which nothing came.
const PAUSE: Duration = Duration::from_micros(500);

/// The messages that a stranger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Answers requests for the address, like a fabric with ARP suppression: with the hardware
    /// address that the host has, or had.
    Answers { address: Ipv4Addr, is_at: [u8; 6] },
    /// Tells everyone again and again that the address is at its own card (gratuitous ARP).
    Claims { address: Ipv4Addr },
}

/// A TAP device in the near hosts' switch, and a thread that speaks; both end on drop.
#[derive(Debug)]
#[must_use = "it speaks until this is dropped"]
pub struct Stranger {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    /// Puts a stranger into the near hosts' network.
    pub fn stranger(&self, says: Says) -> anyhow::Result<Stranger> {
        let namespace = self.switch.namespace();
        let tap = within(namespace, || relay::tap(DEVICE))??;
        let lines = format!("link set {DEVICE} master br0 up\n");
        command::ip_batch(Some(namespace), &lines)?;
        self.switch.await_forwarding(DEVICE)?;
        Stranger::start(tap, says)
    }
}

impl Stranger {
    fn start(tap: SyncDevice, says: Says) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("lab-stranger".to_owned())
            .spawn(move || {
                if let Err(error) = speak(&tap, says, &stopped) {
                    eprintln!("lab: the stranger ended: {error}");
                }
            })
            .context("cannot start the stranger's thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn speak(tap: &SyncDevice, says: Says, stopped: &AtomicBool) -> io::Result<()> {
    let mut claimed_ns = 0;
    while !stopped.load(Ordering::Relaxed) {
        let heard = relay::receive(tap)?;
        match says {
            Says::Answers { address, is_at } => {
                let answer = heard.as_deref().and_then(|f| answer(f, address, is_at));
                if let Some(answer) = answer {
                    tap.send(&answer)?;
                }
            }
            Says::Claims { address } => {
                let now = clock::now_ns();
                if clock::between(claimed_ns, now) >= CLAIM_EVERY {
                    claimed_ns = now;
                    tap.send(&claim(address))?;
                }
            }
        }
        if heard.is_none() {
            sleep(PAUSE);
        }
    }
    Ok(())
}

/// The answer to a frame, if it is a request for the address.
fn answer(frame: &[u8], address: Ipv4Addr, is_at: [u8; 6]) -> Option<Vec<u8>> {
    // RFC 826: Ethernet's type at 12, the operation at 20 (1 asks), the asker's hardware
    // address at 22 and address at 28, the one that is asked for at 38.
    let is_request = frame.get(12..14)? == [0x08, 0x06] && frame.get(20..22)? == [0, 1];
    if !is_request || frame.get(38..42)? != address.octets() {
        return None;
    }
    let asker = frame.get(22..28)?.try_into().ok()?;
    let asker_address: [u8; 4] = frame.get(28..32)?.try_into().ok()?;
    Some(arp(2, (is_at, address), (asker, asker_address.into())))
}

/// An announcement (RFC 5227): a request for the asker's own address.
fn claim(address: Ipv4Addr) -> Vec<u8> {
    let mut frame = arp(1, (OWN, address), (EVERYONE, address));
    frame[32..38].fill(0);
    frame
}

fn arp(operation: u8, from: ([u8; 6], Ipv4Addr), to: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend(to.0);
    // The switch learns from this where frames for it go: never another host's.
    frame.extend(OWN);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, operation]);
    frame.extend(from.0);
    frame.extend(from.1.octets());
    frame.extend(to.0);
    frame.extend(to.1.octets());
    frame.resize(60, 0);
    frame
}
