//! The cost of the daemon while nothing happens: with peers that it probes because their
//! connections are idle, and with the same peers without probes.
//!
//! All hosts of the lab are on one machine, and the system call that sends a frame also delivers
//! it. So the daemon's CPU time includes the switch and the peer's own answer, and the result is
//! higher than on a real host.

use std::{fs, time::Duration};

use anyhow::Context as _;
use detector_tests::{Daemon, DaemonOptions, Host, Lab, METRICS, clock, crowd::Crowd, get, spent};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::time::sleep;

use crate::{options::Options, table::Table};

/// The time until the effects of the start and of the connects have settled.
const REST: Duration = Duration::from_secs(2);
const PROBING_OFF: &str = "idle_probe_interval = \"off\"\n";

/// How many peers, and where.
#[derive(Clone, Copy, Debug)]
pub struct Idle(Crowd);

/// The cost of a daemon with this many peers.
#[derive(Debug, Serialize)]
pub struct Cost {
    pub row: String,
    pub peers: u16,
    pub probing: Spent,
    /// The same with `idle_probe_interval = "off"`.
    pub not_probing: Spent,
}

/// What one daemon spent.
#[derive(Debug, Serialize)]
pub struct Spent {
    pub seconds: f64,
    /// Of one CPU.
    pub cpu_percent: f64,
    pub probes_per_second: f64,
    /// In and out by the host's link.
    pub packets_per_second: f64,
    /// Of all its threads.
    pub wake_ups_per_second: f64,
    pub resident_mib: f64,
}

impl Idle {
    pub fn all() -> Vec<Self> {
        let routed = [10, 100, 1000].map(|peers| (peers, false));
        let on_link = [10, 100].map(|peers| (peers, true));
        let all = on_link.into_iter().chain(routed);
        all.map(|(peers, on_link)| Self(Crowd { peers, on_link }))
            .collect()
    }

    pub fn name(self) -> String {
        let place = if self.0.on_link { "on-link" } else { "routed" };
        format!("probing-{}-{place}", self.0.peers)
    }
}

pub async fn run(idle: Idle, options: &Options) -> anyhow::Result<Cost> {
    let (row, peers) = (idle.name(), idle.0.peers);
    let not_probing = measure(idle.0, options, Some(PROBING_OFF)).await?;
    let probing = measure(idle.0, options, None).await?;
    let cost = Cost {
        row,
        peers,
        probing,
        not_probing,
    };
    println!("{cost:?}");
    Ok(cost)
}

async fn measure(
    crowd: Crowd,
    options: &Options,
    config: Option<&'static str>,
) -> anyhow::Result<Spent> {
    let lab = Lab::new(2)?;
    crowd.settle(&lab)?;
    let us = lab.host(1);
    let daemon = DaemonOptions {
        source: options.source.clone(),
        peers: crowd.urls(),
        args: options.detector_args.clone(),
        config: config.map(Into::into),
        log: "warn".to_owned(),
        show_log: false,
        ..DaemonOptions::default()
    };
    let daemon = Daemon::start(us, &daemon).await?;
    let _connections = crowd.connect(&lab)?;
    crowd.alive(&daemon).await?;
    sleep(REST).await;
    let before = Reading::now(us, daemon.process().pid())?;
    sleep(options.idle_time()).await;
    let spent = Reading::now(us, daemon.process().pid())?.since(&before);
    daemon.stop().await?;
    Ok(spent)
}

/// What the daemon has spent up to a moment.
struct Reading {
    at_ns: u64,
    cpu_ns: u64,
    probes: u64,
    packets: u64,
    wake_ups: u64,
    resident_kib: u64,
}

impl Reading {
    fn now(host: &Host, daemon: Pid) -> anyhow::Result<Self> {
        // Reading the metrics costs the daemon something: before the first reading of its time
        // and before the last, so that one such page is in what is measured.
        let probes = probes(host)?;
        Ok(Self {
            at_ns: clock::now_ns(),
            cpu_ns: spent::cpu_ns(daemon)?,
            probes,
            packets: packets(host)?,
            wake_ups: spent::wake_ups(daemon)?,
            resident_kib: spent::resident_kib(daemon)?,
        })
    }

    fn since(&self, before: &Self) -> Spent {
        let seconds = clock::between(before.at_ns, self.at_ns).as_secs_f64();
        let each_second = |now: u64, before: u64| (now - before) as f64 / seconds;
        Spent {
            seconds,
            cpu_percent: each_second(self.cpu_ns, before.cpu_ns) / 1e7,
            probes_per_second: each_second(self.probes, before.probes),
            packets_per_second: each_second(self.packets, before.packets),
            wake_ups_per_second: each_second(self.wake_ups, before.wake_ups),
            resident_mib: self.resident_kib as f64 / 1024.0,
        }
    }
}

/// How many probes were sent, of every kind.
fn probes(host: &Host) -> anyhow::Result<u64> {
    let page = get(host, METRICS.parse()?, "/metrics")?;
    let sent = page.lines().filter(|line| {
        line.starts_with("detector_probes_total{") && line.contains("result=\"sent\"")
    });
    let counts = sent.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// Packets in and out by eth0, from the host's /proc/net/dev.
fn packets(host: &Host) -> anyhow::Result<u64> {
    let text = host.within(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"))
        .with_context(|| format!("no eth0: {text}"))?;
    let fields: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
    match fields[..] {
        [_, received, _, _, _, _, _, _, _, sent, ..] => Ok(received + sent),
        _ => anyhow::bail!("/proc/net/dev is laid out otherwise: {line}"),
    }
}

pub fn table(rows: &[Cost]) -> String {
    let heads = [
        "probes/s",
        "packets/s",
        "wake-ups/s",
        "CPU %",
        "resident MiB",
        "probing off: CPU %",
        "resident MiB",
        "µs a probe",
    ];
    let mut table = Table::new("idle peers: what asking them costs", &heads);
    for row in rows {
        let (on, off) = (&row.probing, &row.not_probing);
        let probes = on.probes_per_second - off.probes_per_second;
        // A percent of a second is 10,000 µs.
        let each_us = (on.cpu_percent - off.cpu_percent) * 1e4 / probes;
        let each_us = match probes > 0.0 {
            true => format!("{each_us:.1}"),
            false => "-".to_owned(),
        };
        let cells = vec![
            format!("{:.0}", on.probes_per_second),
            format!("{:.0}", on.packets_per_second),
            format!("{:.1}", on.wake_ups_per_second),
            format!("{:.2}", on.cpu_percent),
            format!("{:.1}", on.resident_mib),
            format!("{:.2}", off.cpu_percent),
            format!("{:.1}", off.resident_mib),
            each_us,
        ];
        table.row(&row.row, cells);
    }
    format!(
        "{}    CPU is of one, of the whole daemon; the lab's switch and the peers' answers run \
         within its calls\n\n",
        table.text()
    )
}
