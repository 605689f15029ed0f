//! `tcp:tcp_cong_state_set` (6.1 has it, 5.10 does not). It fires at every RTO, on entry to the
//! Loss state, and when the Loss state is left; it never fires for a TLP or a fast retransmission.
//!
//! `tcp_enter_loss` runs before the timer counts itself, so the real count is one more than
//! `icsk_retransmits`.
//! <https://github.com/torvalds/linux/blob/v6.18/net/ipv4/tcp_timer.c#L551>

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use detector_ebpf::record_kind;

use crate::{
    flow::{Event, Flow},
    socket::Socket,
    tuple::Tuple,
};

/// `TCP_CA_Open`: what was lost is acknowledged. The states between it and `TCP_CA_Loss` are of no
/// interest. Disorder and Recovery are entered at an acknowledgement, and end in Open. CWR is also
/// entered when this host's own queue drops a segment, so it says nothing about the peer.
const CA_OPEN: u64 = 0;
/// `TCP_CA_Loss`.
const CA_LOSS: u64 = 4;
/// `TCP_SYN_SENT`.
const SYN_SENT: u8 = 2;

#[raw_tracepoint(tracepoint = "tcp_cong_state_set")]
pub fn tcp_cong_state_set(ctx: RawTracePointContext) -> u32 {
    let _ = handle(&ctx);
    0
}

/// `(struct sock *sk, const u8 ca_state)`
#[inline(always)]
fn handle(ctx: &RawTracePointContext) -> Option<()> {
    let cong_state: u64 = ctx.arg(1);
    if cong_state != CA_OPEN && cong_state != CA_LOSS {
        return None;
    }
    let socket = Socket::of(ctx);
    let tuple = Tuple::of(socket)?;
    tuple.watched()?;
    let flow = Flow::find(tuple, socket)?;
    let event = if cong_state == CA_LOSS {
        timer_expired(&flow)?
    } else {
        recovered(&flow)?
    };
    flow.record(ctx, event);
    Some(())
}

#[inline(always)]
fn timer_expired(flow: &Flow) -> Option<Event> {
    // Path MTU discovery also enters Loss (`tcp_simple_retransmit`), but outside the timer.
    if !flow.socket.in_retransmit_timer() {
        return None;
    }
    let state = flow.socket.state();
    let kind = if state == SYN_SENT {
        record_kind::SYN_RETRANSMIT
    } else {
        record_kind::RTO
    };
    let mut event = Event::new(kind, state);
    event.rto_count = flow.socket.retransmits().saturating_add(1);
    Some(event)
}

#[inline(always)]
fn recovered(flow: &Flow) -> Option<Event> {
    flow.has_unanswered()
        .then(|| Event::new(record_kind::RECOVERED, flow.socket.state()))
}
