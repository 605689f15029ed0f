//! Problems of a peer besides its verdict, and advice on them.

use detector_api::v1::{PathState, PeerState, Reason, Verdict};

use super::duration;

/// What is wrong with the peer, in a few words each; empty if nothing is.
pub fn wrong(peer: &PeerState) -> Vec<String> {
    let is_fine = matches!(peer.verdict(), Verdict::Alive | Verdict::Unknown);
    let verdict = (!is_fine).then(|| peer.reason().to_string().replace('_', " "));
    let isolated = peer
        .isolated
        .then(|| "this node may be isolated".to_owned());
    verdict
        .into_iter()
        .chain(isolated)
        .chain(marks(peer))
        .collect()
}

/// Short notes for the end of a line.
pub(super) fn marks(peer: &PeerState) -> Vec<String> {
    let contested = peer.contested.then(|| "address contested".to_owned());
    let paths = odd_paths(peer).map(|path| {
        let (verdict, reason) = (path.verdict(), path.reason());
        format!("{} {verdict} ({reason})", path.address)
    });
    let stalled = stalled(peer, None);
    stalled.into_iter().chain(contested).chain(paths).collect()
}

/// The addresses whose verdict differs from the peer's, if it has several addresses.
fn odd_paths(peer: &PeerState) -> impl Iterator<Item = &PathState> {
    let several = peer.paths.len() > 1;
    let odd = move |path: &&PathState| several && path.verdict != peer.verdict;
    peer.paths.iter().filter(odd)
}

/// A note such as "1 of 3 flows stalled for 2.4s"; `None` if no flow is stalled.
pub(super) fn stalled(peer: &PeerState, flows: Option<usize>) -> Option<String> {
    let stalled = peer.stalled_flows;
    let counted = match flows {
        Some(flows) => format!("{stalled} of {flows} flows stalled"),
        None if stalled == 1 => "1 flow stalled".to_owned(),
        None => format!("{stalled} flows stalled"),
    };
    let lasting = match (peer.oldest_stall, stalled) {
        (None, _) => String::new(),
        (Some(oldest), 1) => format!(" for {}", duration(oldest)),
        (Some(oldest), _) => format!(", the oldest for {}", duration(oldest)),
    };
    (stalled > 0).then(|| counted + &lasting)
}

/// Advice on a contested address; `None` if no address is contested.
pub(super) fn contested(peer: &PeerState) -> Option<String> {
    let addresses = match &peer.addresses[..] {
        [] => "the peer's address".to_owned(),
        [one] => one.clone(),
        several => format!("one of {}", several.join(", ")),
    };
    peer.contested.then(|| {
        format!(
            "another network card answers ARP or NDP for {addresses}: its answers do not count as \
             signs of life. Compare the hardware address in `ip neighbour` here with `ip link` on \
             the peer, and look for a second host with this address, proxy ARP, or a virtual \
             address that moved."
        )
    })
}

/// Advice on a verdict, by its reason; `None` if the reason needs no more words.
pub fn advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::HostUnanswered => {
            "the network card (or one in its place) answers and the host does not: see the host's \
             console for a hung kernel, then its firewall (a policy of DROP) and its VLAN."
        }
        Reason::SendsUnanswered => {
            "segments arrive from the peer, and nothing sent to it is acknowledged: the way to it \
             is broken in one direction. Look at the peer's inbound firewall, at routes that \
             differ by direction, and at the counters of the switch ports on the way."
        }
        Reason::FlowsStalled => {
            "the host answers, and these connections do not get through: look for a firewall, NAT \
             or load balancer that has forgotten them, or for one bad link of several (bonding, \
             ECMP). Connections that are made anew may work."
        }
        Reason::LargeSegmentsLost => {
            "small segments pass and large ones are lost: compare the MTU of every link and switch \
             on the way (`tracepath -n ADDRESS`), let ICMP \"fragmentation needed\" through, or \
             set `sysctl net.ipv4.tcp_mtu_probing=1` until it is mended."
        }
        Reason::PathDead => {
            "the peer is reached by another of its addresses: look at the link, the switch and the \
             route of the one that is dead."
        }
        Reason::ZeroWindow => {
            "its kernel answers and its program does not read: look at the program (stopped, out \
             of memory, blocked on a disk), not at the network."
        }
        _ => return None,
    })
}
