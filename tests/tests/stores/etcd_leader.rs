//! Three of Debian's etcd servers: their leader is cut off. What etcd says, and what we say.

use std::path::Path;

use anyhow::{Context as _, ensure};
use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{
    Cgroup, Cut, Daemon, DaemonOptions, Host, Lab, Process, clock, get, post, testbed,
};
use serde_json::Value;

use super::{LIMIT, SOON};

const CLIENTS: u16 = 2379;
const MEMBERS: [usize; 3] = [1, 2, 3];

/// etcd's own defaults: a heartbeat each 100 ms, and an election after a second without one.
fn start(host: &Host, lab: &Lab, directory: &Path) -> anyhow::Result<Process> {
    let url = |host: &Host| format!("http://{}:2380", host.v4());
    let members = lab.hosts().iter();
    let members = members.map(|host| format!("{}={}", host.name(), url(host)));
    let (name, peers) = (host.name(), url(host));
    let clients = format!("http://{}:{CLIENTS}", host.v4());
    let mut etcd = host.command("etcd");
    etcd.args(["--name", &name, "--log-outputs", "stderr"])
        .arg("--data-dir")
        .arg(directory.join(&name))
        .args(["--listen-peer-urls", &peers])
        .args(["--initial-advertise-peer-urls", &peers])
        .args(["--listen-client-urls", &clients])
        .args(["--advertise-client-urls", &clients])
        .args(["--initial-cluster", &members.collect::<Vec<_>>().join(",")]);
    Process::start(&format!("etcd on {name}"), etcd)
        .context("is etcd installed? `cargo xtask setup` unpacks Debian's etcd-server")
}

/// What a member says of itself: its id, its leader's, and the term.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    member: String,
    leader: String,
    term: u64,
}

fn ask(host: &Host) -> anyhow::Result<Said> {
    let clients = (host.v4(), CLIENTS).into();
    let answer = post(host, clients, "/v3/maintenance/status", "{}")?;
    let status: Value = serde_json::from_str(&answer)?;
    // Numbers of 64 bits are strings in etcd's JSON; what is 0 is left out.
    let text = |value: &Value| value.as_str().unwrap_or("0").to_owned();
    Ok(Said {
        member: text(&status["header"]["member_id"]),
        leader: text(&status["leader"]),
        term: text(&status["raftTerm"]).parse()?,
    })
}

/// A number among etcd's metrics.
fn metric(host: &Host, name: &str) -> anyhow::Result<f64> {
    let metrics = get(host, (host.v4(), CLIENTS).into(), "/metrics")?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name}"))?.parse()?)
}

/// Waits until a member has a leader that is not this one.
async fn led_by_another(host: &Host, than: &str) -> anyhow::Result<Said> {
    testbed::until("there is a leader", SOON, async || {
        let said = ask(host).ok();
        Ok(said.filter(|said| said.leader != "0" && said.leader != than))
    })
    .await
}

/// The member that leads, and another one.
async fn roles(lab: &Lab) -> anyhow::Result<(usize, usize, Said)> {
    let mut roles = (0, 0);
    let mut leader = None;
    for member in MEMBERS {
        let said = led_by_another(lab.host(member), "").await?;
        match said.member == said.leader {
            true => {
                roles.0 = member;
                leader = Some(said);
            }
            false => roles.1 = member,
        }
    }
    let leader = leader.context("no member leads")?;
    Ok((roles.0, roles.1, leader))
}

/// A write through this member succeeds.
fn writes(host: &Host) -> anyhow::Result<()> {
    let pair = r#"{"key": "Zm9v", "value": "YmFy"}"#;
    post(host, (host.v4(), CLIENTS).into(), "/v3/kv/put", pair).map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_is_dead_for_us_and_replaced_by_etcd() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let directory = tempfile::tempdir()?;
        let lab = Lab::new(MEMBERS.len())?;
        // One machine has all three: the daemon is told which of them is its own host's.
        let units = [Cgroup::new()?, Cgroup::new()?, Cgroup::new()?];
        let mut members = Vec::new();
        for (host, unit) in lab.hosts().iter().zip(&units) {
            members.push(start(&host.in_cgroup(unit), &lab, directory.path())?);
        }
        let (lost, here, old) = roles(&lab).await?;
        let other = MEMBERS.into_iter().find(|n| *n != lost && *n != here);
        let other = other.context("three members")?;
        let name = |number: usize| format!("http://{}:2380", lab.host(number).v4());

        let own = format!("etcd = [\"{}\"]\n", units[here - 1].target());
        let options = DaemonOptions::default().config(own);
        let daemon = Daemon::start(lab.host(here), &options).await?;
        super::await_names(&daemon, [name(lost), name(other)]).await?;
        let is_alive = |state: &PeerState| {
            state.verdict() == Verdict::Alive && state.breaker() == Breaker::Closed
        };
        for member in [lost, other] {
            daemon.await_state(&name(member), SOON, is_alive).await?;
        }
        let changes = metric(lab.host(here), "etcd_server_leader_changes_seen_total")?;

        let cut = lab.cut(&[lost], Cut::SilentDrop)?;
        let is_dead = |state: &PeerState| {
            state.verdict() == Verdict::Dead && state.breaker() == Breaker::Open
        };
        let lost_name = name(lost);
        let (dead, new) = tokio::join!(
            daemon.await_since(cut.at_ns, &lost_name, SOON, is_dead),
            led_by_another(lab.host(here), &old.leader),
        );
        let (dead, new) = (dead?, new?);
        println!(
            "the leader is cut: dead after {:?}; etcd has another leader after {:?} at most, term {} after {}",
            clock::between(cut.at_ns, dead.at_ns),
            clock::between(cut.at_ns, clock::now_ns()),
            new.term,
            old.term
        );
        ensure!(new.term > old.term, "{new:?} {old:?}");
        let health = get(lab.host(here), (lab.host(here).v4(), CLIENTS).into(), "/health")?;
        ensure!(health.contains(r#""health":"true""#), "{health}");
        ensure!(metric(lab.host(here), "etcd_server_has_leader")? == 1.0);
        let seen = metric(lab.host(here), "etcd_server_leader_changes_seen_total")?;
        ensure!(seen > changes, "{seen} {changes}");
        writes(lab.host(here))?;
        ensure!(is_alive(&daemon.peer(&name(other)).await?), "the other is well");

        let healed = lab.heal(&[lost])?;
        daemon
            .await_since(healed.at_ns, &lost_name, SOON, is_alive)
            .await?;
        let back = led_by_another(lab.host(lost), &old.leader).await?;
        ensure!(back.leader == new.leader, "{back:?} {new:?}");
        writes(lab.host(lost))?;
        daemon.stop().await
    })
    .await
}
