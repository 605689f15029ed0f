//! Neighbours that answer, that do not, and that move.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
};

use detector_user::model::{HardwareAddress, NeighbourState};
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket},
};

use super::*;

const DISCARD: u16 = 9;

/// Makes the host ask for its neighbour.
fn send(host: &Host, to: IpAddr) -> anyhow::Result<()> {
    let local: IpAddr = match to {
        IpAddr::V4(_) => host.v4().into(),
        IpAddr::V6(_) => host.v6().into(),
    };
    let socket = host.within(|| UdpSocket::bind((local, 0)))??;
    socket.send_to(b"x", (to, DISCARD))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_that_answer_and_that_do_not() -> anyhow::Result<()> {
    use NeighbourState::{Reachable, Stale};
    testbed::run(LIMIT, async {
        let lab = Lab::new(4)?;
        let (us, peer, router, stranger) = (lab.host(1), lab.host(2), lab.host(3), lab.host(4));
        let eth0 = Eth0::of(us)?;
        let far: IpAddr = "10.99.0.1".parse()?;
        let (v4, v6) = (IpAddr::from(peer.v4()), IpAddr::from(peer.v6()));
        ip(us, &format!("route add 10.99.0.0/24 via {}", router.v4()))?;
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([v4, v6, far]);
        listener.hears_route(v6, eth0.on_link()).await?;

        // Answers; for a peer behind a router, the router's.
        send(us, stranger.v4().into())?;
        let (card, routers) = (peer.card()?, router.card()?);
        let first = [
            (v4, v4, &card),
            (v6, v6, &card),
            (far, router.v4().into(), &routers),
        ];
        for (to, neighbour, card) in first {
            send(us, to)?;
            let answered = eth0.neighbour(neighbour, Reachable, card)?;
            listener.hears(answered).await?;
        }

        // Nobody answers: the kernel asks three times, a second apart.
        lab.cut(&[2], Cut::SilentDrop)?;
        listener.told.clear();
        ip(us, "neigh flush dev eth0")?;
        ip(
            us,
            &format!("neigh replace {v4} dev eth0 lladdr 02:00:00:00:00:09 nud reachable"),
        )?;
        ip(us, &format!("neigh del {v4} dev eth0"))?;
        let begun = clock::now_ns();
        send(us, v4)?;
        send(us, v6)?;
        listener.hears(eth0.failed(v4)).await?;
        println!("failed after {:?}", clock::between(begun, clock::now_ns()));
        if !listener.told.contains(&eth0.failed(v6)) {
            listener.hears(eth0.failed(v6)).await?;
        }
        // A manually set entry is reported neither as an answer nor as a failure, but packets went
        // to another card because of it.
        let by_hand = eth0.neighbour(v4, Stale, "02:00:00:00:00:09")?;
        assert_eq!(listener.told[0], by_hand);
        assert_eq!(listener.told.len(), 3, "{:#?}", listener.told);
        lab.heal(&[2])?;
        for to in [v4, v6] {
            send(us, to)?;
            listener
                .hears(eth0.neighbour(to, Reachable, &card)?)
                .await?;
        }

        // For a peer that is watched later, an existing failure is reported, but not an old answer.
        lab.cut(&[2], Cut::SilentDrop)?;
        ip(us, "neigh flush dev eth0")?;
        send(us, v4)?;
        listener.hears(eth0.failed(v4)).await?;
        let mut late = Listener::on(us, 64, ROOM)?;
        late.watch([v4, router.v4().into()]);
        late.hears(eth0.failed(v4)).await?;
        let stale = [eth0.neighbour(router.v4(), Reachable, &routers)?];
        assert!(!late.told.contains(&stale[0]), "{:#?}", late.told);
        let of_stranger = eth0.neighbour(stranger.v4(), Reachable, &stranger.card()?)?;
        assert!(!listener.told.contains(&of_stranger));
        Ok(())
    })
    .await
}

/// A gratuitous ARP reply, as a host sends it that takes over an address (RFC 5227, 3).
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_goes_to_another_card_is_told() -> anyhow::Result<()> {
    use NeighbourState::{Reachable, Stale};
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (us, peer, other) = (lab.host(1), lab.host(2), lab.host(3));
        let eth0 = Eth0::of(us)?;
        let v4 = IpAddr::from(peer.v4());
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([v4]);
        listener.hears_route(v4, eth0.on_link()).await?;
        send(us, v4)?;
        let answered = eth0.neighbour(v4, Reachable, &peer.card()?)?;
        listener.hears(answered).await?;
        listener.told.clear();

        announce(other, peer.v4())?;
        let moved = eth0.neighbour(v4, Stale, &other.card()?)?;
        listener.hears(moved).await?;
        // The same once more changes nothing: the last event is that of the way back.
        announce(other, peer.v4())?;
        announce(peer, peer.v4())?;
        listener
            .hears(eth0.neighbour(v4, Stale, &peer.card()?)?)
            .await?;
        assert_eq!(listener.told.len(), 2, "{:#?}", listener.told);
        Ok(())
    })
    .await
}

/// Says to all that the address is at this host's card.
fn announce(host: &Host, addr: Ipv4Addr) -> anyhow::Result<()> {
    let card: HardwareAddress = host.card()?.parse().map_err(anyhow::Error::msg)?;
    let everyone = [0xff; 6];
    let parts: [&[u8]; 8] = [
        &everyone,
        &card.0,
        // ARP for IPv4 over Ethernet, a reply.
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &card.0,
        &addr.octets(),
        // Linux takes no other for one (`arp_is_garp` of net/ipv4/arp.c).
        &card.0,
        &addr.octets(),
        &[0; 18],
    ];
    host.within(|| -> anyhow::Result<()> {
        let (domain, kind) = (AddressFamily::Packet, SockType::Raw);
        let socket = socket(domain, kind, SockFlag::SOCK_CLOEXEC, None)?;
        let eth0 = getifaddrs()?.filter(|interface| interface.interface_name == "eth0");
        let mut links = eth0.filter_map(|eth0| eth0.address?.as_link_addr().copied());
        let link = links.next().context("eth0 has no link address")?;
        sendto(
            socket.as_raw_fd(),
            &parts.concat(),
            &link,
            MsgFlags::empty(),
        )?;
        Ok(())
    })?
}
