//! Reads a flow's sequence numbers from its socket, which a segment on the flow needs.
//!
//! sock_diag gives no sequence numbers, and `TCP_REPAIR` needs the socket's descriptor and stops
//! the socket. So a program of `detector-ebpf` looks up the socket, as the kernel does for a
//! segment from the peer, and copies the numbers. The program is not attached to anything; it runs
//! when it is called, on the calling thread and in that thread's network namespace.

use std::{net::IpAddr, path::Path};

use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use detector_ebpf::{
    ABSENT, CONFIG_NAME, Config, SEQUENCES_HEADER, Sequences, SequencesPacket, SequencesQuery,
    SocketOffsets, sequences_result,
};
use nix::errno::Errno;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{
    EbpfUnavailable,
    btf::{KernelTypes, VMLINUX},
};
use crate::{
    core::FlowId,
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
        let asked = packet(flow).ok_or(Errno::EAFNOSUPPORT)?;
        let mut answered = [0; PACKET];
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
            sequences_result::FOUND => answer(&answered).map(Some),
            sequences_result::NONE => Ok(None),
            _ => Err(Errno::EBADMSG),
        }
    }
}

const PACKET: usize = SEQUENCES_HEADER + size_of::<SequencesPacket>();

/// The Ethernet type for experiments (IEEE 802): the kernel does not parse the packet any further.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// The packet for the program; `None` if the flow mixes address families, which does not occur.
fn packet(flow: &FlowId) -> Option<[u8; PACKET]> {
    let query = query(flow)?;
    let content = SequencesPacket {
        query,
        answer: Sequences::default(),
    };
    let mut packet = [0; PACKET];
    let (header, rest) = packet.split_at_mut(SEQUENCES_HEADER);
    header[12..].copy_from_slice(&ETHERTYPE);
    rest.copy_from_slice(content.as_bytes());
    Some(packet)
}

fn query(flow: &FlowId) -> Option<SequencesQuery> {
    let mut query = SequencesQuery {
        remote_addr: [0; 16],
        local_addr: [0; 16],
        remote_port: flow.remote.port().to_be_bytes(),
        local_port: flow.local.port().to_be_bytes(),
        version: 4,
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

fn answer(packet: &[u8; PACKET]) -> Result<Sequences, Errno> {
    SequencesPacket::read_from_bytes(&packet[SEQUENCES_HEADER..])
        .map(|packet| packet.answer)
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
        if !nix::unistd::geteuid().is_root() || crate::object::OBJECT.is_none() {
            eprintln!("skipped: takes root and the eBPF object");
            return;
        }
        let reader = SequenceReader::load().unwrap_or_else(|error| panic!("{error}"));
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

    #[test]
    fn a_flow_of_mixed_families_is_none() {
        let flow = FlowId {
            netns: 0,
            local: "10.0.0.1:1".parse().unwrap(),
            remote: "[fd00::1]:2".parse().unwrap(),
        };
        assert!(packet(&flow).is_none());
    }
}
