//! Carries a plan out: inspects the machine, plans, acts, and repeats until nothing is left to do.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::{
    facts::{Facts, Toolchain},
    plan::{Closed, Ebpf, Needs, Plan, RENEW_LISTS, plan},
    step::{OnFailure, Runner, Step, Stopwatch, seconds},
};

/// The result of a setup.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The eBPF toolchain, or the reason why there is none. In a dry run, it is the toolchain to
    /// which the steps would lead.
    pub ebpf: Result<Toolchain, String>,
}

/// Sets up what `needs` names. Afterwards only the eBPF toolchain may be missing.
pub fn prepare(runner: &Runner, needs: Needs) -> Result<Prepared> {
    runner.heading("setup: what is missing is installed, what is there is left alone");
    let watch = Stopwatch::start();
    let mut progress = Progress::default();
    loop {
        let facts = Facts::gather(progress.lists_renewed)?;
        let plan = plan(&facts, needs, &progress.closed);
        progress.say(runner, &plan);
        if !plan.blocked.is_empty() {
            bail!(
                "setup cannot go on from here:\n  - {}",
                plan.blocked.join("\n  - ")
            );
        }
        let todo = progress.todo(&plan)?;
        for step in todo.steps() {
            if !progress.carry_out(runner, step)? {
                break;
            }
        }
        if runner.dry_run || matches!(todo, Todo::Nothing) {
            runner.note(&format!("setup took {}", seconds(watch.elapsed())));
            return Ok(Prepared {
                ebpf: outcome(plan.ebpf),
            });
        }
    }
}

fn outcome(ebpf: Ebpf) -> Result<Toolchain, String> {
    match ebpf {
        Ebpf::Ready(toolchain) | Ebpf::Expected(toolchain) => Ok(toolchain),
        Ebpf::Impossible(why) => Err(why),
        Ebpf::AfterRenewal => Err("apt's lists are renewed first; then the search goes on: \
                                   Debian's packages, a nightly by rustup"
            .to_owned()),
        Ebpf::NotNeeded => Err("it was not asked for".to_owned()),
    }
}

/// What remains to be done of a plan.
#[derive(Clone, Debug)]
enum Todo<'a> {
    Nothing,
    Steps(Vec<&'a Step>),
    /// A route has just been closed: a new plan comes first.
    LookAgain,
}

impl<'a> Todo<'a> {
    fn steps(&self) -> &[&'a Step] {
        match self {
            Self::Steps(steps) => steps,
            Self::Nothing | Self::LookAgain => &[],
        }
    }
}

/// What this run has done so far.
#[derive(Debug, Default)]
struct Progress {
    lists_renewed: bool,
    closed: Closed,
    /// The commands that have run. If a command is planned again, it did not help.
    done: BTreeSet<String>,
    said: BTreeSet<String>,
}

impl Progress {
    fn say(&mut self, runner: &Runner, plan: &Plan) {
        for found in &plan.present {
            if self.said.insert(found.clone()) {
                runner.note(&format!("already there: {found}"));
            }
        }
        let by_sudo: Vec<&str> = plan
            .steps
            .iter()
            .filter(|step| step.invocation.root && !runner.is_root)
            .map(|step| step.what.as_str())
            .collect();
        if !by_sudo.is_empty() {
            runner.note(&format!(
                "sudo will ask for your password to: {}",
                by_sudo.join("; ")
            ));
        }
    }

    /// The plan's steps, without those that were tried and may fail.
    fn todo<'a>(&mut self, plan: &'a Plan) -> Result<Todo<'a>> {
        let (tried, new): (Vec<&Step>, Vec<&Step>) = plan
            .steps
            .iter()
            .partition(|step| self.done.contains(&step.invocation.display(true)));
        let mut closed = false;
        for step in tried {
            let why = format!("`{}` ran and did not help", step.invocation.display(true));
            match step.on_failure {
                OnFailure::Stop => bail!("setup is going in circles: {why}"),
                OnFailure::Continue => {}
                OnFailure::CloseRoute(route) => {
                    closed = true;
                    self.closed.insert(route, why);
                }
            }
        }
        Ok(match (closed, new.is_empty()) {
            (true, _) => Todo::LookAgain,
            (false, true) => Todo::Nothing,
            (false, false) => Todo::Steps(new),
        })
    }

    /// Runs a step; returns whether the rest of the plan still holds.
    fn carry_out(&mut self, runner: &Runner, step: &Step) -> Result<bool> {
        self.done.insert(step.invocation.display(true));
        self.lists_renewed |= step.what == RENEW_LISTS;
        let Err(error) = runner.run(step) else {
            return Ok(true);
        };
        match step.on_failure {
            OnFailure::Stop => Err(error),
            OnFailure::Continue => {
                runner.note(&format!("going on without it: {error:#}"));
                Ok(true)
            }
            OnFailure::CloseRoute(route) => {
                runner.note(&format!("looking for another way: {error:#}"));
                self.closed.insert(route, format!("{error:#}"));
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{invocation::Invocation, step::Route};

    fn step(on_failure: OnFailure) -> Step {
        Step::new("fail", "it does", Invocation::new("false")).on_failure(on_failure)
    }

    fn plan_of(step: Step) -> Plan {
        Plan {
            steps: vec![step],
            ..Plan::default()
        }
    }

    const RUNNER: Runner = Runner {
        dry_run: false,
        is_root: true,
    };

    #[test]
    fn a_failed_route_is_closed_with_its_reason_and_ends_the_plan() {
        let mut progress = Progress::default();
        let step = step(OnFailure::CloseRoute(Route::LinkerBuild));
        assert!(!progress.carry_out(&RUNNER, &step).unwrap());
        assert!(progress.closed[&Route::LinkerBuild].contains("`false` failed"));
    }

    #[test]
    fn a_step_that_helped_nothing_is_not_repeated_for_ever() {
        let mut progress = Progress::default();
        let tried = |progress: &mut Progress, on_failure| {
            progress.done.insert("false".to_owned());
            progress
                .todo(&plan_of(step(on_failure)))
                .map(|todo| format!("{todo:?}"))
        };
        let route = OnFailure::CloseRoute(Route::DebianPackages);
        assert_eq!(tried(&mut progress, route).unwrap(), "LookAgain");
        assert!(progress.closed.contains_key(&Route::DebianPackages));
        assert_eq!(
            tried(&mut progress, OnFailure::Continue).unwrap(),
            "Nothing"
        );
        assert!(tried(&mut progress, OnFailure::Stop).is_err());
    }

    #[test]
    fn a_failure_that_may_be_is_gone_over_and_any_other_ends_setup() {
        let mut progress = Progress::default();
        assert!(
            progress
                .carry_out(&RUNNER, &step(OnFailure::Continue))
                .unwrap()
        );
        assert!(progress.carry_out(&RUNNER, &step(OnFailure::Stop)).is_err());
    }
}
