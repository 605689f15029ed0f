//! Builds the requests to the kernel: a dump, with the filter that the kernel runs for each socket,
//! the reading of one socket, and its destruction.

use std::net::IpAddr;

use netlink_packet_core::{
    Emitable as _, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagDestroy, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};

use super::{key::SocketKey, prefixes::Prefix};

/// `INET_DIAG_REQ_BYTECODE` in `include/uapi/linux/inet_diag.h`.
const REQ_BYTECODE: u16 = 1;
/// `INET_DIAG_BC_JMP`: always takes the `no` branch.
const BC_JMP: u8 = 1;
/// `INET_DIAG_BC_D_COND`: compares the remote address.
const BC_D_COND: u8 = 8;
/// `struct inet_diag_bc_op`.
const OP_LEN: usize = 4;
/// `struct inet_diag_hostcond` without its address.
const HOSTCOND_LEN: usize = 8;

/// The states in which a flow can show that its peer was heard, or can have an unanswered demand.
/// FIN_WAIT2 has no demand, but the ACK that led to it was heard.
pub(super) fn flow_states() -> StateFlags {
    StateFlags::ESTABLISHED
        | StateFlags::SYN_SENT
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2
        | StateFlags::CLOSE_WAIT
        | StateFlags::LAST_ACK
        | StateFlags::CLOSING
}

/// A request for all TCP sockets of one family in `states`. If `only` is not empty, it asks only
/// for those whose remote address is in one of these prefixes.
pub(super) fn dump(family: u8, states: StateFlags, only: &[Prefix], sequence: u32) -> Vec<u8> {
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states,
        socket_id: match family {
            AF_INET6 => SocketId::new_v6(),
            _ => SocketId::new_v4(),
        },
    };
    let message = SockDiagMessage::InetRequest(request);
    let (mut header, mut bytes) = message_of(message, NLM_F_DUMP, sequence);
    if !only.is_empty() {
        // The codec has no request attributes; this one comes after the fixed part.
        let filter = bytecode(only);
        bytes.extend(((OP_LEN + filter.len()) as u16).to_ne_bytes());
        bytes.extend(REQ_BYTECODE.to_ne_bytes());
        bytes.extend(filter);
        header.length = bytes.len() as u32;
        header.emit(&mut bytes);
    }
    bytes
}

/// A request for this socket and no other.
pub(super) fn one(socket: &SocketKey, sequence: u32) -> Vec<u8> {
    let message = SockDiagMessage::InetRequest(exactly(socket, ExtensionFlags::INFO));
    message_of(message, 0, sequence).1
}

/// A request to destroy this socket and no other. It asks for an acknowledgement, because otherwise
/// a success has no answer.
pub(super) fn destroy(socket: &SocketKey, sequence: u32) -> Vec<u8> {
    let request = exactly(socket, ExtensionFlags::empty());
    let message = SockDiagDestroy::new(SockDiagMessage::InetRequest(request));
    message_of(message, NLM_F_ACK, sequence).1
}

fn exactly(socket: &SocketKey, extensions: ExtensionFlags) -> InetRequest {
    InetRequest {
        family: socket.family,
        protocol: IPPROTO_TCP,
        extensions,
        // Only dumps use this field.
        states: StateFlags::all(),
        socket_id: socket.id.clone(),
    }
}

/// A whole request, and its header for later changes.
fn message_of<M>(message: M, flags: u16, sequence: u32) -> (NetlinkHeader, Vec<u8>)
where
    M: NetlinkSerializable + Into<NetlinkPayload<M>>,
{
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, message.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    (message.header, bytes)
}

/// A filter program that accepts a socket whose remote address is in one of the prefixes, in the form that
/// `inet_diag_bc_audit` in net/ipv4/inet_diag.c accepts. If a condition holds, the next instruction
/// is a jump to the end (accept). If it fails, the next condition follows; the last failing one
/// jumps 4 bytes beyond the end (reject). An IPv4 condition also holds for v4-mapped sockets.
fn bytecode(prefixes: &[Prefix]) -> Vec<u8> {
    let mut program = Vec::new();
    // The program is built backwards, because a jump needs the length of what comes after it.
    for prefix in prefixes.iter().rev() {
        let condition = condition_len(&prefix.addr);
        let mut step = Vec::new();
        push_op(&mut step, BC_D_COND, condition, condition + OP_LEN);
        push_address(&mut step, prefix);
        if !program.is_empty() {
            push_op(&mut step, BC_JMP, OP_LEN, OP_LEN + program.len());
        }
        step.append(&mut program);
        program = step;
    }
    program
}

fn condition_len(addr: &IpAddr) -> usize {
    OP_LEN
        + HOSTCOND_LEN
        + match addr {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 16,
        }
}

/// The lengths fit: they are below 64 for a condition, and below 1024 for a jump with at most
/// `MAX_CONDITIONS` conditions.
fn push_op(program: &mut Vec<u8>, code: u8, yes: usize, no: usize) {
    program.push(code);
    program.push(yes as u8);
    program.extend((no as u16).to_ne_bytes());
}

fn push_address(program: &mut Vec<u8>, prefix: &Prefix) {
    const ANY_PORT: i32 = -1;
    let family = match prefix.addr {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    };
    program.extend([family, prefix.bits, 0, 0]);
    program.extend(ANY_PORT.to_ne_bytes());
    match prefix.addr {
        IpAddr::V4(addr) => program.extend(addr.octets()),
        IpAddr::V6(addr) => program.extend(addr.octets()),
    }
}

#[cfg(test)]
mod tests;
