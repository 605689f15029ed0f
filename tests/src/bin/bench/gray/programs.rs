//! The programs that run during a fault: unchanged programs on the daemon's host, and the same with
//! the time-outs of other methods on the observer's.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use anyhow::Context as _;
use detector_tests::{Host, PEER_PORT, Traffic, baseline::Method, peer::Event};

use super::fault::{Blocked, Fault};
use crate::site::Site;

/// Loops of requests, each on a connection of its own, and calls that wait.
const FLOWS: u32 = 3;
const BODY_BYTES: &str = "20000";
const USER_TIMEOUT_MS: &str = "5000";
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Running programs; dropping them ends them.
#[derive(Debug)]
pub struct Programs {
    /// Requests with bodies, one after the other.
    pub requests: Traffic,
    /// Reads with nothing in flight; none where it matters which flow is which.
    pub waiting: Option<Traffic>,
    /// The programs that must continue undisturbed.
    beside: Option<Traffic>,
    /// The peer's own uploads, and their server.
    _peer_sends: Vec<Traffic>,
    pub baselines: BTreeMap<Method, Traffic>,
}

impl Programs {
    pub async fn start(fault: Fault, site: &Site, with_baselines: bool) -> anyhow::Result<Self> {
        let (us, peer) = (site.us(), site.http());
        let blocked = fault.expected().blocked;
        let waiting = match blocked {
            Blocked::All | Blocked::Waiting => Some(client(us, peer, false, &[]).await?),
            Blocked::Requests | Blocked::Lost => None,
        };
        let other = match fault {
            Fault::Ipv6Dead => Some(site.peer_host()),
            Fault::OneOfTwoHosts => Some(site.spare()?),
            _ => None,
        };
        let beside = match other.map(|host| SocketAddr::new(host.v4().into(), peer.port())) {
            Some(other) => Some(client(us, other, true, &[]).await?),
            None => None,
        };
        let redial: &[&str] = match fault {
            Fault::ShortConnections => &["--redial"],
            _ => &[],
        };
        let baselines = match with_baselines {
            true => baselines(site, blocked == Blocked::Waiting).await?,
            false => BTreeMap::new(),
        };
        Ok(Self {
            requests: client(us, peer, true, redial).await?,
            waiting,
            beside,
            _peer_sends: peer_sends(fault, site).await?,
            baselines,
        })
    }

    /// When the last of the blocked calls returned, if all did within the time.
    pub async fn returned(&self, blocked: Blocked, since_ns: u64, within: Duration) -> Option<u64> {
        let all = async |program: &Traffic| first_errors(program, since_ns, FLOWS, within).await;
        let waiting = async || match &self.waiting {
            Some(program) => all(program).await,
            None => None,
        };
        match blocked {
            Blocked::All => Some(all(&self.requests).await?.max(waiting().await?)),
            Blocked::Requests => all(&self.requests).await,
            Blocked::Lost => first_errors(&self.requests, since_ns, 1, within).await,
            Blocked::Waiting => waiting().await,
        }
    }

    /// The number of failed calls that the fault should not affect.
    pub fn harmed(&self, blocked: Blocked, since_ns: u64) -> usize {
        let beside = self.beside.iter().map(|p| broken(p, since_ns).len());
        let others = match blocked {
            Blocked::Lost => broken(&self.requests, since_ns).len().saturating_sub(1),
            _ => 0,
        };
        beside.sum::<usize>() + others
    }

    /// When the first connection of ours broke.
    pub fn first_broken(&self, since_ns: u64) -> Option<u64> {
        let ours = [Some(&self.requests), self.waiting.as_ref()];
        let all = ours.into_iter().flatten().flat_map(|p| breaks(p, since_ns));
        all.map(|(_, at_ns)| at_ns).min()
    }

    /// From the fault, or the first answer, until each of the others' calls returned.
    pub async fn baselines_returned(
        &self,
        since_ns: u64,
        within: Duration,
    ) -> BTreeMap<Method, Option<u64>> {
        let mut all = BTreeMap::new();
        let deadline = tokio::time::Instant::now() + within;
        for (method, program) in &self.baselines {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let error = program.error_since(since_ns, left);
            all.insert(*method, error.await.ok().map(|(at_ns, _)| at_ns));
        }
        all
    }
}

/// The blocking client, once all its connections work.
async fn client(
    host: &Host,
    target: SocketAddr,
    requests: bool,
    more: &[&str],
) -> anyhow::Result<Traffic> {
    let (target, flows) = (target.to_string(), FLOWS.to_string());
    let mut args = vec!["blocking-client", "--target", &target];
    args.extend(["--connections", &flows]);
    if requests {
        args.extend(["--body", BODY_BYTES]);
    }
    args.extend(more);
    let client = Traffic::start(host, &args)?;
    let mut works = BTreeSet::new();
    let ready = client.event(0, READY_WITHIN, |event| {
        if let Event::Ok { channel, .. } = event {
            works.insert(*channel);
        }
        (works.len() == FLOWS as usize).then_some(())
    });
    ready.await?;
    Ok(client)
}

/// RustFS's settings, and TCP_USER_TIMEOUT on the same calls that ours make.
async fn baselines(site: &Site, waiting: bool) -> anyhow::Result<BTreeMap<Method, Traffic>> {
    let observer = site.observer();
    let kind = if waiting { "wait" } else { "put" };
    let rustfs = Traffic::caller(observer, &site.grpc(), &["--kind", kind]).await?;
    let timeout = ["--user-timeout-ms", USER_TIMEOUT_MS];
    let user_timeout = client(observer, site.http(), !waiting, &timeout).await?;
    Ok(BTreeMap::from([
        (Method::RustfsNow, rustfs),
        (Method::UserTimeout, user_timeout),
    ]))
}

/// A server of ours, and the peer's uploads to it.
async fn peer_sends(fault: Fault, site: &Site) -> anyhow::Result<Vec<Traffic>> {
    if !fault.peer_sends() {
        return Ok(Vec::new());
    }
    let us = SocketAddr::new(site.us().v4().into(), PEER_PORT);
    let server = Traffic::http_server(site.us()).await?;
    let uploads = Traffic::uploads(site.peer_host(), us, 1).await?;
    Ok(vec![server, uploads])
}

/// When the last of this many connections of the program first broke.
async fn first_errors(
    program: &Traffic,
    since_ns: u64,
    connections: u32,
    within: Duration,
) -> Option<u64> {
    let mut first: BTreeMap<u32, u64> = BTreeMap::new();
    let all = program.event(since_ns, within, |event| {
        if let Some((channel, at_ns)) = broke(event) {
            first.entry(channel).or_insert(at_ns);
        }
        (first.len() == connections as usize).then(|| first.values().max().copied())
    });
    all.await.ok().flatten()
}

/// The connections that broke.
fn broken(program: &Traffic, since_ns: u64) -> BTreeSet<u32> {
    let all = breaks(program, since_ns).into_iter();
    all.map(|(channel, _)| channel).collect()
}

/// Each connection that broke, and when.
fn breaks(program: &Traffic, since_ns: u64) -> Vec<(u32, u64)> {
    let lines = program.process.stdout().all();
    let events = lines
        .iter()
        .filter_map(|line| serde_json::from_str::<Event>(line).ok());
    let since = events.filter(|event| event.at_ns() >= since_ns);
    since.filter_map(|event| broke(&event)).collect()
}

/// Whether a call has failed: on whose connection, and when.
fn broke(event: &Event) -> Option<(u32, u64)> {
    match event {
        Event::Error { at_ns, channel, .. } => Some((*channel, *at_ns)),
        _ => None,
    }
}

/// The local ports of a program's connections.
pub fn ports(host: &Host, program: &Traffic) -> anyhow::Result<Vec<u16>> {
    let shown = host.exec("ss", &["-tnpHO", "state", "established"])?;
    let id = format!("pid={},", program.process.pid());
    let own = shown.lines().filter(|line| line.contains(&id));
    let port = |line: &str| {
        let local = line.split_whitespace().nth(2)?;
        local.rsplit(':').next()?.parse().ok()
    };
    own.map(|line| port(line).with_context(|| format!("ss shows a connection as {line}")))
        .collect()
}
