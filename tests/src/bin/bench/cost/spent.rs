//! What a process spends: processor time, wake-ups, system calls, memory; from `/proc` and the
//! kernel's counters.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context as _;
use detector_tests::clock;
use nix::unistd::{Pid, SysconfVar, sysconf};
use perf_event::{Builder, Counter, events::Tracepoint};
use serde::Serialize;

/// The number of the kernel's tracepoint at the beginning of each system call.
const SYSTEM_CALL: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";

/// What a process spent in a while.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Spent {
    pub seconds: f64,
    /// Of one processor.
    pub cpu_percent: f64,
    /// The part of it outside the kernel. The kernel counts it in ticks: coarse for short runs.
    pub user_percent: f64,
    /// By the names of the threads.
    pub threads: BTreeMap<String, f64>,
    /// How often a thread slept and was woken.
    pub wakeups_per_second: f64,
    /// How often a thread had to leave the processor to another.
    pub preempted_per_second: f64,
    /// `None` where the kernel counts none for us.
    pub system_calls_per_second: Option<f64>,
    pub resident_mib: f64,
}

/// A process that is being measured.
#[derive(Debug)]
pub struct Measured {
    pid: Pid,
    began: Reading,
    system_calls: Option<Vec<Counter>>,
}

impl Measured {
    /// From now on. Threads that end meanwhile are left out.
    pub fn begin(pid: Pid) -> anyhow::Result<Self> {
        let began = Reading::now(pid)?;
        let counters = began.threads.keys().map(|tid| count_system_calls(*tid));
        let system_calls = counters.collect::<anyhow::Result<_>>();
        if let Err(error) = &system_calls {
            println!("system calls are not counted: {error:#}");
        }
        Ok(Self {
            pid,
            began,
            system_calls: system_calls.ok(),
        })
    }

    pub fn end(&mut self) -> anyhow::Result<Spent> {
        let ended = Reading::now(self.pid)?;
        let mut spent = ended.since(&self.began)?;
        if let Some(counters) = &mut self.system_calls {
            let counts = counters.iter_mut().map(Counter::read);
            let sum: u64 = counts.sum::<Result<_, _>>()?;
            spent.system_calls_per_second = Some(sum as f64 / spent.seconds);
        }
        Ok(spent)
    }
}

fn count_system_calls(tid: i32) -> anyhow::Result<Counter> {
    let id = read(SYSTEM_CALL)?.trim().parse()?;
    let mut counter = Builder::new(Tracepoint::with_id(id))
        .observe_pid(tid)
        .include_kernel()
        .build()
        .with_context(|| format!("cannot count the system calls of thread {tid}"))?;
    counter.enable()?;
    Ok(counter)
}

/// What a process had spent at a moment.
#[derive(Debug)]
struct Reading {
    at_ns: u64,
    threads: BTreeMap<i32, Thread>,
    resident_kib: u64,
}

#[derive(Debug, Default)]
struct Thread {
    name: String,
    run_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
    slept: u64,
    preempted: u64,
}

impl Reading {
    fn now(pid: Pid) -> anyhow::Result<Self> {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            if let Ok(tid) = task.file_name().to_string_lossy().parse() {
                threads.insert(tid, Thread::read(&task.path())?);
            }
        }
        Ok(Self {
            at_ns: clock::now_ns(),
            threads,
            resident_kib: field(&read(&format!("/proc/{pid}/status"))?, "VmRSS:")?,
        })
    }

    fn since(&self, before: &Self) -> anyhow::Result<Spent> {
        let ticks = sysconf(SysconfVar::CLK_TCK)?.context("no clock ticks")? as f64;
        let seconds = clock::between(before.at_ns, self.at_ns).as_secs_f64();
        let mut spent = Spent {
            seconds,
            resident_mib: self.resident_kib as f64 / 1024.0,
            ..Spent::default()
        };
        let (mut user, mut system) = (0, 0);
        for (tid, thread) in &self.threads {
            let Some(before) = before.threads.get(tid) else {
                continue;
            };
            let percent = (thread.run_ns - before.run_ns) as f64 / seconds / 1e7;
            spent.cpu_percent += percent;
            *spent.threads.entry(thread.name.clone()).or_default() += percent;
            user += thread.user_ticks - before.user_ticks;
            system += thread.system_ticks - before.system_ticks;
            spent.wakeups_per_second += (thread.slept - before.slept) as f64 / seconds;
            spent.preempted_per_second += (thread.preempted - before.preempted) as f64 / seconds;
        }
        spent.user_percent = match user + system {
            0 => 0.0,
            all if all as f64 / ticks < 0.05 => spent.cpu_percent * user as f64 / all as f64,
            _ => user as f64 / ticks / seconds * 100.0,
        };
        Ok(spent)
    }
}

impl Thread {
    fn read(task: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| read(&task.join(name).to_string_lossy());
        let (status, stat) = (file("status")?, file("stat")?);
        let run_ns = file("schedstat")?;
        let run_ns = run_ns.split_whitespace().next().context("no schedstat")?;
        // The name, in parentheses, may contain anything.
        let (_, numbers) = stat.rsplit_once(')').context("no name in stat")?;
        let number = |index: usize| -> anyhow::Result<u64> {
            let word = numbers.split_whitespace().nth(index);
            Ok(word.context("stat is too short")?.parse()?)
        };
        Ok(Self {
            name: file("comm")?.trim().to_owned(),
            run_ns: run_ns.parse()?,
            user_ticks: number(11)?,
            system_ticks: number(12)?,
            slept: field(&status, "voluntary_ctxt_switches:")?,
            preempted: field(&status, "nonvoluntary_ctxt_switches:")?,
        })
    }
}

fn read(file: &str) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {file}"))
}

fn field(status: &str, name: &str) -> anyhow::Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    let value = value.with_context(|| format!("no {name} in the process's status"))?;
    Ok(value.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_spends_something() {
        let mut measured = Measured::begin(Pid::this()).unwrap();
        for _ in 0..1_000 {
            fs::metadata("/").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
        let spent = measured.end().unwrap();
        assert!(
            spent.cpu_percent > 0.0 && spent.wakeups_per_second > 0.0,
            "{spent:?}"
        );
        assert!(spent.resident_mib > 1.0, "{spent:?}");
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = field("Name:\tx\n", "VmRSS:").unwrap_err();
        assert!(error.to_string().contains("VmRSS:"));
        assert_eq!(field("VmRSS:\t  77 kB\n", "VmRSS:").unwrap(), 77);
    }
}
