//! The addresses and ports of a socket, and whether they are watched.

use detector_ebpf::{WatchKey, filter_bit};

use crate::{
    globals::config,
    maps::{ADDRESSES, WATCHED},
    socket::Socket,
};

const AF_INET6: u16 = 10;

/// The start of `struct sock_common`: `skc_daddr`, and after it `skc_family`. It is the same in all
/// kernels that are known, and one read takes both.
const HEAD: usize = 20;
const FAMILY_AFTER_REMOTE: u16 = 16;

/// `::ffff:0.0.0.0`; an IPv4 address goes into the last four octets.
const V4_MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

/// Both ends of a flow, canonical, as in a record.
#[derive(Clone, Copy)]
pub struct Tuple {
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
}

impl Tuple {
    /// `None` if the remote address is surely not watched: then nothing else is read.
    #[inline(always)]
    pub fn of(socket: Socket) -> Option<Self> {
        let mut tuple = Self {
            local_addr: V4_MAPPED,
            remote_addr: V4_MAPPED,
            local_port: 0,
            remote_port: 0,
        };
        let (family, remote_v4) = family_and_remote_v4(socket);
        let is_v6 = family == AF_INET6;
        // A long address is read directly into its place, so that the stack holds no second copy.
        if is_v6 {
            socket.read_into(config!(socket.remote_v6), &mut tuple.remote_addr);
        } else {
            tuple.remote_addr[12..].copy_from_slice(&remote_v4);
        }
        let (word, bit) = filter_bit(&tuple.remote_addr);
        if ADDRESSES.get(word)? & bit == 0 {
            return None;
        }
        if is_v6 {
            socket.read_into(config!(socket.local_v6), &mut tuple.local_addr);
        } else {
            socket.read_into(config!(socket.local_v4), &mut tuple.local_addr[12..]);
        }
        tuple.local_port = u16::from_be_bytes(socket.read(config!(socket.local_port)));
        tuple.remote_port = u16::from_be_bytes(socket.read(config!(socket.remote_port)));
        Some(tuple)
    }

    /// The flags of the watched endpoint; `None` if the tuple is not watched. The remote address
    /// decides, together with the remote port, the local port, or any port.
    #[inline(always)]
    pub fn watched(&self) -> Option<u32> {
        let mut key = WatchKey {
            addr: self.remote_addr,
            port: self.remote_port,
            _pad: 0,
        };
        // SAFETY: a value is a plain u32, and it is no problem if it changes concurrently.
        if let Some(flags) = unsafe { WATCHED.get(&key) } {
            return Some(*flags);
        }
        key.port = self.local_port;
        // SAFETY: as above.
        if let Some(flags) = unsafe { WATCHED.get(&key) } {
            return Some(*flags);
        }
        key.port = 0;
        // SAFETY: as above.
        unsafe { WATCHED.get(&key) }.copied()
    }
}

/// What decides about nearly all sockets of a machine: for them nothing else is read.
#[inline(always)]
fn family_and_remote_v4(socket: Socket) -> (u16, [u8; 4]) {
    let (family, remote_v4) = (config!(socket.family), config!(socket.remote_v4));
    if family != remote_v4.wrapping_add(FAMILY_AFTER_REMOTE) {
        return (socket.read(family), socket.read(remote_v4));
    }
    let head: [u8; HEAD] = socket.read(remote_v4);
    let [a, b, c, d, ..] = head;
    let family = [
        head[FAMILY_AFTER_REMOTE as usize],
        head[FAMILY_AFTER_REMOTE as usize + 1],
    ];
    (u16::from_ne_bytes(family), [a, b, c, d])
}
