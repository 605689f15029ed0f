//! Reads flows' sequence numbers from their sockets, which a segment on a flow needs.
//!
//! sock_diag gives no sequence numbers, and `TCP_REPAIR` needs the socket's descriptor and stops
//! the socket. So a program of `detector-ebpf` looks up the socket, as the kernel does for a
//! segment from the peer, and copies the numbers. The program is not attached to anything; it runs
//! when it is called, on the calling thread and in that thread's network namespace.

use std::{net::IpAddr, path::Path};

use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use detector_ebpf::{
    ABSENT, CONFIG_NAME, Config, SEQUENCES_AT_ONCE, SEQUENCES_HEADER, Sequences, SequencesPacket,
    SequencesQuery, SocketOffsets, sequences_result,
};
use nix::errno::Errno;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    EbpfUnavailable,
    btf::{KernelTypes, VMLINUX},
};
use crate::{
    model::FlowId,
    object::{Part, Programs},
};

const PROGRAM: &str = "keepalive";

/// The program, loaded. Dropping it removes it.
#[derive(Debug)]
pub struct SequenceReader {
    programs: Programs,
}

impl SequenceReader {
    pub fn load() -> Result<Self, EbpfUnavailable> {
        let config = Config {
            socket: offsets()?,
            ..Config::ABSENT
        };
        let globals = [(CONFIG_NAME, config.as_bytes())];
        let mut programs = Programs::open(Part::Keepalive, &globals, &[])?;
        programs.load(PROGRAM, SchedClassifier::load)?;
        Ok(Self { programs })
    }

    /// The flow's present sequence numbers; `None` if the calling thread's network namespace has no
    /// such socket, or only a listening one or one that is bound to a link.
    pub fn read(&self, flow: &FlowId) -> Result<Option<Sequences>, Errno> {
        let mut all = self.read_all(std::slice::from_ref(flow));
        all.pop().unwrap_or(Ok(None))
    }

    /// Those of each of these flows, in their order: many with one call of the kernel.
    pub fn read_all(&self, flows: &[FlowId]) -> Vec<Result<Option<Sequences>, Errno>> {
        let mut all = Vec::with_capacity(flows.len());
        for some in flows.chunks(SEQUENCES_AT_ONCE) {
            match self.answers(some) {
                Ok(answers) => all.extend(some.iter().zip(answers).map(|(flow, answer)| {
                    query(flow).ok_or(Errno::EAFNOSUPPORT)?;
                    Ok((answer.tcp_state != 0).then_some(answer))
                })),
                Err(errno) => all.extend(some.iter().map(|_| Err(errno))),
            }
        }
        all
    }

    fn answers(&self, flows: &[FlowId]) -> Result<Vec<Sequences>, Errno> {
        let asked = packet(flows);
        let mut answered = vec![0; asked.len()];
        let program: &SchedClassifier = self
            .programs
            .ebpf
            .program(PROGRAM)
            .ok_or(ProgramError::NotLoaded)
            .and_then(TryInto::try_into)
            .map_err(|_| Errno::EBADF)?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(&asked),
            data_out: Some(&mut answered),
            ..TestRunOptions::default()
        });
        match result.map_err(errno)?.return_value {
            sequences_result::ANSWERED => answers(&answered),
            _ => Err(Errno::EBADMSG),
        }
    }
}

/// The Ethernet type for experiments (IEEE 802): the kernel does not parse the packet any further.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The packet for the program. A flow that mixes address families does not occur; what is asked in
/// its place finds nothing.
fn packet(flows: &[FlowId]) -> Vec<u8> {
    let mut packet = vec![0; SEQUENCES_HEADER - ETHERTYPE.len()];
    packet.extend(ETHERTYPE);
    for flow in flows {
        let content = SequencesPacket {
            query: query(flow).unwrap_or(NOTHING),
            answer: Sequences::default(),
        };
        packet.extend(content.as_bytes());
    }
    packet
}

const NOTHING: SequencesQuery = SequencesQuery {
    remote_addr: [0; 16],
    local_addr: [0; 16],
    remote_port: [0; 2],
    local_port: [0; 2],
    version: 4,
};

fn query(flow: &FlowId) -> Option<SequencesQuery> {
    let mut query = SequencesQuery {
        remote_port: flow.remote.port().to_be_bytes(),
        local_port: flow.local.port().to_be_bytes(),
        ..NOTHING
    };
    match (flow.remote.ip(), flow.local.ip()) {
        (IpAddr::V4(remote), IpAddr::V4(local)) => {
            query.remote_addr[..4].copy_from_slice(&remote.octets());
            query.local_addr[..4].copy_from_slice(&local.octets());
        }
        (IpAddr::V6(remote), IpAddr::V6(local)) => {
            query.remote_addr = remote.octets();
            query.local_addr = local.octets();
            query.version = 6;
        }
        _ => return None,
    }
    Some(query)
}

fn answers(packet: &[u8]) -> Result<Vec<Sequences>, Errno> {
    let content = packet.get(SEQUENCES_HEADER..).ok_or(Errno::EBADMSG)?;
    let each = content.chunks(size_of::<SequencesPacket>());
    each.map(|one| SequencesPacket::read_from_bytes(one).map(|packet| packet.answer))
        .collect::<Result<_, _>>()
        .map_err(|_| Errno::EBADMSG)
}

fn errno(error: ProgramError) -> Errno {
    match error {
        ProgramError::SyscallError(error) => error
            .io_error
            .raw_os_error()
            .map_or(Errno::EIO, Errno::from_raw),
        _ => Errno::EIO,
    }
}

/// The offsets of the fields from which a segment is made; all of them are needed.
fn offsets() -> Result<SocketOffsets, EbpfUnavailable> {
    let types = KernelTypes::read(Path::new(VMLINUX))?;
    let at = types.offsets;
    let needed = [
        (at.cookie, "skc_cookie"),
        (at.snd_una, "snd_una"),
        (at.rcv_nxt, "rcv_nxt"),
        (at.rcv_wup, "rcv_wup"),
        (at.rcv_wnd, "rcv_wnd"),
        (at.snd_wnd, "snd_wnd"),
        (at.ts_recent, "ts_recent"),
        (at.clock_cache, "tcp_clock_cache"),
        (at.wstamp, "tcp_wstamp_ns"),
        (at.tsoffset, "tsoffset"),
        (at.header_len, "tcp_header_len"),
        (at.window_scales, "snd_wscale"),
    ];
    let missing: Vec<_> = needed
        .iter()
        .filter(|(offset, _)| *offset == ABSENT)
        .map(|&(_, name)| name)
        .collect();
    match missing.is_empty() {
        true => Ok(at),
        false => Err(EbpfUnavailable::Fields(missing.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn flow(stream: &TcpStream) -> FlowId {
        FlowId {
            netns: 0,
            local: stream.local_addr().unwrap(),
            remote: stream.peer_addr().unwrap(),
        }
    }

    #[test]
    fn both_ends_of_a_connection_agree() {
        let Some(reader) = reader() else { return };
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(addr).unwrap();
            let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (theirs, _) = listener.accept().unwrap();
            let read = |stream| reader.read(&flow(stream)).unwrap().unwrap();
            let (here, there) = (read(&ours), read(&theirs));
            assert_eq!(here.snd_una, there.rcv_nxt);
            assert_eq!(there.snd_una, here.rcv_nxt);
            assert_eq!((here.tcp_state, there.tcp_state), (1, 1));
            assert!(here.snd_wnd > 0 && here.rcv_wnd > 0, "{here:?}");
            let scales = |at: Sequences| (at.window_scales & 15, at.window_scales >> 4);
            let (peers, own) = scales(here);
            assert_eq!(scales(there), (own, peers), "{here:?} {there:?}");

            let gone = flow(&ours);
            drop((ours, theirs, listener));
            assert_eq!(reader.read(&gone).unwrap(), None);
        }
    }

    /// More than one run of the program, of both families, with some that find nothing.
    #[test]
    fn many_are_answered_each_in_its_place() {
        let Some(reader) = reader() else { return };
        let listeners = ["127.0.0.1:0", "[::1]:0"].map(|addr| TcpListener::bind(addr).unwrap());
        let to = |n: usize| listeners[n % 2].local_addr().unwrap();
        let streams: Vec<_> = (0..2 * SEQUENCES_AT_ONCE + 3)
            .map(|n| TcpStream::connect(to(n)).unwrap())
            .collect();
        let mut flows: Vec<_> = streams.iter().map(flow).collect();
        flows[1].local.set_port(1);
        flows[SEQUENCES_AT_ONCE] = mixed();
        let all = reader.read_all(&flows);
        assert_eq!(all.len(), flows.len());
        for (n, answer) in all.into_iter().enumerate() {
            match n {
                1 => assert_eq!(answer, Ok(None)),
                SEQUENCES_AT_ONCE => assert_eq!(answer, Err(Errno::EAFNOSUPPORT)),
                _ => assert_eq!(answer, reader.read(&flows[n]), "{n}"),
            }
        }
        assert_eq!(reader.read_all(&[]), []);
    }

    fn reader() -> Option<SequenceReader> {
        if !nix::unistd::geteuid().is_root() || crate::object::OBJECT.is_none() {
            eprintln!("skipped: takes root and the eBPF object");
            return None;
        }
        Some(SequenceReader::load().unwrap_or_else(|error| panic!("{error}")))
    }

    fn mixed() -> FlowId {
        FlowId {
            netns: 0,
            local: "10.0.0.1:1".parse().unwrap(),
            remote: "[fd00::1]:2".parse().unwrap(),
        }
    }
}
