//! The addresses and ports of a socket, and whether they are watched.

use detector_ebpf::{WatchKey, filter_bit};

use crate::{
    globals::config,
    maps::{ADDRESSES, WATCHED},
    socket::Socket,
};

const AF_INET6: u16 = 10;

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
        // Each address is read directly into its place, so that the stack holds no second copy.
        let is_v6 = socket.read::<u16>(config!(socket.family)) == AF_INET6;
        if is_v6 {
            socket.read_into(config!(socket.remote_v6), &mut tuple.remote_addr);
        } else {
            socket.read_into(config!(socket.remote_v4), &mut tuple.remote_addr[12..]);
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
