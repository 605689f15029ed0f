//! `tcp:tcp_retransmit_skb`: fires for a TLP, an RTO, a fast retransmission and a SYN. A
//! TLP makes a record; where `tcp_cong_state_set` is missing (5.10), so do an RTO and a
//! SYN. The rest is only counted.
//!
//! A TLP that can send new data does that instead and raises no event.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use detector_ebpf::{config_flag, record_flag, record_kind};

use crate::{
    flow::{Event, Flow},
    globals::{config, has},
    socket::Socket,
    tuple::{Tuple, field, tuple_offsets},
};

/// `TCP_SYN_SENT`.
const SYN_SENT: i32 = 2;
/// `-EBUSY`: the segment still waits in our own queue.
const STILL_QUEUED: i32 = -16;

#[tracepoint]
pub fn tcp_retransmit_skb(ctx: TracePointContext) -> u32 {
    let _ = handle(&ctx);
    0
}

#[inline(always)]
fn handle(ctx: &TracePointContext) -> Option<()> {
    let tuple = Tuple::read(ctx, tuple_offsets!(retransmit))?;
    tuple.watched()?;
    let socket = Socket::at(field(ctx, config!(retransmit.skaddr))?);
    let flow = Flow::find(tuple, socket)?;
    let state: i32 = field(ctx, config!(retransmit.state))?;
    let err: i32 = field(ctx, config!(retransmit.err)).unwrap_or(0);

    let mut event = if socket.in_loss_probe() {
        Event::new(record_kind::TLP, state as u8)
    } else if let Some(event) = timer_expired(&flow, state) {
        event
    } else {
        flow.count_retransmit();
        return None;
    };
    event.retransmits = 1;
    if err == STILL_QUEUED {
        event.flags = record_flag::NOT_SENT;
    }
    if event.kind == record_kind::TLP {
        event.rto_count = socket.retransmits();
    }
    flow.record(ctx, event);
    Some(())
}

/// The timer's expiry, where nothing but this hook shows it.
#[inline(always)]
fn timer_expired(flow: &Flow, state: i32) -> Option<Event> {
    let fields = has(config_flag::SOCKET_FIELDS);
    let connecting = state == SYN_SENT;
    if has(config_flag::CONG_STATE) && (fields || !connecting) {
        return None;
    }
    let rto_count = if fields {
        // The timer has counted itself by now; a second segment of the same expiry has not.
        let count = flow.socket.retransmits();
        let known = flow.is_stalled() && count == flow.last_rto_count();
        if count == 0 || known || !flow.socket.in_retransmit_timer() {
            return None;
        }
        count
    } else if !connecting {
        return None;
    } else if has(config_flag::CONG_STATE) {
        // The other hook counted it, not knowing the state.
        flow.last_rto_count()
    } else if flow.is_stalled() {
        flow.last_rto_count().saturating_add(1)
    } else {
        1
    };
    let kind = if connecting {
        record_kind::SYN_RETRANSMIT
    } else {
        record_kind::RTO
    };
    let mut event = Event::new(kind, state as u8);
    event.rto_count = rto_count;
    Some(event)
}
