//! `sock:inet_sk_error_report` (6.1 has it, 5.10 does not): an error on a socket.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use detector_ebpf::record_kind;

use crate::{
    flow::{Event, Flow},
    socket::Socket,
    tuple::Tuple,
};

#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
pub fn inet_sk_error_report(ctx: RawTracePointContext) -> u32 {
    let _ = handle(&ctx);
    0
}

/// `(const struct sock *sk)`
#[inline(always)]
fn handle(ctx: &RawTracePointContext) -> Option<()> {
    let socket = Socket::of(ctx);
    let errno = socket.error();
    if errno == 0 || !socket.is_tcp() {
        return None;
    }
    let tuple = Tuple::of(socket)?;
    tuple.watched()?;
    let flow = Flow::find(tuple, socket)?;
    let mut event = Event::new(record_kind::ERROR_REPORT, socket.state());
    event.errno = errno;
    event.rto_count = socket.retransmits();
    flow.ring(ctx, event);
    Some(())
}
