//! A lab that is set up for measurements: the daemon, a peer that serves, and the baselines.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{
    Cgroup, Cut, CutMoment, Daemon, DaemonOptions, Host, Lab, PEER_PORT, Process, Rules, Traffic,
    peer::Kind,
};

pub use crate::setting::{Before, Named, Setting};
use crate::{load::at, options::Options};

/// In this time the daemon hears each peer, learns which probes are answered, and sees that the
/// card in use is the peer's.
const START: Duration = Duration::from_secs(2);

/// The host with the daemon and the load.
pub const US: usize = 1;
/// The host with the baselines.
pub const OBSERVER: usize = 2;
/// The host that is cut off.
pub const PEER: usize = 3;
/// All servers except the load's own are at this port: the daemon watches the peer's usual port.
pub const OTHER_PORT: u16 = PEER_PORT + 1;
/// The command that tunes the peer's programs has begun to.
const TUNED_WITHIN: Duration = Duration::from_secs(10);
/// Until a peer that has come back is Alive and Closed, before the next cut.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// How the daemon names a peer with several addresses.
const NAMED: &str = "http://node3:9000";
/// A lab with a peer that serves, and the daemon that watches it.
#[derive(Debug)]
pub struct Site {
    pub daemon: Daemon,
    /// What runs on the peer: gRPC, HTTP, and what the baselines ask of it.
    pub servers: Vec<Traffic>,
    _others: Vec<Traffic>,
    _tune: Option<Process>,
    setting: Setting,
    us: Host,
    peer: Host,
    _before: Option<Rules>,
    pub lab: Lab,
    _cgroups: [Cgroup; 2],
}

impl Site {
    pub async fn new(options: &Options, setting: Setting) -> anyhow::Result<Self> {
        let cgroups = [Cgroup::new()?, Cgroup::new()?];
        let beside = setting.others + usize::from(setting.spare);
        let lab = match setting.routed {
            true => Lab::routed(2, 1 + beside)?,
            false => Lab::new(PEER + beside)?,
        };
        let before = setting.before.begin(&lab)?;
        let us = lab.host(US).in_cgroup(&cgroups[0]);
        let peer = lab.host(PEER).in_cgroup(&cgroups[1]);
        let tune = match setting.tuned {
            true => Some(tune(&lab, &cgroups[1]).await?),
            false => None,
        };
        let servers = Self::servers(&peer, setting).await?;
        let other_hosts = &lab.hosts()[PEER..][..setting.others];
        let mut others = Self::others(lab.host(US), other_hosts).await?;
        if let (Some(Named::TwoHosts), Some(spare)) = (setting.named, lab.hosts().last()) {
            others.extend(Self::servers(spare, setting).await?);
        }
        let url = match setting {
            Setting { named: Some(_), .. } => None,
            Setting { v6: true, .. } => Some(peer.url_v6()),
            _ => Some(peer.url()),
        };
        let mut args = options.detector_args.clone();
        if setting.protected || setting.tuned {
            args.extend(["--protect".to_owned(), cgroups[0].target()]);
        }
        if setting.tuned {
            args.extend(["--detection-time".to_owned(), "50ms".to_owned()]);
        }
        let daemon = DaemonOptions {
            source: options.source.clone(),
            peers: url
                .into_iter()
                .chain(other_hosts.iter().map(Host::url))
                .collect(),
            args,
            config: setting.named.map(Named::config).map(Into::into),
            show_log: false,
            ..DaemonOptions::default()
        };
        let daemon = Daemon::start(lab.host(US), &daemon).await?;
        Ok(Self {
            daemon,
            servers,
            _others: others,
            _tune: tune,
            setting,
            us,
            peer,
            _before: before,
            lab,
            _cgroups: cgroups,
        })
    }

    /// A server on each further peer, and calls to it.
    async fn others(us: &Host, others: &[Host]) -> anyhow::Result<Vec<Traffic>> {
        let mut all = Vec::new();
        for host in others {
            all.push(Traffic::grpc_server(host).await?);
            all.push(Traffic::grpc_client(us, &host.url(), Kind::Put, 2, 20).await?);
        }
        Ok(all)
    }

    /// The peer's host, where what runs is in its cgroup.
    pub fn peer_host(&self) -> &Host {
        &self.peer
    }

    /// The host that is not watched, if the setting has one.
    pub fn spare(&self) -> anyhow::Result<&Host> {
        let spare = self.lab.hosts().last().filter(|_| self.setting.spare);
        spare.context("this site has no spare host")
    }

    /// What the peer runs, on another host.
    pub async fn serve_on(&self, host: &Host) -> anyhow::Result<Vec<Traffic>> {
        Self::servers(host, self.setting).await
    }

    async fn servers(peer: &Host, setting: Setting) -> anyhow::Result<Vec<Traffic>> {
        let (grpc, http) = ports(setting);
        let (delay, stall) = (setting.delay_ms, setting.stall_ms);
        Ok(vec![
            Traffic::grpc_server_at(peer, grpc, delay).await?,
            Traffic::http_server_at(peer, http, delay, stall).await?,
            Traffic::baseline_peer(peer).await?,
        ])
    }

    /// Starts the peer's processes again after they were killed.
    pub async fn serve_again(&mut self) -> anyhow::Result<()> {
        self.servers = Self::servers(&self.peer, self.setting).await?;
        Ok(())
    }

    /// Our host, where programs are protected if the setting says so.
    pub fn us(&self) -> &Host {
        &self.us
    }

    pub fn observer(&self) -> &Host {
        self.lab.host(OBSERVER)
    }

    /// The peer's address, at the port that is watched.
    pub fn peer(&self) -> SocketAddr {
        match self.setting.v6 {
            true => (self.peer.v6(), PEER_PORT).into(),
            false => (self.peer.v4(), PEER_PORT).into(),
        }
    }

    /// The peer's name.
    pub fn url(&self) -> String {
        if self.setting.named.is_some() {
            return NAMED.to_owned();
        }
        format!("http://{}", self.peer())
    }

    /// Where it serves gRPC.
    pub fn grpc(&self) -> String {
        format!("http://{}", at(&self.peer(), ports(self.setting).0))
    }

    /// Where it takes HTTP uploads.
    pub fn http(&self) -> SocketAddr {
        at(&self.peer(), ports(self.setting).1)
    }

    pub fn cut(&self, cut: Cut) -> anyhow::Result<CutMoment> {
        self.lab.cut(&[PEER], cut)
    }

    pub fn heal(&self) -> anyhow::Result<CutMoment> {
        self.lab.heal(&[PEER])
    }

    /// Waits a while before the cut of this number, not always as long: so that the cuts do not all
    /// fall on the same moment of the calls' and PINGs' rhythm. The first cut waits until the daemon
    /// is past its start, when it needs a longer silence and destroys nothing.
    pub async fn before_cut(&self, number: u32) {
        let start = if number == 0 { START } else { Duration::ZERO };
        let varied = Duration::from_millis(300 + u64::from(number) * 137 % 700);
        tokio::time::sleep(start + varied).await;
    }

    /// Waits until the peer is believed to be well.
    pub async fn settled(&self) -> anyhow::Result<()> {
        let well = |state: &PeerState| {
            state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
        };
        let url = self.url();
        let settled = self.daemon.await_state(&url, SETTLE_WITHIN, well).await;
        settled.map(|_| ()).context("the peer is not well again")
    }

    /// When a state at which `is` holds was received, at `since_ns` or later.
    pub async fn told(
        &self,
        since_ns: u64,
        within: Duration,
        is: impl Fn(&PeerState) -> bool,
    ) -> Option<(u64, PeerState)> {
        let url = self.url();
        let seen = self.daemon.watcher().seen();
        seen.find(within, |seen| {
            (seen.at_ns >= since_ns && seen.state.peer == url && is(&seen.state))
                .then(|| (seen.at_ns, seen.state.clone()))
        })
        .await
    }
}

/// Where gRPC is served, and where HTTP.
fn ports(setting: Setting) -> (u16, u16) {
    match setting.http {
        true => (OTHER_PORT, PEER_PORT),
        false => (PEER_PORT, OTHER_PORT),
    }
}

/// Tunes the peer's programs, as a daemon there would.
async fn tune(lab: &Lab, cgroup: &Cgroup) -> anyhow::Result<Process> {
    let mut command = Daemon::command(lab.host(PEER))?;
    command.args(["tune", &cgroup.target(), "--peer", &lab.host(US).url()]);
    let tune = Process::start("detector tune", command)?;
    let tuning = tune.stderr().find(TUNED_WITHIN, |line| {
        line.contains("connections with peers are tuned")
            .then_some(())
    });
    tuning.await.with_context(|| tune.stderr_tail(20))?;
    Ok(tune)
}
