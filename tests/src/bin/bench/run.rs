//! Distributes the rows over labs.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use detector_tests::clock;
use serde::Serialize;
use tokio::{runtime::Handle, sync::watch, task::JoinSet};

use crate::{
    alarms::{self, Alarms, Trouble, frozen},
    cuts,
    effects::{self, Effect, Freed},
    gray::{self, Fault},
    idle::{self, Idle},
    options::{Options, Part},
    rows::{self, Group, Row},
};

/// What is left to do.
#[derive(Debug)]
enum Job {
    Cuts(Row),
    Effects(Effect),
    Gray(Fault),
    Alarms(Trouble),
    Frozen,
    Idle(Idle),
}

/// All results.
#[derive(Debug, Default, Serialize)]
pub struct Results {
    pub cuts: Vec<CutRow>,
    pub effects: Vec<EffectRow>,
    pub gray: Vec<GrayRow>,
    pub alarms: Vec<Alarms>,
    pub frozen: Vec<frozen::Freeze>,
    pub idle: Vec<idle::Cost>,
    pub failures: Vec<Failure>,
    pub took_s: f64,
}

#[derive(Debug, Serialize)]
pub struct CutRow {
    pub row: String,
    pub group: Group,
    pub cuts: Vec<cuts::Measured>,
}

#[derive(Debug, Serialize)]
pub struct EffectRow {
    pub effect: Effect,
    pub cuts: Vec<Freed>,
}

#[derive(Debug, Serialize)]
pub struct GrayRow {
    pub fault: Fault,
    pub seen: Vec<gray::Seen>,
}

/// A row that could not be measured.
#[derive(Debug, Serialize)]
pub struct Failure {
    pub row: String,
    pub error: String,
}

impl Job {
    fn name(&self) -> String {
        match self {
            Self::Cuts(row) => row.name.clone(),
            Self::Effects(effect) => effect.as_str().to_owned(),
            Self::Gray(fault) => fault.as_str().to_owned(),
            Self::Alarms(trouble) => trouble.name(),
            Self::Frozen => frozen::NAME.to_owned(),
            Self::Idle(idle) => idle.name(),
        }
    }

    /// Whether it disturbs measurements that run at the same time, or is disturbed by them.
    fn is_exclusive(&self) -> bool {
        match self {
            Self::Cuts(_) | Self::Effects(_) | Self::Gray(_) | Self::Frozen => false,
            Self::Alarms(trouble) => trouble.is_exclusive(),
            Self::Idle(_) => true,
        }
    }

    async fn run(&self, options: &Options, results: &Mutex<Results>) -> anyhow::Result<()> {
        match self {
            Self::Cuts(row) => {
                let measured = cuts::run(row, options).await?;
                locked(results).cuts.push(CutRow {
                    row: row.name.clone(),
                    group: row.group,
                    cuts: measured,
                });
            }
            Self::Effects(effect) => {
                let measured = effects::run(*effect, options).await?;
                locked(results).effects.push(EffectRow {
                    effect: *effect,
                    cuts: measured,
                });
            }
            Self::Gray(fault) => {
                let seen = gray::run(*fault, options).await?;
                let fault = *fault;
                locked(results).gray.push(GrayRow { fault, seen });
            }
            Self::Alarms(trouble) => {
                let alarms = alarms::run(*trouble, options).await?;
                locked(results).alarms.push(alarms);
            }
            Self::Frozen => {
                let freezes = frozen::run(options).await?;
                locked(results).frozen = freezes;
            }
            Self::Idle(idle) => {
                let cost = idle::run(*idle, options).await?;
                locked(results).idle.push(cost);
            }
        }
        Ok(())
    }
}

/// Measures everything that was requested. A row that fails is reported, and the others are still
/// measured.
pub async fn run(options: &Options) -> anyhow::Result<Results> {
    let all = jobs(options);
    if options.rows.iter().any(|row| row == "list") || all.is_empty() {
        anyhow::bail!("the rows are: {}", names().join(", "));
    }
    println!("{} rows on {} labs at once", all.len(), options.jobs);
    let order: Vec<String> = all.iter().map(Job::name).collect();
    let begun = clock::now_ns();
    let (alone, together): (Vec<Job>, Vec<Job>) = all.into_iter().partition(Job::is_exclusive);
    let shared = Arc::new(Shared {
        options: options.clone(),
        results: Mutex::default(),
        queue: Mutex::default(),
    });
    for (jobs, labs) in [(together, options.jobs), (alone, 1)] {
        locked(&shared.queue).extend(jobs);
        work(&shared, labs).await?;
    }

    let mut results = std::mem::take(&mut *locked(&shared.results));
    let place = |name: &str| order.iter().position(|row| row == name);
    results.cuts.sort_by_key(|row| place(&row.row));
    results
        .effects
        .sort_by_key(|row| place(row.effect.as_str()));
    results.gray.sort_by_key(|row| place(row.fault.as_str()));
    results.alarms.sort_by_key(|row| place(&row.row));
    results.idle.sort_by_key(|row| place(&row.row));
    results.took_s = clock::between(begun, clock::now_ns()).as_secs_f64().round();
    Ok(results)
}

/// The data that the workers share.
#[derive(Debug)]
struct Shared {
    options: Options,
    results: Mutex<Results>,
    queue: Mutex<VecDeque<Job>>,
}

fn jobs(options: &Options) -> Vec<Job> {
    let cuts = rows::all()
        .into_iter()
        .map(|row| (Part::Cuts, Job::Cuts(row)));
    let effects = Effect::ALL.map(|effect| (Part::Effects, Job::Effects(effect)));
    let gray = Fault::ALL.map(|fault| (Part::Gray, Job::Gray(fault)));
    let alarms = Trouble::all()
        .into_iter()
        .map(|t| (Part::Alarms, Job::Alarms(t)));
    let idle = Idle::all()
        .into_iter()
        .map(|idle| (Part::Idle, Job::Idle(idle)));
    cuts.chain(effects)
        .chain(gray)
        .chain(alarms)
        .chain([(Part::Alarms, Job::Frozen)])
        .chain(idle)
        .filter(|(part, job)| options.wants(*part, &job.name()))
        .map(|(_, job)| job)
        .collect()
}

fn names() -> Vec<String> {
    let rows = rows::all().into_iter().map(|row| row.name);
    let effects = Effect::ALL.map(|effect| effect.as_str().to_owned());
    rows.chain(effects)
        .chain(Fault::ALL.map(|fault| fault.as_str().to_owned()))
        .chain(Trouble::all().iter().map(Trouble::name))
        .chain([frozen::NAME.to_owned()])
        .chain(Idle::all().into_iter().map(Idle::name))
        .collect()
}

/// Works through the queue in this many labs at once, each on its own thread, because making a lab
/// blocks. If this is dropped, the threads drop their labs.
async fn work(shared: &Arc<Shared>, labs: usize) -> anyhow::Result<()> {
    let (_goes_on, stop) = watch::channel(());
    let mut workers = JoinSet::new();
    for number in 0..labs {
        let (shared, stop) = (shared.clone(), stop.clone());
        let runtime = Handle::current();
        workers.spawn_blocking(move || runtime.block_on(worker(&shared, number, stop)));
    }
    while let Some(ended) = workers.join_next().await {
        ended?;
    }
    Ok(())
}

async fn worker(shared: &Shared, number: usize, mut stop: watch::Receiver<()>) {
    // Labs that are made at once would cut at once too.
    tokio::time::sleep(Duration::from_millis(700) * number as u32).await;
    loop {
        let Some(job) = locked(&shared.queue).pop_front() else {
            return;
        };
        let name = job.name();
        let ended = tokio::select! {
            ended = job.run(&shared.options, &shared.results) => ended,
            _ = stop.changed() => return,
        };
        if let Err(error) = ended {
            println!("{name}: FAILED: {error:#}");
            let error = format!("{error:#}");
            let failure = Failure { row: name, error };
            locked(&shared.results).failures.push(failure);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_over_all_parts() {
        let mut all = names();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
