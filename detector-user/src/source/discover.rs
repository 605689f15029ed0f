//! Discovers peers from the established connections, for a first run whose configuration names
//! none.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    model::{Endpoint, FlowReading, PeerName, Signal, TcpState},
    netlink::sock_diag::{SockDiag, SockDiagError},
    signals::SignalSender,
    worker::{Inbox, Worker},
};

/// How often the daemon looks for new peers.
const DISCOVER_EVERY: Duration = Duration::from_secs(5);

/// A thread that looks for new peers until it is dropped. A peer that was found is kept, also when
/// its flows end.
#[derive(Debug)]
pub struct Discoverer {
    _worker: Worker<()>,
}

impl Discoverer {
    /// Starts the thread, in the caller's network namespace. At most `limit` peers are sent
    /// as [`Signal::PeerConfigured`].
    pub fn spawn(limit: usize, signals: SignalSender) -> anyhow::Result<Self> {
        let mut sock_diag = SockDiag::open()?;
        let mut known = BTreeSet::new();
        let worker = Worker::optional("discover", Inbox::new(()), move |inbox| {
            look_for_peers(&mut sock_diag, limit, &mut known, &signals, inbox)
        });
        Ok(Self { _worker: worker? })
    }
}

fn look_for_peers(
    sock_diag: &mut SockDiag,
    limit: usize,
    known: &mut BTreeSet<PeerName>,
    signals: &SignalSender,
    inbox: &Inbox<()>,
) -> Result<(), SockDiagError> {
    loop {
        for (peer, endpoint) in read_peers(sock_diag, limit)? {
            if known.len() >= limit || !known.insert(peer.clone()) {
                continue;
            }
            let signal = Signal::PeerConfigured {
                peer,
                endpoints: vec![endpoint],
                discovered: true,
            };
            if signals.blocking_send(signal).is_err() {
                return Ok(());
            }
        }
        if !inbox.sleep(DISCOVER_EVERY) {
            return Ok(());
        }
    }
}

fn read_peers(
    sock_diag: &mut SockDiag,
    limit: usize,
) -> Result<Vec<(PeerName, Endpoint)>, SockDiagError> {
    let listening = sock_diag.listening_ports()?;
    Ok(discover(&sock_diag.read_all()?, &listening, limit))
}

/// The peers of the established flows, at most `limit`; peers with the most flows come first.
///
/// A flow to one of our `listening` ports was accepted: nodes of a cluster listen on the same port,
/// so its peer is the remote address with that port. Any other flow was dialled: its remote end is
/// the endpoint. Flows within this host are left out.
pub fn discover(
    flows: &[FlowReading],
    listening: &BTreeSet<u16>,
    limit: usize,
) -> Vec<(PeerName, Endpoint)> {
    let own: BTreeSet<IpAddr> = flows.iter().map(|flow| flow.id.local.ip()).collect();
    let mut counts: BTreeMap<Endpoint, usize> = BTreeMap::new();
    for flow in flows {
        let (local, remote) = (flow.id.local, flow.id.remote);
        let within_host = remote.ip().is_loopback() || own.contains(&remote.ip());
        if flow.state != TcpState::Established || within_host {
            continue;
        }
        let port = match listening.contains(&local.port()) {
            true => local.port(),
            false => remote.port(),
        };
        let addr = remote.ip();
        *counts.entry(Endpoint { addr, port }).or_default() += 1;
    }
    let mut found: Vec<(Endpoint, usize)> = counts.into_iter().collect();
    found.sort_by_key(|&(endpoint, count)| (Reverse(count), endpoint));
    found.truncate(limit);
    found
        .into_iter()
        .map(|(endpoint, _)| (name(endpoint), endpoint))
        .collect()
}

/// The name that a storage node would use.
fn name(endpoint: Endpoint) -> PeerName {
    let addr = SocketAddr::new(endpoint.addr, endpoint.port);
    PeerName::from_canonical(&format!("http://{addr}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::testing::established,
        model::{FlowId, Time},
    };

    fn flow(local: &str, remote: &str, state: TcpState) -> FlowReading {
        FlowReading {
            id: FlowId {
                netns: 0,
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
            },
            state,
            ..established(0, Time::default())
        }
    }

    fn names(flows: &[FlowReading], limit: usize) -> Vec<String> {
        discover(flows, &BTreeSet::from([9000]), limit)
            .into_iter()
            .map(|(peer, _)| peer.to_string())
            .collect()
    }

    #[test]
    fn dialled_and_accepted_flows_with_one_node_are_one_peer() {
        let flows = [
            flow("10.0.0.1:40000", "10.0.0.2:9000", TcpState::Established),
            flow("10.0.0.1:9000", "10.0.0.2:51234", TcpState::Established),
            flow("[fd00::1]:40000", "[fd00::2]:9000", TcpState::Established),
        ];
        let expected = ["http://10.0.0.2:9000", "http://[fd00::2]:9000"];
        assert_eq!(names(&flows, 8), expected);
    }

    #[test]
    fn what_is_within_the_host_or_not_established_is_left_out() {
        let flows = [
            flow("127.0.0.1:40000", "127.0.0.1:9000", TcpState::Established),
            flow("10.0.0.1:40000", "10.0.0.1:9000", TcpState::Established),
            flow("10.0.0.1:40001", "10.0.0.3:9000", TcpState::SynSent),
            flow("10.0.0.1:40002", "10.0.0.4:9000", TcpState::Closing),
        ];
        assert_eq!(names(&flows, 8), Vec::<String>::new());
    }

    #[test]
    fn the_limit_keeps_the_busiest_in_a_fixed_order() {
        let mut flows = vec![
            flow("10.0.0.1:40000", "10.0.0.4:9000", TcpState::Established),
            flow("10.0.0.1:40001", "10.0.0.3:9000", TcpState::Established),
            flow("10.0.0.1:40002", "10.0.0.4:9000", TcpState::Established),
            flow("10.0.0.1:40003", "10.0.0.2:9000", TcpState::Established),
        ];
        let expected = ["http://10.0.0.4:9000", "http://10.0.0.2:9000"];
        assert_eq!(names(&flows, 2), expected);
        flows.reverse();
        assert_eq!(names(&flows, 2), expected);
    }
}
