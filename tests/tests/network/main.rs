//! Links, routes and neighbours: the daemon's source of them, in a host's own namespace.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use anyhow::Context as _;
use detector_tests::{Cut, Host, Lab, clock, testbed};
use detector_user::{
    core::{Bounds, HardwareAddress, NeighbourState, NetworkEvent, Route, Signal},
    signals,
    source::network::NetworkSource,
};
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket},
};
use tokio::sync::mpsc::Receiver;

const LIMIT: Duration = Duration::from_secs(60);
/// Time enough for what takes milliseconds, on a busy machine, and for the kernel to give up
/// a neighbour (3 s), and to bring a port back (1 s).
const SOON: Duration = Duration::from_secs(15);
/// What net.core.rmem_default gives, or more.
const ROOM: usize = 1 << 20;
const DISCARD: u16 = 9;

/// The source on one host, and the events that it reported.
struct Listener {
    // Dropped first: the source may wait for room.
    signals: Receiver<Signal>,
    source: NetworkSource,
    told: Vec<NetworkEvent>,
}

impl Listener {
    fn on(host: &Host, queue: usize, receive_buffer: usize) -> anyhow::Result<Self> {
        let (sender, signals) = signals::channel(queue);
        let start =
            || NetworkSource::with_receive_buffer(sender, Bounds::new(1024), receive_buffer);
        Ok(Self {
            source: host.within(start)??,
            signals,
            told: Vec::new(),
        })
    }

    fn watch(&self, addrs: impl IntoIterator<Item = IpAddr>) {
        self.source.watch(addrs.into_iter().collect());
    }

    async fn next(&mut self) -> anyhow::Result<NetworkEvent> {
        match self.signals.recv().await {
            Some(Signal::Network { event, .. }) => {
                self.told.push(event.clone());
                Ok(event)
            }
            other => anyhow::bail!("{other:?} instead of an event of the network"),
        }
    }

    /// Takes events until there is this one.
    async fn hears(&mut self, wanted: NetworkEvent) -> anyhow::Result<()> {
        let heard = self.hears_one(|event| *event == wanted).await;
        heard.with_context(|| format!("not heard: {wanted:?}"))
    }

    /// Takes events until there is such a one.
    async fn hears_one(&mut self, is: impl Fn(&NetworkEvent) -> bool) -> anyhow::Result<()> {
        let heard = async {
            while !is(&self.next().await?) {}
            Ok(())
        };
        match tokio::time::timeout(SOON, heard).await {
            Ok(heard) => heard,
            Err(_) => {
                let last = self.told.len().saturating_sub(20);
                anyhow::bail!("told was at last: {:#?}", &self.told[last..])
            }
        }
    }

    async fn hears_route(&mut self, addr: IpAddr, route: Option<Route>) -> anyhow::Result<()> {
        self.hears(NetworkEvent::Route { addr, route }).await
    }
}

/// A host's eth0.
struct Eth0(u32);

impl Eth0 {
    fn of(host: &Host) -> anyhow::Result<Self> {
        let shown = host.exec("ip", &["-o", "link", "show", "dev", "eth0"])?;
        let index = shown.split(':').next().and_then(|i| i.trim().parse().ok());
        Ok(Self(index.context("ip shows no index")?))
    }

    fn turned(&self, up: bool) -> NetworkEvent {
        NetworkEvent::Link {
            link: self.0,
            name: "eth0".to_owned(),
            up,
        }
    }

    fn on_link(&self) -> Option<Route> {
        Some(Route {
            link: self.0,
            gateway: None,
        })
    }

    fn by(&self, gateway: impl Into<IpAddr>) -> Option<Route> {
        Some(Route {
            link: self.0,
            gateway: Some(gateway.into()),
        })
    }

    /// The kernel tells this of an entry with this card.
    fn neighbour(
        &self,
        addr: impl Into<IpAddr>,
        state: NeighbourState,
        card: &str,
    ) -> anyhow::Result<NetworkEvent> {
        let hardware = card.parse().map_err(anyhow::Error::msg)?;
        Ok(NetworkEvent::Neighbour {
            addr: addr.into(),
            link: self.0,
            state,
            hardware: Some(hardware),
        })
    }

    fn failed(&self, addr: impl Into<IpAddr>) -> NetworkEvent {
        NetworkEvent::Neighbour {
            addr: addr.into(),
            link: self.0,
            state: NeighbourState::Failed,
            hardware: None,
        }
    }
}

/// Runs one `ip` command on the host.
fn ip(host: &Host, line: &str) -> anyhow::Result<()> {
    let args: Vec<&str> = line.split(' ').collect();
    host.exec("ip", &args).map(|_| ())
}

/// Many `ip` commands on the host, with one process.
fn ip_batch(host: &Host, lines: &str) -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), lines)?;
    let path = file.path().to_str().context("a path in UTF-8")?;
    host.exec("ip", &["-batch", path]).map(|_| ())
}

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
async fn own_link_down_and_up() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let eth0 = Eth0::of(us)?;
        let (v4, v6) = (IpAddr::from(peer.v4()), IpAddr::from(peer.v6()));
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([v4, v6]);
        listener.hears_route(v6, eth0.on_link()).await?;
        let expected = [
            eth0.turned(true),
            NetworkEvent::Route {
                addr: v4,
                route: eth0.on_link(),
            },
        ];
        assert_eq!(listener.told[..2], expected);

        // The carrier: nothing but the link changes.
        for _ in 0..5 {
            let cut = lab.cut(&[1], Cut::PortDown)?;
            listener.hears(eth0.turned(false)).await?;
            let after = clock::between(cut.at_ns, clock::now_ns());
            println!(
                "carrier lost: told {after:?} after it was ordered ({:?})",
                cut.took
            );
            lab.heal(&[1])?;
            listener.hears(eth0.turned(true)).await?;
        }

        // The operator: its routes go as well.
        let begun = clock::now_ns();
        ip(us, "link set eth0 down")?;
        listener.hears(eth0.turned(false)).await?;
        let after = clock::between(begun, clock::now_ns());
        println!("set down: told {after:?} after `ip` was started");
        listener.hears_route(v4, None).await?;
        listener.hears_route(v6, None).await?;
        ip(us, "link set eth0 up")?;
        listener.hears(eth0.turned(true)).await?;
        listener.hears_route(v4, eth0.on_link()).await?;
        listener.hears_route(v6, eth0.on_link()).await?;

        // The address: what was on the link is not any more.
        ip(us, &format!("addr del {}/24 dev eth0", us.v4()))?;
        listener.hears_route(v4, None).await?;

        ip(us, "link del eth0")?;
        listener.hears(eth0.turned(false)).await?;
        listener.hears_route(v6, None).await?;
        assert_eq!(listener.source.counters(), Default::default());
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_by_gateways_rules_and_next_hops() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (us, router, other) = (lab.host(1), lab.host(2), lab.host(3));
        let eth0 = Eth0::of(us)?;
        // It would be announced as usable later on, and have every route looked at again.
        us.exec(
            "ip",
            &["-6", "addr", "flush", "dev", "eth0", "scope", "link"],
        )?;
        let far: IpAddr = "10.99.0.1".parse()?;
        let far6: IpAddr = "fd99::1".parse()?;
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([far, far6]);
        listener.hears_route(far, None).await?;
        listener.hears_route(far6, None).await?;

        ip(us, &format!("route add 10.99.0.0/24 via {}", router.v4()))?;
        listener.hears_route(far, eth0.by(router.v4())).await?;
        ip(us, &format!("-6 route add fd99::/64 via {}", router.v6()))?;
        listener.hears_route(far6, eth0.by(router.v6())).await?;
        ip(
            us,
            &format!(
                "route replace 10.99.0.0/24 via inet6 {} dev eth0",
                router.v6()
            ),
        )?;
        listener.hears_route(far, eth0.by(router.v6())).await?;

        // Rules come before tables.
        ip(us, "rule add unreachable to 10.99.0.1")?;
        listener.hears_route(far, None).await?;
        ip(us, "rule del unreachable to 10.99.0.1")?;
        listener.hears_route(far, eth0.by(router.v6())).await?;

        // An address of our own is no peer.
        ip(us, "addr add 10.99.0.1/32 dev eth0")?;
        listener.hears_route(far, None).await?;
        ip(us, "addr del 10.99.0.1/32 dev eth0")?;
        listener.hears_route(far, eth0.by(router.v6())).await?;

        // Next hop objects, without the messages that old programs get.
        ip(
            us,
            &format!("nexthop add id 10 via {} dev eth0", router.v4()),
        )?;
        ip(us, "route replace 10.99.0.0/24 nhid 10")?;
        listener.hears_route(far, eth0.by(router.v4())).await?;
        us.exec("sysctl", &["-qw", "net.ipv4.nexthop_compat_mode=0"])?;
        ip(
            us,
            &format!("nexthop replace id 10 via {} dev eth0", other.v4()),
        )?;
        listener.hears_route(far, eth0.by(other.v4())).await?;

        // A route that covers no watched address is not reported: the last one marks the end.
        listener.told.clear();
        ip(us, &format!("route add 10.98.0.0/24 via {}", router.v4()))?;
        ip(us, "route del 10.99.0.0/24")?;
        listener.hears_route(far, None).await?;
        assert_eq!(listener.told.len(), 1, "{:#?}", listener.told);
        Ok(())
    })
    .await
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

/// Of a plain link, such as a bridge or a network card, the kernel tells a change up to a
/// second late when another went just before (net/core/link_watch.c). Who asks is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_the_links_does_not_wait_for_the_kernel() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let us = lab.host(1);
        let lines = "link add br9 type bridge stp_state 0 forward_delay 0\n\
                     link add va type veth peer name vb\n\
                     link set va master br9 up\nlink set vb up\nlink set br9 up\n\
                     addr add 10.88.0.1/24 dev br9\n";
        ip_batch(us, lines)?;
        let peer: IpAddr = "10.88.0.2".parse()?;
        let mut listener = Listener::on(us, 64, ROOM)?;
        listener.watch([peer]);
        let turned = |up| {
            move |event: &NetworkEvent| {
                matches!(event, NetworkEvent::Link { name, up: now, .. } if name == "br9" && *now == up)
            }
        };
        listener.hears_one(turned(true)).await?;
        let (mut late, mut prompt) = (Duration::ZERO, Duration::MAX);
        for round in 0..8 {
            let ask = round % 2 == 1;
            ip(us, "link set vb down")?;
            let begun = clock::now_ns();
            if ask {
                listener.source.check_links();
            }
            listener.hears_one(turned(false)).await?;
            let after = clock::between(begun, clock::now_ns());
            println!("carrier lost, asked: {ask}: told after {after:?}");
            match ask {
                true => prompt = prompt.min(after),
                false => late = late.max(after),
            }
            ip(us, "link set vb up")?;
            listener.source.check_links();
            listener.hears_one(turned(true)).await?;
        }
        println!("without asking it took up to {late:?}");
        // The kernel tells by itself within a second; a round may lack CPU for as long.
        assert!(prompt < Duration::from_millis(300), "{prompt:?}");
        Ok(())
    })
    .await
}

/// The kernel drops messages if the reader is too slow. The events that are reported afterwards are
/// correct nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn lost_changes_are_made_up_for() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let eth0 = Eth0::of(us)?;
        let v4 = IpAddr::from(peer.v4());
        // Nothing is taken from a queue of one: the source's thread waits for us.
        let mut listener = Listener::on(us, 1, 256 * 1024)?;
        listener.watch([v4]);
        listener.hears_route(v4, eth0.on_link()).await?;
        let flaps = "link set eth0 down\nlink set eth0 up\n".repeat(4);
        ip_batch(us, &flaps)?;
        let addresses: String = (0..2000)
            .map(|n| format!("addr add 10.200.{}.{}/32 dev lo\n", n / 250, n % 250))
            .collect();
        ip_batch(us, &addresses)?;
        // This one is lost.
        ip(us, "link set eth0 down")?;

        let down_for_good = async {
            let (mut up, mut route) = (true, eth0.on_link());
            while listener.source.counters().resyncs == 0 || up || route.is_some() {
                match listener.next().await? {
                    NetworkEvent::Link { up: now, .. } => up = now,
                    NetworkEvent::Route { route: now, .. } => route = now,
                    NetworkEvent::Neighbour { .. } => {}
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SOON, down_for_good)
            .await
            .context("the lost change was never told")??;
        println!("{:?}", listener.source.counters());
        ip(us, "link set eth0 up")?;
        listener.hears(eth0.turned(true)).await?;
        listener.hears_route(v4, eth0.on_link()).await?;
        Ok(())
    })
    .await
}

/// As many peers as the daemon is sized for, each with as many addresses as it may have.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_thousand_addresses_are_no_burden() -> anyhow::Result<()> {
    const ADDRESSES: u32 = 1024 * 16;
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, router) = (lab.host(1), lab.host(2));
        let eth0 = Eth0::of(us)?;
        ip(us, &format!("route add default via {}", router.v4()))?;
        let base = u32::from(Ipv4Addr::new(10, 128, 0, 0));
        let all: BTreeSet<IpAddr> = (0..ADDRESSES)
            .map(|n| Ipv4Addr::from(base + n).into())
            .collect();
        let last = *all.last().context("there are addresses")?;
        let mut listener = Listener::on(us, 4096, ROOM)?;
        let begun = clock::now_ns();
        listener.source.watch(all);
        listener.hears_route(last, eth0.by(router.v4())).await?;
        let took = clock::between(begun, clock::now_ns());
        println!("{ADDRESSES} routes told after {took:?}");

        // Everything changes all the time.
        let before = cpu_time()?;
        let begun = clock::now_ns();
        let changes = "route replace default via 10.77.0.2 metric 5\n\
                       route del default via 10.77.0.2 metric 5\n";
        while clock::between(begun, clock::now_ns()) < Duration::from_secs(3) {
            ip_batch(us, &changes.repeat(50))?;
        }
        let share = (cpu_time()? - before).as_secs_f64()
            / clock::between(begun, clock::now_ns()).as_secs_f64();
        println!(
            "{:.1} % of one CPU while every route changes",
            share * 100.0
        );
        assert!(share < 0.3, "{share}");

        // A lost carrier overtakes the routes.
        ip(us, "route add default via 10.77.0.2 metric 5")?;
        let cut = lab.cut(&[1], Cut::PortDown)?;
        listener.hears(eth0.turned(false)).await?;
        let after = clock::between(cut.at_ns, clock::now_ns());
        println!("carrier lost meanwhile: told after {after:?}");
        Ok(())
    })
    .await
}

/// What the source's threads of this process have used.
fn cpu_time() -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
        if let Some((_, rest)) = stat.split_once("(rtnetlink) ") {
            // utime and stime, fields 14 and 15; the state is the third.
            let times = rest.split(' ').skip(11).take(2);
            ticks += times.filter_map(|t| t.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Ok(Duration::from_millis(ticks * 10))
}
