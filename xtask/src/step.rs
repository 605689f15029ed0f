//! A step of a plan, and the code that carries steps out or only prints them.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::invocation::Invocation;

/// One step: what it does, why, and the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub what: String,
    pub why: String,
    pub invocation: Invocation,
    pub on_failure: OnFailure,
}

/// What a failed step means for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The plan has failed.
    Stop,
    /// Later steps may still work, for example if a package list could not be renewed.
    Continue,
    /// This route to the eBPF toolchain is closed; another one is needed.
    CloseRoute(Route),
}

/// The ways to get a missing part of the eBPF toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// Debian's compiler, sources and LLVM, by apt.
    DebianPackages,
    /// A pinned nightly, by rustup.
    RustupNightly,
    /// bpf-linker built here against the compiler's LLVM.
    LinkerBuild,
    /// bpf-linker's own release, with its LLVM inside.
    LinkerRelease,
}

impl Step {
    pub fn new(what: impl Into<String>, why: impl Into<String>, invocation: Invocation) -> Self {
        Self {
            what: what.into(),
            why: why.into(),
            invocation,
            on_failure: OnFailure::Stop,
        }
    }

    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }
}

/// The time since its start. Durations of steps are printed, but nothing depends on them.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "durations are shown to a person; xtask is no part of the detector"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Carries steps out, or with `--dry-run` only prints them.
#[derive(Clone, Copy, Debug)]
pub struct Runner {
    pub dry_run: bool,
    pub is_root: bool,
}

impl Runner {
    pub fn heading(&self, title: &str) {
        println!("==> {title}");
    }

    pub fn note(&self, text: &str) {
        println!("    {text}");
    }

    /// Prints a step, then carries it out unless this is a dry run.
    pub fn run(&self, step: &Step) -> Result<()> {
        self.announce(step);
        if self.dry_run {
            return Ok(());
        }
        let watch = Stopwatch::start();
        let result = step.invocation.run(self.is_root);
        let outcome = if result.is_ok() {
            "done in"
        } else {
            "failed after"
        };
        self.note(&format!("{outcome} {}", seconds(watch.elapsed())));
        result
    }

    /// Prints a step, then replaces this process by its command. Returns only in a dry run or on an
    /// error.
    pub fn exec(&self, step: &Step) -> Result<()> {
        self.announce(step);
        if self.dry_run {
            return Ok(());
        }
        Err(step.invocation.exec(self.is_root))
    }

    fn announce(&self, step: &Step) {
        println!("  > {}", step.what);
        self.note(&format!("why: {}", step.why));
        let root = match (step.invocation.root, self.is_root) {
            (false, _) => "",
            (true, true) => " (needs root, which we are)",
            (true, false) => " (needs root: by sudo)",
        };
        self.note(&format!(
            "$ {}{root}",
            step.invocation.display(self.is_root)
        ));
    }
}

/// A duration such as `0.4 s` or `1 m 05 s`.
pub fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} m {:02} s", whole / 60, whole % 60)
    }
}
