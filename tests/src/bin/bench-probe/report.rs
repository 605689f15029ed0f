use std::{fmt::Write as _, time::Duration};

use anyhow::Context as _;
use serde::Serialize;

use crate::{Options, measure::Cpu};

#[derive(Debug, Serialize)]
pub struct Report {
    kernel: String,
    interval_ms: u64,
    seconds: u64,
    costs: Vec<Cost>,
    idle: Vec<Idle>,
}

/// What one probe of a kind costs, in microseconds.
#[derive(Debug, Serialize)]
pub struct Cost {
    kind: String,
    probes: usize,
    user_us: f64,
    system_us: f64,
    /// The prober's thread alone; the rest is the one who asks and listens.
    thread_us: f64,
    wall_us: f64,
}

impl Cost {
    pub fn new(kind: &str, probes: usize, cpu: Cpu, took: Duration) -> Self {
        let each = |nanos: u64| nanos as f64 / 1e3 / probes as f64;
        Self {
            kind: kind.to_owned(),
            probes,
            user_us: each(cpu.user),
            system_us: each(cpu.system),
            thread_us: each(cpu.thread),
            wall_us: each(took.as_nanos() as u64),
        }
    }
}

/// What asking idle peers costs, in percent of one CPU.
#[derive(Debug, Serialize)]
pub struct Idle {
    kind: String,
    peers: u16,
    unanswered: u64,
    probes_per_second: f64,
    packets_per_second: f64,
    cpu_percent: f64,
    /// The prober's thread alone.
    thread_percent: f64,
}

impl Idle {
    pub fn new(
        kind: &str,
        peers: u16,
        probes: u64,
        unanswered: u64,
        packets: u64,
        cpu: Cpu,
        took: Duration,
    ) -> Self {
        let seconds = took.as_secs_f64();
        let percent = |nanos: u64| nanos as f64 / 1e7 / seconds;
        Self {
            kind: kind.to_owned(),
            peers,
            unanswered,
            probes_per_second: probes as f64 / seconds,
            packets_per_second: packets as f64 / seconds,
            cpu_percent: percent(cpu.user + cpu.system),
            thread_percent: percent(cpu.thread),
        }
    }
}

impl Report {
    pub fn new(options: &Options, costs: Vec<Cost>, idle: Vec<Idle>) -> anyhow::Result<Self> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .context("cannot read the kernel's release")?;
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            interval_ms: options.interval_ms,
            seconds: options.seconds,
            costs,
            idle,
        })
    }

    pub fn table(&self) -> String {
        let mut table = format!(
            "\n{:<28}{:>8}{:>10}{:>10}{:>10}{:>10}\n",
            "µs for each probe", "probes", "user", "system", "thread", "wall"
        );
        for c in &self.costs {
            let _infallible = writeln!(
                table,
                "{:<28}{:>8}{:>10.1}{:>10.1}{:>10.1}{:>10.1}",
                c.kind, c.probes, c.user_us, c.system_us, c.thread_us, c.wall_us
            );
        }
        let _infallible = writeln!(
            table,
            "\n{:<28}{:>8}{:>10}{:>10}{:>10}{:>10}{:>12}",
            format!("each every {} ms", self.interval_ms),
            "peers",
            "probes/s",
            "packets/s",
            "CPU %",
            "thread %",
            "unanswered"
        );
        for i in &self.idle {
            let _infallible = writeln!(
                table,
                "{:<28}{:>8}{:>10.0}{:>10.0}{:>10.2}{:>10.2}{:>12}",
                i.kind,
                i.peers,
                i.probes_per_second,
                i.packets_per_second,
                i.cpu_percent,
                i.thread_percent,
                i.unanswered
            );
        }
        table.push_str(
            "\nUser and system are of the process, thread of the one that probes. System time has the \
             whole\nway in it: the lab's switch and the peer's answer run within the sender's call.\n",
        );
        table
    }
}
