//! Handles events of a flow: stores the state in `FLOWS`, then rings the doorbell.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::RawTracePointContext};
use aya_log_ebpf::debug;
use detector_ebpf::{FlowKey, FlowRecord, counter, record_kind};

use crate::{
    maps::{EVENTS, FLOWS, count},
    socket::{Identity, Socket},
    tuple::Tuple,
};

/// An event of a flow.
#[derive(Clone, Copy)]
pub struct Event {
    pub kind: u32,
    pub errno: u32,
    pub tcp_state: u8,
    pub rto_count: u8,
    pub flags: u8,
    /// The number of retransmissions that this event adds to the flow's count.
    pub retransmits: u32,
}

impl Event {
    pub const fn new(kind: u32, tcp_state: u8) -> Self {
        Self {
            kind,
            errno: 0,
            tcp_state,
            rto_count: 0,
            flags: 0,
            retransmits: 0,
        }
    }
}

/// A watched flow in a watched namespace.
pub struct Flow {
    pub socket: Socket,
    tuple: Tuple,
    identity: Identity,
    /// The flow's entry in `FLOWS`, if there is one.
    entry: Option<*mut FlowRecord>,
}

impl Flow {
    /// The flow of a socket whose tuple is known to be watched.
    #[inline(always)]
    pub fn find(tuple: Tuple, socket: Socket) -> Option<Self> {
        let identity = socket.identity()?;
        let mut entry = FLOWS.get_ptr_mut(&identity.key());
        if entry.is_none() && identity.cookie != 0 {
            // The socket may have got its cookie in the meantime.
            entry = FLOWS.get_ptr_mut(&identity.by_address());
        }
        Some(Self {
            socket,
            tuple,
            identity,
            entry,
        })
    }

    #[inline(always)]
    pub const fn is_tracked(&self) -> bool {
        self.entry.is_some()
    }

    /// The kind of the latest record; 0 if there is none.
    #[inline(always)]
    pub fn last_kind(&self) -> u32 {
        // SAFETY: the map gave the pointer; its entries are preallocated and stay mapped.
        self.entry.map_or(0, |entry| unsafe { (*entry).kind })
    }

    /// The RTO count of the latest record; 0 if there is none.
    #[inline(always)]
    pub fn last_rto_count(&self) -> u8 {
        // SAFETY: as above.
        self.entry.map_or(0, |entry| unsafe { (*entry).rto_count })
    }

    /// Whether the latest record shows an unanswered demand.
    #[inline(always)]
    pub fn has_unanswered(&self) -> bool {
        matches!(
            self.last_kind(),
            record_kind::TLP | record_kind::RTO | record_kind::SYN_RETRANSMIT
        )
    }

    /// Counts a retransmission that makes no record.
    #[inline(always)]
    pub fn count_retransmit(&self) {
        count(counter::RETRANSMITS);
        if let Some(entry) = self.entry {
            // SAFETY: as above.
            unsafe { (*entry).retransmits = (*entry).retransmits.wrapping_add(1) };
        }
    }

    /// Stores the event as the flow's state, and rings.
    #[inline(always)]
    pub fn record(&self, ctx: &RawTracePointContext, event: Event) {
        let record = self.make(event);
        self.store(&record);
        ring(ctx, &record);
    }

    /// Rings, and stores the record only if the flow is already tracked.
    #[inline(always)]
    pub fn announce(&self, ctx: &RawTracePointContext, record: &FlowRecord) {
        if self.is_tracked() {
            self.store(record);
        }
        ring(ctx, record);
    }

    /// Rings, and leaves the flow's state unchanged.
    #[inline(always)]
    pub fn ring(&self, ctx: &RawTracePointContext, event: Event) {
        ring(ctx, &self.make(event));
    }

    /// Rings for the last time, and forgets the flow. If the ring is full, the record is stored
    /// under a separate key; the daemon then reads the map and removes it.
    #[inline(always)]
    pub fn close(&self, ctx: &RawTracePointContext, record: &FlowRecord) {
        self.forget();
        if ring(ctx, record) {
            return;
        }
        let key = FlowKey {
            id: record.at_ns,
            netns: record.netns,
            is_final: 1,
        };
        count(if FLOWS.insert(&key, record, 0).is_ok() {
            counter::FLOWS_ADDED
        } else {
            counter::FLOWS_FULL
        });
    }

    /// Makes the event's record. Each program must call this at one place only: a record takes 112
    /// bytes of the stack, which is 512 bytes for a program and all functions that it calls.
    #[inline(always)]
    pub fn make(&self, event: Event) -> FlowRecord {
        let mut record = blank(&self.tuple, event);
        record.cookie = self.identity.cookie;
        record.netns = self.identity.netns;
        record.retransmits = event.retransmits;
        if let Some(entry) = self.entry {
            // SAFETY: as above.
            record.retransmits = unsafe { (*entry).retransmits }.wrapping_add(event.retransmits);
        }
        self.socket.describe(&mut record);
        record
    }

    #[inline(always)]
    fn store(&self, record: &FlowRecord) {
        if self.identity.cookie != 0 {
            let _ = FLOWS.remove(&self.identity.by_address());
        }
        if FLOWS.insert(&self.identity.key(), record, 0).is_err() {
            count(counter::FLOWS_FULL);
        } else if !self.is_tracked() {
            count(counter::FLOWS_ADDED);
        }
    }

    #[inline(always)]
    fn forget(&self) {
        if !self.is_tracked() {
            return;
        }
        count(counter::FLOWS_REMOVED);
        let _ = FLOWS.remove(&self.identity.key());
        if self.identity.cookie != 0 {
            let _ = FLOWS.remove(&self.identity.by_address());
        }
    }
}

/// A record of an event, without the socket's fields.
#[inline(always)]
fn blank(tuple: &Tuple, event: Event) -> FlowRecord {
    FlowRecord {
        // SAFETY: the helper takes nothing and cannot fail.
        at_ns: unsafe { bpf_ktime_get_ns() },
        cookie: 0,
        last_ack_age_ns: 0,
        last_data_age_ns: 0,
        netns: 0,
        kind: event.kind,
        errno: event.errno,
        unacked_bytes: 0,
        packets_out: 0,
        snd_wnd_bytes: 0,
        srtt_us: 0,
        rto_us: 0,
        retransmits: 0,
        local_addr: tuple.local_addr,
        remote_addr: tuple.remote_addr,
        local_port: tuple.local_port,
        remote_port: tuple.remote_port,
        rto_count: event.rto_count,
        backoff: 0,
        probes_out: 0,
        tcp_state: event.tcp_state,
        flags: event.flags,
        _pad: [0; 3],
    }
}

/// Puts a record on the ring; returns whether there was room.
#[inline(always)]
fn ring(ctx: &RawTracePointContext, record: &FlowRecord) -> bool {
    debug!(
        ctx,
        "kind {} port {} -> {} rto_count {} errno {}",
        record.kind,
        record.local_port,
        record.remote_port,
        record.rto_count,
        record.errno
    );
    let rung = EVENTS.output::<FlowRecord>(record, 0).is_ok();
    count(if rung {
        counter::RECORDS
    } else {
        counter::RING_DROPS
    });
    rung
}
