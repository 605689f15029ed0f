//! Programs that get too little of a processor.

use std::time::Duration;

use anyhow::Context as _;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{Host, Traffic};

/// One period of the duty cycle: that of the kernel's own CPU quota.
const PERIOD: Duration = Duration::from_millis(100);

/// Keeps programs short of CPU time until dropped: they share one processor with busy loops,
/// and of every 100 ms they may run in a part only, as under a cgroup's `cpu.max`. (By SIGSTOP and
/// SIGCONT, for the CPU controller may not be there to be used.)
#[derive(Debug)]
pub struct Starvation {
    pids: Vec<Pid>,
    cycle: JoinHandle<()>,
    _spinners: Vec<Traffic>,
}

impl Starvation {
    /// `share` is the part of each period in which they may run, from 0 to 1.
    pub fn new(host: &Host, pids: &[Pid], share: f64, spinners: usize) -> anyhow::Result<Self> {
        let mut together = CpuSet::new();
        together.set(0).context("there is no processor 0")?;
        let spinners = (0..spinners)
            .map(|_| Traffic::start(host, &["spin"]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let all = spinners.iter().map(|spinner| spinner.process.pid());
        for pid in all {
            pin(pid, &together)?;
        }
        for pid in pids {
            pin(*pid, &together)?;
        }
        let pids = pids.to_vec();
        let cycle = tokio::spawn(cycle(pids.clone(), share.clamp(0.0, 1.0)));
        Ok(Self {
            pids,
            cycle,
            _spinners: spinners,
        })
    }
}

impl Drop for Starvation {
    fn drop(&mut self) {
        self.cycle.abort();
        let mut everywhere = CpuSet::new();
        for cpu in 0..CpuSet::count() {
            let _within_count = everywhere.set(cpu);
        }
        for pid in &self.pids {
            let _ended = kill(*pid, Signal::SIGCONT);
            let _ended = pin(*pid, &everywhere);
        }
    }
}

async fn cycle(pids: Vec<Pid>, share: f64) {
    let signal = |signal| {
        for pid in &pids {
            // One that has ended gets none.
            let _ended = kill(*pid, signal);
        }
    };
    loop {
        signal(Signal::SIGCONT);
        sleep(PERIOD.mul_f64(share)).await;
        signal(Signal::SIGSTOP);
        sleep(PERIOD.mul_f64(1.0 - share)).await;
    }
}

/// All threads of the program, for each has its own set of processors.
fn pin(pid: Pid, cpus: &CpuSet) -> anyhow::Result<()> {
    let tasks = format!("/proc/{pid}/task");
    let threads = std::fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))?;
    for thread in threads.flatten() {
        if let Some(thread) = thread.file_name().to_str().and_then(|t| t.parse().ok()) {
            // A thread may have ended since.
            let _ended = sched_setaffinity(Pid::from_raw(thread), cpus);
        }
    }
    Ok(())
}
