//! What the daemon's programs in the kernel cost: the kernel itself counts how often each ran and
//! how long it took.
//!
//! The load is retransmissions on healthy connections with hosts that are not watched: every
//! program runs, and finds that it has nothing to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use aya::{programs::loaded_programs, sys};
use detector_tests::{Daemon, DaemonOptions};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    REST, all_alive,
    stand::{FIRST_PEER, Holder, Stand},
};
use crate::table::Table;

const WATCHED: u32 = 10;
const UNWATCHED: u32 = 400;
/// In both directions.
const LOSS_PERCENT: u8 = 15;
const SENT_EVERY: Duration = Duration::from_millis(50);
const LASTS: Duration = Duration::from_secs(10);
/// The program that runs at each retransmission, as the kernel shortens its name.
const AT_RETRANSMISSION: &str = "tcp_retransmit_";
const MILLION_A_MINUTE: f64 = 1e6 / 60.0;

/// The programs and maps of a daemon.
#[derive(Debug, Serialize)]
pub struct Kernel {
    programs: Vec<Program>,
    maps: Vec<Map>,
}

/// One program, with what it did meanwhile.
#[derive(Debug, Serialize)]
struct Program {
    name: String,
    runs: u64,
    took_ns: u64,
    /// That the verifier walked through.
    walked: Option<u32>,
    machine_code_bytes: u32,
}

/// One map.
#[derive(Debug, Serialize)]
struct Map {
    id: u32,
    entries: u64,
    bytes: u64,
}

pub async fn measure() -> anyhow::Result<Kernel> {
    let stand = Stand::new()?;
    let _watched = stand.connect(WATCHED, 1).await?;
    let first = Ipv4Addr::from(u32::from(FIRST_PEER) + WATCHED);
    let mut unwatched = stand.connect_from(first, UNWATCHED, 1).await?;
    let options = DaemonOptions {
        peers: Stand::urls(WATCHED),
        log: "warn".to_owned(),
        show_log: false,
        ..DaemonOptions::default()
    };
    let daemon = Daemon::start(stand.us(), &options).await?;
    let pid = daemon.process().pid();
    // The kernel counts for as long as this is open.
    let _counting = sys::enable_stats(sys::Stats::RunTime)
        .context("the kernel does not count what BPF programs take (5.8 or later does)")?;
    all_alive(&daemon, WATCHED).await?;
    sleep(REST).await;
    let before = programs(pid)?;
    stand.lab().loss(2, LOSS_PERCENT)?;
    send(&mut unwatched, LASTS).await?;
    stand.lab().loss(2, 0)?;
    let since = |mut program: Program| {
        let earlier = before.iter().find(|earlier| earlier.name == program.name);
        program.runs -= earlier.map_or(0, |earlier| earlier.runs);
        program.took_ns -= earlier.map_or(0, |earlier| earlier.took_ns);
        program
    };
    let kernel = Kernel {
        programs: programs(pid)?.into_iter().map(since).collect(),
        maps: maps(pid)?,
    };
    daemon.stop().await?;
    ensure!(
        kernel.retransmissions() > 0,
        "nothing was retransmitted: {kernel:?}"
    );
    Ok(kernel)
}

async fn send(connections: &mut [Holder], during: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + during;
    while Instant::now() < end {
        for holder in &mut *connections {
            holder.send().await?;
        }
        sleep(SENT_EVERY).await;
    }
    Ok(())
}

impl Kernel {
    fn retransmissions(&self) -> u64 {
        let programs = self.programs.iter();
        let at = programs.filter(|program| program.name.starts_with(AT_RETRANSMISSION));
        at.map(|program| program.runs).sum()
    }

    /// Of one processor, of all programs together, for a million retransmissions a minute.
    pub fn million_percent(&self) -> f64 {
        let took: u64 = self.programs.iter().map(|program| program.took_ns).sum();
        let each_ns = took as f64 / self.retransmissions() as f64;
        each_ns * MILLION_A_MINUTE / 1e7
    }

    pub fn table(&self) -> String {
        let heads = [
            "runs",
            "ns a run",
            "instructions verified",
            "machine code, bytes",
        ];
        let mut table = Table::new("programs in the kernel", &heads);
        for program in &self.programs {
            let each = program.took_ns as f64 / program.runs.max(1) as f64;
            let cells = vec![
                program.runs.to_string(),
                format!("{each:.0}"),
                program.walked.map_or("-".to_owned(), |n| n.to_string()),
                program.machine_code_bytes.to_string(),
            ];
            table.row(&program.name, cells);
        }
        let memory: u64 = self.maps.iter().map(|map| map.bytes).sum();
        format!(
            "{}    a million retransmissions a minute on connections that are not watched: {:.3} % of \
             one processor\n    {} maps: {:.1} MiB\n\n",
            table.text(),
            self.million_percent(),
            self.maps.len(),
            memory as f64 / f64::from(1 << 20)
        )
    }
}

fn programs(daemon: Pid) -> anyhow::Result<Vec<Program>> {
    let ids: BTreeSet<u64> = objects(daemon, "prog_id:")?.into_keys().collect();
    let mut programs = Vec::new();
    for info in loaded_programs() {
        let info = info.context("cannot list the kernel's BPF programs")?;
        if ids.contains(&u64::from(info.id())) {
            programs.push(Program {
                name: info.name_as_str().unwrap_or("?").to_owned(),
                runs: info.run_count(),
                took_ns: u64::try_from(info.run_time().as_nanos())?,
                walked: info.verified_instruction_count(),
                machine_code_bytes: info.size_jitted(),
            });
        }
    }
    Ok(programs)
}

fn maps(daemon: Pid) -> anyhow::Result<Vec<Map>> {
    let number = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    };
    let map = |(id, text): (u64, String)| Map {
        id: id as u32,
        entries: number(&text, "max_entries:"),
        bytes: number(&text, "memlock:"),
    };
    Ok(objects(daemon, "map_id:")?.into_iter().map(map).collect())
}

/// The BPF objects that a process holds, by id, with what the kernel says of each descriptor.
fn objects(process: Pid, kind: &str) -> anyhow::Result<BTreeMap<u64, String>> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // It may have been closed in the meantime.
        let Ok(text) = fs::read_to_string(file?.path()) else {
            continue;
        };
        let id = text.lines().find_map(|line| line.strip_prefix(kind));
        if let Some(id) = id.and_then(|id| id.trim().parse().ok()) {
            found.insert(id, text);
        }
    }
    Ok(found)
}
