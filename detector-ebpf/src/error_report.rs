//! `sock:inet_sk_error_report` (6.1 has it, 5.10 does not): an error on a socket. The record names no socket,
//! so neither its namespace nor its cookie is known.

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};
use detector_ebpf::record_kind;

use crate::{
    flow::{Event, blank, ring},
    globals::config,
    tuple::{Tuple, field, tuple_offsets},
};

const IPPROTO_TCP: u16 = 6;

#[tracepoint]
pub fn inet_sk_error_report(ctx: TracePointContext) -> u32 {
    let _ = handle(&ctx);
    0
}

#[inline(always)]
fn handle(ctx: &TracePointContext) -> Option<()> {
    let error: i32 = field(ctx, config!(error_report.error))?;
    let protocol: u16 = field(ctx, config!(error_report.protocol))?;
    if error == 0 || protocol != IPPROTO_TCP {
        return None;
    }
    let tuple = Tuple::read(ctx, tuple_offsets!(error_report))?;
    tuple.watched()?;
    let mut event = Event::new(record_kind::ERROR_REPORT, 0);
    event.errno = error.unsigned_abs();
    ring(ctx, &blank(&tuple, event));
    Some(())
}
