//! Delays frames, like the kernel's netem, which the test machines lack.
//!
//! ```text
//!   host ── pN ── brN ── tN-host ══ relay ══ tN-switch ── br0 ── …
//! ```
//!
//! Two TAP devices take the port's place in the switch, and a thread carries each frame from one
//! to the other after a random time of its own: ARP as well as TCP, in both directions, out
//! of order where the times fall so. A TAP device offers no offloads, so the kernel hands over whole
//! frames with finished checksums (`drivers/net/tun.c`, `tun_net_xmit`).

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::clock;

/// The most frames that are under way; what is beyond is dropped, as a full queue does.
const MAX_FRAMES: usize = 20_000;
/// More than any frame of an MTU of 1500.
const FRAME_BYTES: usize = 2048;
/// How soon a relay that is dropped ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Frames taken from one device before the other has its turn.
const BATCH: usize = 64;

/// How late each frame is: so much, and up to so much more at random.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lateness {
    pub delay: Duration,
    pub jitter: Duration,
}

/// Carries frames between two TAP devices until dropped, which also removes them.
#[derive(Debug)]
pub(super) struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Makes the devices in the caller's network namespace. Each frame is late.
    pub(super) fn start(names: [&str; 2], late: Lateness) -> anyhow::Result<Self> {
        let [first, second] = names.map(tap);
        let ends = [first?, second?];
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::Builder::new()
            .name("lab-relay".to_owned())
            .spawn(move || {
                if let Err(error) = carry(&ends, late, &stopped) {
                    eprintln!("lab: the relay of late frames ended: {error}");
                }
            })
            .context("cannot start the relay's thread")?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

pub(super) fn tap(name: &str) -> anyhow::Result<SyncDevice> {
    let tap = DeviceBuilder::new()
        .name(name)
        .layer(Layer::L2)
        .enable(false)
        .build_sync()
        .with_context(|| format!("cannot make the TAP device {name}: is there /dev/net/tun?"))?;
    tap.set_nonblocking(true)
        .with_context(|| format!("cannot make the TAP device {name} nonblocking"))?;
    Ok(tap)
}

/// A frame under way: when it is due in nanoseconds, a number that keeps frames of one moment in
/// order, and the device it leaves by.
type Late = Reverse<(u64, u64, usize, Vec<u8>)>;

fn carry(ends: &[SyncDevice; 2], lateness: Lateness, stopped: &AtomicBool) -> io::Result<()> {
    let mut late: BinaryHeap<Late> = BinaryHeap::new();
    // The same times in every run.
    let mut random = fastrand::Rng::with_seed(1);
    let mut number = 0;
    while !stopped.load(Ordering::Relaxed) {
        wait(ends, late.peek().map(|Reverse((due, ..))| *due))?;
        for (from, end) in ends.iter().enumerate() {
            for _ in 0..BATCH {
                let Some(frame) = receive(end)? else {
                    break;
                };
                if late.len() < MAX_FRAMES {
                    number += 1;
                    let by_chance = lateness.jitter.mul_f64(random.f64());
                    let late_by = (lateness.delay + by_chance).as_nanos() as u64;
                    let due = clock::now_ns() + late_by;
                    late.push(Reverse((due, number, 1 - from, frame)));
                }
            }
        }
        while late
            .peek()
            .is_some_and(|Reverse((due, ..))| *due <= clock::now_ns())
        {
            if let Some(Reverse((_, _, to, frame))) = late.pop() {
                // A device that is down takes none: a cable that is out.
                let _lost = ends[to].send(&frame);
            }
        }
    }
    Ok(())
}

/// Until a frame comes or one is due.
fn wait(ends: &[SyncDevice; 2], due_ns: Option<u64>) -> io::Result<()> {
    let until_due = due_ns.map(|due| clock::between(clock::now_ns(), due));
    let time = until_due.map_or(LOOK_EVERY, |time| time.min(LOOK_EVERY));
    // Rounded up, or the last part of a millisecond would be spent turning.
    let time =
        PollTimeout::try_from(time + Duration::from_micros(999)).unwrap_or(PollTimeout::from(1_u8));
    let mut waited: Vec<PollFd> = ends
        .iter()
        .map(|end| PollFd::new(fd(end), PollFlags::POLLIN))
        .collect();
    match poll(&mut waited, time) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn fd(end: &SyncDevice) -> BorrowedFd<'_> {
    end.as_fd()
}

/// The next frame, if one has come.
pub(super) fn receive(end: &SyncDevice) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![0; FRAME_BYTES];
    match end.recv(&mut frame) {
        Ok(length) => {
            frame.truncate(length);
            Ok(Some(frame))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        // EIO: the device is down (tun_do_read of drivers/net/tun.c).
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => Ok(None),
        Err(error) => Err(error),
    }
}
