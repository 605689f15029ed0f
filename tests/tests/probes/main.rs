//! The daemon's own probes on real links: which answers count.

mod answers;
mod frames;
mod limits;

use std::{
    net::{IpAddr, TcpListener},
    time::Duration,
};

use anyhow::ensure;
use detector_tests::{
    Host, Lab,
    asker::{Asker, start},
    testbed,
};
use detector_user::model::{Endpoint, HardwareAddress, ProbeAnswer, ProbeTarget};

const LIMIT: Duration = Duration::from_secs(60);
/// Far more than an answer in the lab takes, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);
/// How long to listen for what must not come.
const A_WHILE: Duration = Duration::from_millis(500);
const OPEN: u16 = 9000;
const SHUT: u16 = 9001;

/// Asks one after the other, and sees that each is answered by the host as its kind is.
async fn answers(asker: &mut Asker, targets: &[ProbeTarget], host: &Host) -> anyhow::Result<()> {
    let card = card(host)?;
    for &target in targets {
        let answer = asker.answer(target).await?;
        ensure!(answer == wanted(target, card), "{target}: {answer:?}");
    }
    Ok(())
}

/// A lab whose links are in use: the kernel sees a carrier on its own time, and until then
/// takes frames and drops them.
async fn ready(hosts: usize) -> anyhow::Result<Lab> {
    let lab = Lab::new(hosts)?;
    for host in lab.hosts() {
        testbed::until("the link is up", PATIENT, async || {
            let shown = host.exec("ip", &["-o", "link", "show", "dev", "eth0"])?;
            Ok(shown.contains("state UP").then_some(()))
        })
        .await?;
    }
    Ok(lab)
}

fn connect(addr: impl Into<IpAddr>, port: u16) -> ProbeTarget {
    let addr = addr.into();
    ProbeTarget::Connect(Endpoint { addr, port })
}

fn listen(host: &Host) -> anyhow::Result<[TcpListener; 2]> {
    let (v4, v6) = (host.v4(), host.v6());
    let (v4, v6) =
        host.within(|| (TcpListener::bind((v4, OPEN)), TcpListener::bind((v6, OPEN))))?;
    Ok([v4?, v6?])
}

/// Every kind of probe that can be sent to the host.
fn all(asker: &Asker, host: &Host) -> [ProbeTarget; 6] {
    let (v4, v6) = (host.v4(), host.v6());
    [
        asker.neighbour(v4),
        asker.neighbour(v6),
        connect(v4, OPEN),
        connect(v6, OPEN),
        connect(v4, SHUT),
        connect(v6, SHUT),
    ]
}

fn card(host: &Host) -> anyhow::Result<HardwareAddress> {
    host.card()?.parse().map_err(anyhow::Error::msg)
}

/// The answer to a probe of this kind, of the host with this card.
fn wanted(target: ProbeTarget, card: HardwareAddress) -> ProbeAnswer {
    match target {
        ProbeTarget::Neighbour { .. } => ProbeAnswer::Neighbour(card),
        ProbeTarget::Connect(Endpoint { port: OPEN, .. }) => ProbeAnswer::SynAck,
        ProbeTarget::Connect(_) | ProbeTarget::ConnectFrom { .. } => ProbeAnswer::Reset,
        ProbeTarget::Flow { .. } => ProbeAnswer::Ack,
    }
}
