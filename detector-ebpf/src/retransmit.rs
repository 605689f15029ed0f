//! `tcp:tcp_retransmit_skb` fires for a TLP, an RTO, a fast retransmission and a SYN. A TLP makes a
//! record. If `tcp_cong_state_set` is missing (5.10), so do an RTO and a SYN. All other
//! retransmissions are only counted.
//!
//! If a TLP can send new data, it does that instead, and there is no event.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use detector_ebpf::{config_flag, record_flag, record_kind};

use crate::{
    flow::{Event, Flow},
    globals::has,
    socket::Socket,
    tuple::Tuple,
};

/// `TCP_SYN_SENT`.
const SYN_SENT: u8 = 2;
/// `-EBUSY`: the segment is still in this host's own queue.
const STILL_QUEUED: i32 = -16;

#[raw_tracepoint(tracepoint = "tcp_retransmit_skb")]
pub fn tcp_retransmit_skb(ctx: RawTracePointContext) -> u32 {
    let _ = handle(&ctx);
    0
}

/// `(const struct sock *sk, const struct sk_buff *skb)`, and since 6.17 `int err`
#[inline(always)]
fn handle(ctx: &RawTracePointContext) -> Option<()> {
    let socket = Socket::of(ctx);
    let tuple = Tuple::of(socket)?;
    tuple.watched()?;
    let flow = Flow::find(tuple, socket)?;
    let state = socket.state();

    let mut event = if socket.in_loss_probe() {
        Event::new(record_kind::TLP, state)
    } else if let Some(event) = timer_expired(&flow, state) {
        event
    } else {
        flow.count_retransmit();
        return None;
    };
    event.retransmits = 1;
    if has(config_flag::RETRANSMIT_ERROR) && ctx.arg::<i32>(2) == STILL_QUEUED {
        event.flags = record_flag::NOT_SENT;
    }
    if event.kind == record_kind::TLP {
        event.rto_count = socket.retransmits();
    }
    flow.record(ctx, event);
    Some(())
}

/// The timer's expiry, if only this hook shows it. By now the timer has counted itself; a second
/// segment of the same expiry does not raise the count.
#[inline(always)]
fn timer_expired(flow: &Flow, state: u8) -> Option<Event> {
    if has(config_flag::CONG_STATE) {
        return None;
    }
    let count = flow.socket.retransmits();
    let is_known = flow.has_unanswered() && count == flow.last_rto_count();
    if count == 0 || is_known || !flow.socket.in_retransmit_timer() {
        return None;
    }
    let kind = if state == SYN_SENT {
        record_kind::SYN_RETRANSMIT
    } else {
        record_kind::RTO
    };
    let mut event = Event::new(kind, state);
    event.rto_count = count;
    Some(event)
}
