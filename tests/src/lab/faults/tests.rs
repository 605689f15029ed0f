//! Each fault affects what it says and nothing else, and ends.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use super::*;
use crate::{Lab, testbed};

const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 7000;
/// Longer than any packet takes that passes.
const A_WHILE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

/// A connection between two hosts.
struct Pair {
    ours: TcpStream,
    theirs: TcpStream,
}

impl Pair {
    fn new(lab: &Lab, from: usize, listener: &TcpListener, to: IpAddr) -> anyhow::Result<Self> {
        let ours = dial(lab.host(from), (to, PORT).into())?.context("it connects")?;
        let (theirs, _) = listener.accept()?;
        theirs.set_read_timeout(Some(A_WHILE))?;
        Ok(Self { ours, theirs })
    }

    /// Whether so many bytes arrive. What was lost before arrives first.
    fn passes(&mut self, bytes: usize) -> anyhow::Result<bool> {
        self.ours.write_all(&vec![0; bytes])?;
        Ok(self.theirs.read_exact(&mut vec![0; bytes]).is_ok())
    }

    fn port(&self) -> anyhow::Result<u16> {
        Ok(self.ours.local_addr()?.port())
    }
}

fn listen(host: &Host) -> anyhow::Result<TcpListener> {
    Ok(host.within(|| TcpListener::bind(("0.0.0.0", PORT)))??)
}

/// `None` when the connect hangs.
fn dial(host: &Host, to: SocketAddr) -> anyhow::Result<Option<TcpStream>> {
    match host.within(|| TcpStream::connect_timeout(&to, A_WHILE))? {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Under which hardware address the host knows this neighbour, once it does.
async fn neighbour(host: &Host, address: Ipv4Addr) -> anyhow::Result<[u8; 6]> {
    let socket = host.within(|| UdpSocket::bind(("0.0.0.0", 0)))??;
    testbed::until("the neighbour answers", SOON, async || {
        let _may_be_refused = socket.send_to(b"?", (address, PORT));
        let shown = host.exec("ip", &["neigh", "show", &address.to_string()])?;
        let after = shown.split("lladdr ").nth(1);
        let hardware = after.and_then(|text| text.split(' ').next());
        hardware.map(home::parse).transpose()
    })
    .await
}

#[tokio::test]
async fn a_deaf_host_answers_arp_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, deaf) = (lab.host(1), lab.host(2));
        let listener = listen(deaf)?;
        let mut pair = Pair::new(&lab, 1, &listener, deaf.v4().into())?;
        let fault = deaf.deaf()?;
        us.exec("ip", &["neigh", "flush", "all"])?;
        assert_eq!(neighbour(us, deaf.v4()).await?, deaf.hardware()?);
        assert!(!pair.passes(10)?);
        assert!(dial(us, (deaf.v4(), PORT).into())?.is_none());
        drop(fault);
        assert!(dial(us, (deaf.v4(), PORT).into())?.is_some());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn one_way_is_lost_for_one_host() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let listeners = [listen(lab.host(2))?, listen(lab.host(3))?];
        for fault in [Lab::lose_sent, Lab::lose_answers] {
            let mut hit = Pair::new(&lab, 1, &listeners[0], lab.host(2).v4().into())?;
            let mut other = Pair::new(&lab, 1, &listeners[1], lab.host(3).v4().into())?;
            let fault = fault(&lab, 1, 2)?;
            hit.passes(10)?;
            assert!(dial(lab.host(1), (lab.host(2).v4(), PORT).into())?.is_none());
            assert!(other.passes(10)?);
            assert!(fault.counted()? > 0);
            drop(fault);
            assert!(dial(lab.host(1), (lab.host(2).v4(), PORT).into())?.is_some());
            while listeners[0].set_nonblocking(true).is_ok() && listeners[0].accept().is_ok() {}
            listeners[0].set_nonblocking(false)?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_large_segments_are_lost() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let listener = listen(lab.host(2))?;
        let mut pair = Pair::new(&lab, 1, &listener, lab.host(2).v4().into())?;
        let _fault = lab.lose_large(1, 1000)?;
        assert!(pair.passes(500)?);
        assert!(!pair.passes(20_000)?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn only_the_forgotten_flow_is_lost() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(1, 1)?;
        let listener = listen(lab.host(2))?;
        let router = lab.router().context("a router")?;
        for kind in 0..3 {
            let mut lost = Pair::new(&lab, 1, &listener, lab.host(2).v4().into())?;
            let mut kept = Pair::new(&lab, 1, &listener, lab.host(2).v4().into())?;
            let _fault = match kind {
                0 => lab.lose_flow(1, lost.port()?, false)?,
                1 => lab.lose_flow(1, lost.port()?, true)?,
                _ => router.forgets(lost.port()?)?,
            };
            assert!(!lost.passes(10)?, "{kind}");
            assert!(kept.passes(20_000)?, "{kind}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_full_table_and_a_limit_stop_new_connections_alone() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::routed(1, 1)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let router = lab.router().context("a router")?;
        let _follows = router.follows_connections()?;
        let listener = listen(peer)?;
        let mut pair = Pair::new(&lab, 1, &listener, peer.v4().into())?;
        let connects = || anyhow::Ok(dial(us, (peer.v4(), PORT).into())?.is_some());
        let full = router.conntrack_full()?;
        assert!(!connects()?);
        assert!(pair.passes(20_000)?);
        drop(full);
        let _limit = peer.syn_limit()?;
        let connected = (0..6).map(|_| connects()).collect::<Result<Vec<_>, _>>()?;
        assert!(connected[..3].iter().all(|is| *is), "{connected:?}");
        assert!(connected.contains(&false), "{connected:?}");
        assert!(pair.passes(20_000)?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dead_hosts_address_is_answered_for() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (us, dead) = (lab.host(1), lab.host(2));
        let own = dead.hardware()?;
        lab.cut(&[2], crate::Cut::PortDown)?;
        let stands_in = lab.host(3).stands_in_for(dead.v4())?;
        assert_eq!(neighbour(us, dead.v4()).await?, lab.host(3).hardware()?);
        drop(stands_in);
        us.exec("ip", &["neigh", "flush", "all"])?;
        let is_at = own;
        let address = dead.v4();
        let _fabric = lab.stranger(Says::Answers { address, is_at })?;
        assert_eq!(neighbour(us, dead.v4()).await?, own);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_claim_and_a_move_are_believed() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(3)?;
        let (us, address) = (lab.host(1), lab.host(2).v4());
        assert_eq!(neighbour(us, address).await?, lab.host(2).hardware()?);
        let claims = lab.stranger(Says::Claims { address })?;
        testbed::until("the claim is believed", SOON, async || {
            Ok((neighbour(us, address).await? == [2, 0, 0, 0, 0, 0x66]).then_some(()))
        })
        .await?;
        drop(claims);
        lab.host(2).gives_up(address)?;
        lab.host(3).takes_over(address)?;
        assert_eq!(neighbour(us, address).await?, lab.host(3).hardware()?);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn much_arp_shuts_the_port() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let us = lab.host(1);
        let (inspection, count) = (lab.arp_inspection(1)?, ArpCount::on(us)?);
        neighbour(us, lab.host(2).v4()).await?;
        assert!(!inspection.has_shut()?);
        let socket = us.within(|| UdpSocket::bind(("0.0.0.0", 0)))??;
        for last in 100..140 {
            socket.send_to(b"?", (Ipv4Addr::new(10, 77, 0, last), PORT))?;
        }
        testbed::until("the port is shut", SOON, async || {
            Ok(inspection.has_shut()?.then_some(()))
        })
        .await?;
        let (all, within_a_second) = count.since(0);
        assert!(
            all >= 40 && within_a_second >= 40,
            "{all} {within_a_second}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_second_card_answers_for_the_first() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let (us, peer) = (lab.host(1), lab.host(2));
        let _card = lab.second_card(2, Ipv4Addr::new(10, 79, 0, 2))?;
        let first = peer.hardware()?;
        lab.cut(&[2], crate::Cut::SilentDrop)?;
        assert_ne!(neighbour(us, peer.v4()).await?, first);
        assert!(dial(us, (peer.v4(), PORT).into())?.is_none());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_host_forgets_is_reset() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(2)?;
        let listener = listen(lab.host(2))?;
        let mut pair = Pair::new(&lab, 1, &listener, lab.host(2).v4().into())?;
        lab.cut(&[2], crate::Cut::SilentDrop)?;
        lab.host(2).forgets_connections()?;
        lab.heal(&[2])?;
        pair.ours.set_read_timeout(Some(SOON))?;
        pair.ours.write_all(b"?")?;
        let ended = pair.ours.read(&mut [0; 1]).map_err(|error| error.kind());
        assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
        Ok(())
    })
    .await
}
