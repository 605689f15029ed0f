//! A plain count of retransmissions from the socket table (`tcpi_total_retrans`).

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::IpAddr,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, bail};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::{Belief, Method};
use crate::clock;

const LIMIT: usize = 4;
const WINDOW: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_millis(100);
/// Where `tcpi_total_retrans` is in `struct tcp_info` (include/uapi/linux/tcp.h).
const TOTAL_RETRANS: std::ops::Range<usize> = 100..104;
/// The kernel fills at most 32 KiB at a time (`netlink_dump` of net/netlink/af_netlink.c).
const BUFFER_BYTES: usize = 64 * 1024;

pub(super) async fn watch(peer: IpAddr) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || count(peer)).await?
}

fn count(peer: IpAddr) -> anyhow::Result<()> {
    let mut table = Table::open()?;
    let mut counter = Counter::default();
    let mut belief = Belief::new(Method::Retransmits);
    loop {
        let totals = table.totals(peer)?;
        belief.is(counter.is_dead(clock::now_ns(), totals));
        sleep(EVERY);
    }
}

/// The number of retransmissions of each socket, by cookie.
type Totals = HashMap<[u8; 8], u32>;

/// The recent retransmissions.
#[derive(Debug, Default)]
struct Counter {
    last: Totals,
    again_ns: VecDeque<u64>,
}

impl Counter {
    fn is_dead(&mut self, now_ns: u64, totals: Totals) -> bool {
        for (cookie, total) in &totals {
            let before = self.last.get(cookie).copied().unwrap_or(0);
            let new = (total.saturating_sub(before) as usize).min(LIMIT);
            self.again_ns.extend(std::iter::repeat_n(now_ns, new));
        }
        self.last = totals;
        while self
            .again_ns
            .front()
            .is_some_and(|at| clock::between(*at, now_ns) > WINDOW)
        {
            self.again_ns.pop_front();
        }
        self.again_ns.len() >= LIMIT
    }
}

/// The kernel's table of TCP sockets.
struct Table {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Table {
    fn open() -> anyhow::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("cannot open sock_diag")?;
        socket.bind_auto().context("cannot bind sock_diag")?;
        socket
            .connect(&SocketAddr::new(0, 0))
            .context("cannot connect to sock_diag")?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    fn totals(&mut self, peer: IpAddr) -> anyhow::Result<Totals> {
        let mut totals = Totals::new();
        // An IPv4 peer may have connected to an IPv6 socket.
        for family in [AF_INET, AF_INET6] {
            self.dump(family, |response| {
                let id = &response.header.socket_id;
                if id.destination_address.to_canonical() == peer
                    && let Some(total) = total_retransmits(response)
                {
                    totals.insert(id.cookie, total);
                }
            })?;
        }
        Ok(totals)
    }

    fn dump(&mut self, family: u8, mut each: impl FnMut(&InetResponse)) -> anyhow::Result<()> {
        self.socket
            .send(&request(family), 0)
            .context("cannot ask sock_diag")?;
        loop {
            let length = self
                .socket
                .recv(&mut &mut self.buffer[..], 0)
                .context("cannot read the answer of sock_diag")?;
            let mut bytes = &self.buffer[..length];
            while !bytes.is_empty() {
                let length = NetlinkBuffer::new_checked(bytes)?.length() as usize;
                let (message, rest) = bytes.split_at(length.min(bytes.len()));
                match NetlinkMessage::<SockDiagMessage>::deserialize(message)?.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        each(&response);
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io().into()),
                    other => bail!("sock_diag answered {other:?}"),
                }
                // Messages begin at multiples of 4.
                let padding = (length.wrapping_neg() & 3).min(rest.len());
                bytes = &rest[padding..];
            }
            if length == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn request(family: u8) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::all(),
        socket_id: match family {
            AF_INET6 => SocketId::new_v6(),
            _ => SocketId::new_v4(),
        },
    };
    let payload = NetlinkPayload::from(SockDiagMessage::InetRequest(request));
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn total_retransmits(response: &InetResponse) -> Option<u32> {
    response.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) => {
            let bytes = info.get(TOTAL_RETRANS)?.try_into().ok()?;
            Some(u32::from_ne_bytes(bytes))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_within_two_seconds_on_all_flows_together() {
        const MS: u64 = 1_000_000;
        let mut counter = Counter::default();
        let totals = |a: u32, b: u32| Totals::from([([1; 8], a), ([2; 8], b)]);
        assert!(!counter.is_dead(0, totals(1, 0)));
        assert!(!counter.is_dead(100 * MS, totals(2, 1)));
        assert!(counter.is_dead(200 * MS, totals(2, 2)));
        assert!(counter.is_dead(1900 * MS, totals(2, 2)));
        assert!(
            !counter.is_dead(2050 * MS, totals(2, 2)),
            "the first is old"
        );
        // A socket that is gone subtracts nothing, and a new one starts at zero.
        assert!(!counter.is_dead(9000 * MS, Totals::new()));
    }
}
