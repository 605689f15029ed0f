//! Keepalive segments on flows between real kernels: whose answer counts, what is no answer, and
//! that the flow's programs notice nothing.

mod answers;
mod flood;
mod limits;
mod rounds;
mod silence;

use std::{
    net::{IpAddr, TcpListener, TcpStream},
    time::Duration,
};

use detector_tests::{Host, Lab, asker::Asker, testbed};
use detector_user::{
    model::{FlowId, ProbeTarget},
    source::probe::PLAIN_SPACING,
};
use socket2::SockRef;

const LIMIT: Duration = Duration::from_secs(60);
/// Far more than an answer in the lab takes, also on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(200);
/// How long to listen for what must not come.
const A_WHILE: Duration = Duration::from_millis(300);

/// A connection between two hosts, from its caller's side.
struct Pair {
    ours: TcpStream,
    theirs: TcpStream,
    target: ProbeTarget,
}

/// The probe that asks on this end of a connection.
fn target(stream: &TcpStream) -> anyhow::Result<ProbeTarget> {
    Ok(ProbeTarget::Flow {
        flow: FlowId {
            netns: 0,
            local: stream.local_addr()?,
            remote: stream.peer_addr()?,
        },
        cookie: SockRef::from(stream).cookie()?,
    })
}

/// Connects `us` to `peer`, where `listen` has prepared the listener.
fn pair(us: &Host, peer: &Host, addr: impl Into<IpAddr>) -> anyhow::Result<Pair> {
    let addr = addr.into();
    let listener = peer.within(|| TcpListener::bind((addr, 0)))??;
    let to = listener.local_addr()?;
    let ours = us.within(|| TcpStream::connect(to))??;
    let (theirs, _) = listener.accept()?;
    for end in [&ours, &theirs] {
        end.set_read_timeout(Some(PATIENT))?;
        end.set_write_timeout(Some(PATIENT))?;
    }
    let target = target(&ours)?;
    Ok(Pair {
        ours,
        theirs,
        target,
    })
}

/// A lab whose links are in use.
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

/// Until the next question is a plain one again.
async fn rest() {
    tokio::time::sleep(PLAIN_SPACING).await;
}
