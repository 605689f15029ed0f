//! Makes each fault, and ends it.

use std::time::Duration;

use anyhow::Context as _;
use detector_tests::{ArpCount, Cut, Host, Inspection, Rules, StandsIn, Traffic, Way, clock};
use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{
    fault::Fault,
    programs::{Programs, ports},
};
use crate::{
    alarms::signal,
    site::{OBSERVER, PEER, Site, US},
    sniff::Sniffer,
};

/// Everything except ARP.
const IP: &str = "meta protocol { ip, ip6 }";
const LARGE: &str = "meta length > 1000";
/// Drops the ARP requests that a card which only answers would not send.
const ARP_REQUESTS: &str = "arp operation request";
const RESTART: Duration = Duration::from_millis(300);

/// A fault that is in force.
#[derive(Debug)]
pub struct Standing {
    /// The time just before the fault was ordered.
    pub at_ns: u64,
    arp: ArpCount,
    rules: Vec<Rules>,
    stands_in: Option<StandsIn>,
    inspection: Option<Inspection>,
    /// What serves in the peer's place.
    _in_place: Vec<Traffic>,
    sniffer: Option<Sniffer>,
}

/// Prepares what must be in place before the programs start.
pub fn prepare(fault: Fault, site: &Site) -> anyhow::Result<()> {
    if fault != Fault::LargeLost {
        return Ok(());
    }
    // What is cut into segments by the card crosses a veth in one piece, and would be lost as
    // one: in a real black hole the short last segment passes.
    let one = ["link", "set", "dev", "eth0", "gso_max_segs", "1"];
    let hosts = [US, OBSERVER, PEER].map(|number| site.lab.host(number));
    hosts
        .iter()
        .try_for_each(|host| host.exec("ip", &one).map(drop))
}

impl Standing {
    pub async fn begin(fault: Fault, site: &mut Site, programs: &Programs) -> anyhow::Result<Self> {
        let lost = match fault {
            Fault::FlowLost | Fault::FlowForgotten => lost_ports(site, programs)?,
            _ => Vec::new(),
        };
        let in_place = match fault {
            Fault::Moved => site.serve_on(site.spare()?).await?,
            _ => Vec::new(),
        };
        let inspection = match fault {
            Fault::ArpInspected => Some(site.lab.arp_inspection(US)?),
            _ => None,
        };
        let mut standing = Self {
            arp: ArpCount::on(site.us())?,
            rules: Vec::new(),
            stands_in: None,
            inspection,
            _in_place: in_place,
            sniffer: None,
            at_ns: clock::now_ns(),
        };
        standing.make(fault, site, &lost).await?;
        Ok(standing)
    }

    async fn make(
        &mut self,
        fault: Fault,
        site: &mut Site,
        lost: &[(usize, u16)],
    ) -> anyhow::Result<()> {
        self.rules = rules(fault, site, lost)?;
        match fault {
            Fault::Hung => signal(&site.servers, Signal::SIGSTOP)?,
            Fault::Restarted => self.sniffer = Some(restart(site).await?),
            Fault::Moved => self.sniffer = Some(move_away(site)?),
            Fault::ArpInspected | Fault::ShortConnections | Fault::OneOfTwoHosts => {
                site.cut(Cut::SilentDrop)?;
            }
            Fault::ArpByAnother => {
                site.cut(Cut::SilentDrop)?;
                self.stands_in = Some(site.spare()?.stands_in_for(site.peer_host().v4())?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The start of the time until blocked calls return: the fault, or the first answer from the
    /// host in the peer's place. Call this once, at the end.
    pub fn counts_from(&mut self) -> u64 {
        let heard = self.sniffer.take().and_then(Sniffer::heard);
        heard.unwrap_or(self.at_ns)
    }

    /// The most ARP requests that our host sent in one second, its kernel's among them.
    pub fn arp_in_a_second(&self) -> usize {
        self.arp.since(self.at_ns).1
    }

    /// The result of a further check that some faults make, if it failed.
    pub fn wrong(&self) -> anyhow::Result<Option<String>> {
        let shut = self.inspection.as_ref().map(Inspection::has_shut);
        let is_shut = shut.transpose()?.unwrap_or(false);
        Ok(is_shut.then(|| "our port was shut for too much ARP".to_owned()))
    }

    /// Ends the fault.
    pub async fn end(self, fault: Fault, site: &mut Site) -> anyhow::Result<()> {
        drop((self.rules, self.stands_in, self.inspection));
        match fault {
            Fault::ArpByAnother
            | Fault::ArpInspected
            | Fault::ShortConnections
            | Fault::OneOfTwoHosts => site.heal().map(drop),
            Fault::Hung => signal(&site.servers, Signal::SIGCONT),
            Fault::Moved => {
                let peer = site.lab.host(PEER);
                site.spare()?.gives_up(peer.v4())?;
                site.heal()?;
                peer.takes_over(peer.v4())
            }
            _ => Ok(()),
        }
    }
}

fn rules(fault: Fault, site: &Site, lost: &[(usize, u16)]) -> anyhow::Result<Vec<Rules>> {
    let lab = &site.lab;
    let lose = |way, matching| lab.lose(PEER, way, matching);
    match fault {
        Fault::Deaf => Ok(vec![lab.host(PEER).deaf()?]),
        Fault::Hung => Ok(vec![
            lose(Way::To, IP)?,
            lose(Way::From, IP)?,
            lose(Way::From, ARP_REQUESTS)?,
        ]),
        Fault::SendsLost | Fault::SendsLostPeerSends => Ok(vec![lose(Way::To, IP)?]),
        Fault::AnswersLost | Fault::AnswersLostPeerSends => Ok(vec![lose(Way::From, IP)?]),
        Fault::LargeLost => Ok(vec![lose(Way::To, LARGE)?, lose(Way::From, LARGE)?]),
        Fault::FlowLost => {
            let lose = |&(host, port): &(usize, u16)| lab.lose_flow(host, port, false);
            lost.iter().map(lose).collect()
        }
        Fault::FlowForgotten => {
            let router = lab.router().context("no router forgets")?;
            lost.iter().map(|&(_, port)| router.forgets(port)).collect()
        }
        Fault::Ipv6Dead => Ok(vec![lab.lose_ipv6(PEER)?]),
        Fault::Moved
        | Fault::Restarted
        | Fault::ArpByAnother
        | Fault::ArpInspected
        | Fault::ShortConnections
        | Fault::OneOfTwoHosts => Ok(Vec::new()),
    }
}

/// One flow of ours, and all of the others', with who has it.
fn lost_ports(site: &Site, programs: &Programs) -> anyhow::Result<Vec<(usize, u16)>> {
    let ours = ports(site.us(), &programs.requests)?;
    let one = ours.first().context("our program has no connection")?;
    let mut lost = vec![(US, *one)];
    for program in programs.baselines.values() {
        let theirs = ports(site.observer(), program)?;
        lost.extend(theirs.into_iter().map(|port| (OBSERVER, port)));
    }
    Ok(lost)
}

/// Restarts the peer's kernel and processes 300 ms later, without any state from before.
async fn restart(site: &mut Site) -> anyhow::Result<Sniffer> {
    let cut = site.cut(Cut::SilentDrop)?;
    for server in &mut site.servers {
        server.process.kill().await?;
    }
    site.lab.host(PEER).forgets_connections()?;
    sleep(RESTART.saturating_sub(clock::between(cut.at_ns, clock::now_ns()))).await;
    let sniffer = Sniffer::start(site.us(), site.peer().ip())?;
    site.heal()?;
    site.serve_again().await?;
    Ok(sniffer)
}

fn move_away(site: &Site) -> anyhow::Result<Sniffer> {
    let (from, to): (&Host, &Host) = (site.lab.host(PEER), site.spare()?);
    site.cut(Cut::SilentDrop)?;
    from.gives_up(from.v4())?;
    let sniffer = Sniffer::start(site.us(), site.peer().ip())?;
    to.takes_over(from.v4())?;
    Ok(sniffer)
}
