//! What others give the daemon as bytes, and the functions that read it. Each holds for any bytes: it
//! neither panics nor uses more than its bounds, and what it accepts keeps the promises that the
//! rest of the daemon relies on.
//!
//! One body, two callers: the tests here pass damaged samples, and `cargo xtask fuzz` lets libFuzzer
//! search. Both start with the samples in `detector-user/fuzz/corpus/`.

mod files;

use crate::{
    config,
    netlink::sock_diag,
    serve::grpc,
    source::{ebpf, network, probe},
};

#[cfg(test)]
mod tests;

/// One kind of bytes from others.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder with its samples.
    pub name: &'static str,
    /// Reads the bytes, and panics if what was read breaks a promise.
    pub read: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    target("ring", ebpf::any_record),
    target("btf", ebpf::any_types),
    target("sock_diag", sock_diag::any_datagram),
    target("rtnetlink", network::any_datagram),
    target("arp", probe::any_arp),
    target("ndp", probe::any_ndp),
    target("segment", probe::any_segment),
    target("config", config::any_text),
    target("grpc", grpc::any_request),
    target("recording", files::recording),
    target("volumes", files::volumes),
];

const fn target(name: &'static str, read: fn(&[u8])) -> Target {
    Target { name, read }
}
