//! `sock:inet_sock_set_state`: connects that succeed or fail, and the ends of flows.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use detector_ebpf::{record_kind, watch_flag};

use crate::{
    flow::{Event, Flow},
    socket::Socket,
    tuple::Tuple,
};

const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_SYN_RECV: i32 = 3;
const TCP_CLOSE: i32 = 7;

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: RawTracePointContext) -> u32 {
    let _ = handle(&ctx);
    0
}

/// `(const struct sock *sk, const int oldstate, const int newstate)`
#[inline(always)]
fn handle(ctx: &RawTracePointContext) -> Option<()> {
    let (old, new): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let opened = new == TCP_ESTABLISHED && (old == TCP_SYN_SENT || old == TCP_SYN_RECV);
    if !opened && new != TCP_CLOSE {
        return None;
    }
    let socket = Socket::of(ctx);
    let tuple = Tuple::of(socket)?;
    let watched = tuple.watched()?;
    if !socket.is_tcp() {
        return None;
    }
    let flow = Flow::find(tuple, socket)?;
    let event = if opened {
        opening(&flow, watched)?
    } else {
        closing(&flow, old)?
    };
    let record = flow.make(event);
    if opened {
        flow.announce(ctx, &record);
    } else {
        flow.close(ctx, &record);
    }
    Some(())
}

#[inline(always)]
fn opening(flow: &Flow, watched: u32) -> Option<Event> {
    let is_wanted = flow.is_tracked() || watched & watch_flag::REPORT_ESTABLISHED != 0;
    is_wanted.then(|| Event::new(record_kind::ESTABLISHED, TCP_ESTABLISHED as u8))
}

#[inline(always)]
fn closing(flow: &Flow, old: i32) -> Option<Event> {
    let kind = if old == TCP_SYN_SENT {
        record_kind::CONNECT_FAILED
    } else if flow.is_tracked() {
        record_kind::CLOSED
    } else {
        return None;
    };
    let mut event = Event::new(kind, old as u8);
    event.errno = flow.socket.error();
    event.rto_count = flow.socket.retransmits();
    Some(event)
}
