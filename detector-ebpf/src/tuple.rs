//! The addresses and ports in a tracepoint's record, and whether they are watched.

use aya_ebpf::programs::TracePointContext;
use detector_ebpf::{ABSENT, WatchKey};

use crate::maps::WATCHED;

/// Both ends of a flow, canonical, as a record carries them.
#[derive(Clone, Copy)]
pub struct Tuple {
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
}

impl Tuple {
    /// Reads it at the given offsets (sport, dport, saddr_v6, daddr_v6).
    #[inline(always)]
    pub fn read(ctx: &TracePointContext, at: [u16; 4]) -> Option<Self> {
        Some(Self {
            local_port: field(ctx, at[0])?,
            remote_port: field(ctx, at[1])?,
            local_addr: field(ctx, at[2])?,
            remote_addr: field(ctx, at[3])?,
        })
    }

    /// The flags it is watched with; `None` when it is not. The remote address decides,
    /// with the port that was dialled: theirs, ours, or any.
    #[inline(always)]
    pub fn watched(&self) -> Option<u32> {
        let mut key = WatchKey {
            addr: self.remote_addr,
            port: self.remote_port,
            _pad: 0,
        };
        // SAFETY: a value is a plain u32, and one that changes under us is as good.
        if let Some(flags) = unsafe { WATCHED.get(&key) } {
            return Some(*flags);
        }
        key.port = self.local_port;
        // SAFETY: as above.
        if let Some(flags) = unsafe { WATCHED.get(&key) } {
            return Some(*flags);
        }
        key.port = 0;
        // SAFETY: as above.
        unsafe { WATCHED.get(&key) }.copied()
    }
}

/// The offsets of a hook's tuple, in the order that [`Tuple::read`] takes.
macro_rules! tuple_offsets {
    ($hook:ident) => {
        [
            $crate::globals::config!($hook.tuple.sport),
            $crate::globals::config!($hook.tuple.dport),
            $crate::globals::config!($hook.tuple.saddr_v6),
            $crate::globals::config!($hook.tuple.daddr_v6),
        ]
    };
}

pub(crate) use tuple_offsets;

/// One field of the tracepoint's record; `None` where this kernel has no such field.
#[inline(always)]
pub fn field<T: Copy>(ctx: &TracePointContext, offset: u16) -> Option<T> {
    if offset == ABSENT {
        return None;
    }
    // SAFETY: a fault of the read is an error, and T is plain old data.
    unsafe { ctx.read_at(usize::from(offset)) }.ok()
}
