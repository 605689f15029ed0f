//! `sock:inet_sock_set_state`: connects that succeed or fail, and the end of a flow.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use detector_ebpf::{record_kind, watch_flag};

use crate::{
    flow::{Event, Flow},
    globals::config,
    socket::Socket,
    tuple::{Tuple, field, tuple_offsets},
};

const IPPROTO_TCP: u16 = 6;
const TCP_ESTABLISHED: i32 = 1;
const TCP_SYN_SENT: i32 = 2;
const TCP_SYN_RECV: i32 = 3;
const TCP_CLOSE: i32 = 7;

#[tracepoint]
pub fn inet_sock_set_state(ctx: TracePointContext) -> u32 {
    let _ = handle(&ctx);
    0
}

#[inline(always)]
fn handle(ctx: &TracePointContext) -> Option<()> {
    let old: i32 = field(ctx, config!(set_state.oldstate))?;
    let new: i32 = field(ctx, config!(set_state.newstate))?;
    let opened = new == TCP_ESTABLISHED && (old == TCP_SYN_SENT || old == TCP_SYN_RECV);
    if !opened && new != TCP_CLOSE {
        return None;
    }
    let protocol: u16 = field(ctx, config!(set_state.protocol))?;
    if protocol != IPPROTO_TCP {
        return None;
    }
    let tuple = Tuple::read(ctx, tuple_offsets!(set_state))?;
    let watched = tuple.watched()?;
    let socket = Socket::at(field(ctx, config!(set_state.skaddr))?);
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
