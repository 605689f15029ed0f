//! Reads fields of the kernel's socket, at the offsets from BTF.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_jiffies64, bpf_probe_read_kernel},
    programs::RawTracePointContext,
};
use detector_ebpf::{ABSENT, FlowKey, FlowRecord, config_flag};
use zerocopy::{FromBytes, IntoBytes};

use crate::{
    globals::{config, has},
    maps::NAMESPACES,
};

/// `ICSK_TIME_LOSS_PROBE` in include/net/inet_connection_sock.h: the pending timer is the
/// tail loss probe.
const PENDING_LOSS_PROBE: u8 = 5;

const IPPROTO_TCP: u16 = 6;

/// A `struct sock`, given by its kernel address.
#[derive(Clone, Copy)]
pub struct Socket {
    address: u64,
}

/// Identifies a flow.
pub struct Identity {
    pub netns: u32,
    pub cookie: u64,
    /// The socket's address.
    address: u64,
}

impl Identity {
    /// The flow's key in `FLOWS`.
    #[inline(always)]
    pub const fn key(&self) -> FlowKey {
        let id = if self.cookie == 0 {
            self.address
        } else {
            self.cookie
        };
        self.key_with(id)
    }

    /// The key that the flow had while the socket had no cookie.
    #[inline(always)]
    pub const fn by_address(&self) -> FlowKey {
        self.key_with(self.address)
    }

    #[inline(always)]
    const fn key_with(&self, id: u64) -> FlowKey {
        FlowKey {
            id,
            netns: self.netns,
            is_final: 0,
        }
    }
}

impl Socket {
    pub const fn at(address: u64) -> Self {
        Self { address }
    }

    /// The socket, which is the first argument of every tracepoint used here.
    #[inline(always)]
    pub fn of(ctx: &RawTracePointContext) -> Self {
        Self::at(ctx.arg(0))
    }

    #[inline(always)]
    pub fn read<T: FromBytes + IntoBytes>(self, offset: u16) -> T {
        read_kernel(self.address, offset)
    }

    /// Fills the whole slice.
    #[inline(always)]
    pub fn read_into(self, offset: u16, octets: &mut [u8]) {
        read_kernel_into(self.address, offset, octets);
    }

    /// The namespace's inode.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        let net: u64 = self.read(config!(socket.net));
        read_kernel(net, config!(socket.net_inum))
    }

    /// Identifies the flow; `None` if its namespace is not watched.
    #[inline(always)]
    pub fn identity(self) -> Option<Identity> {
        let netns = self.netns();
        let wanted = config!(netns);
        if wanted != 0 && netns != wanted && !is_other(netns) {
            return None;
        }
        Some(Identity {
            netns,
            cookie: self.read(config!(socket.cookie)),
            address: self.address,
        })
    }

    /// The TCP state.
    #[inline(always)]
    pub fn state(self) -> u8 {
        self.read(config!(socket.state))
    }

    /// Whether this is a TCP socket: some tracepoints fire for all kinds of sockets.
    #[inline(always)]
    pub fn is_tcp(self) -> bool {
        self.read::<u16>(config!(socket.protocol)) == IPPROTO_TCP
    }

    /// The socket's pending error as a positive errno; 0 if there is none.
    #[inline(always)]
    pub fn error(self) -> u32 {
        let error: i32 = self.read(config!(socket.err));
        error.unsigned_abs()
    }

    /// `icsk_retransmits`: timer expiries since the last ACK.
    #[inline(always)]
    pub fn retransmits(self) -> u8 {
        self.read(config!(socket.retransmits))
    }

    /// Whether the retransmission timer is running now. Its handler clears `icsk_pending` before
    /// anything else (`tcp_write_timer_handler`), and nothing else retransmits while no timer is
    /// pending.
    #[inline(always)]
    pub fn in_retransmit_timer(self) -> bool {
        self.read::<u8>(config!(socket.pending)) == 0
    }

    /// Whether the timer of the tail loss probe is running now: its handler leaves `icsk_pending`
    /// set. An ACK that starts a fast retransmission may also find it set, but that ACK was
    /// processed in the current jiffy.
    #[inline(always)]
    pub fn in_loss_probe(self) -> bool {
        self.read::<u8>(config!(socket.pending)) == PENDING_LOSS_PROBE
            && self.jiffies_since(config!(socket.rcv_tstamp)) != 0
    }

    /// Copies the socket's fields into a record.
    #[inline(always)]
    pub fn describe(self, record: &mut FlowRecord) {
        let jiffy_ns = config!(jiffy_ns);
        record.last_ack_age_ns = self.jiffies_since(config!(socket.rcv_tstamp)) * jiffy_ns;
        record.last_data_age_ns = self.jiffies_since(config!(socket.lrcvtime)) * jiffy_ns;
        let una: u32 = self.read(config!(socket.snd_una));
        let nxt: u32 = self.read(config!(socket.snd_nxt));
        record.unacked_bytes = nxt.wrapping_sub(una);
        record.packets_out = self.read(config!(socket.packets_out));
        record.snd_wnd_bytes = self.read(config!(socket.snd_wnd));
        record.srtt_us = self.read::<u32>(config!(socket.srtt)) >> 3;
        let rto: u32 = self.read(config!(socket.rto));
        record.rto_us = (u64::from(rto) * jiffy_ns / 1_000) as u32;
        record.backoff = self.read(config!(socket.backoff));
        record.probes_out = self.read(config!(socket.probes_out));
    }

    /// The age of a 32-bit time stamp of the socket, in jiffies.
    #[inline(always)]
    fn jiffies_since(self, offset: u16) -> u64 {
        let stamp: u32 = self.read(offset);
        // SAFETY: the helper takes nothing and cannot fail.
        let now = unsafe { bpf_jiffies64() } as u32;
        u64::from(now.wrapping_sub(stamp))
    }
}

/// Whether this is one of the namespaces that are watched besides the daemon's own. If there are
/// none, the verifier removes the lookup.
#[inline(always)]
fn is_other(netns: u32) -> bool {
    has(config_flag::OTHER_NAMESPACES) && NAMESPACES.get_ptr(netns).is_some()
}

/// Reads a kernel field; 0 if the offset is unknown or the read faults.
#[inline(always)]
fn read_kernel<T: FromBytes + IntoBytes>(base: u64, offset: u16) -> T {
    let mut value = T::new_zeroed();
    read_kernel_into(base, offset, value.as_mut_bytes());
    value
}

/// Fills the octets, with zeros if the read faults; leaves them unchanged if the offset is unknown.
///
/// The helper zeroes what it cannot read, so its result is not checked. A branch on it would double
/// the number of paths at each field, and the verifier of 6.1, which distinguishes a stack slot of
/// 0 from one of any value, would walk them all and give up.
#[inline(always)]
fn read_kernel_into(base: u64, offset: u16, octets: &mut [u8]) {
    if offset == ABSENT {
        return;
    }
    let source = (base + u64::from(offset)) as *const c_void;
    // SAFETY: the helper always writes exactly this many bytes.
    unsafe {
        bpf_probe_read_kernel(octets.as_mut_ptr().cast(), octets.len() as u32, source);
    }
}
