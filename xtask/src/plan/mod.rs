//! Turns facts into steps. It is pure, so that `--dry-run` prints exactly what a real run would do.
//!
//! A plan covers what is known now. After its steps have run, the machine is inspected again and a
//! new plan is made, until nothing is left to do.

use std::collections::BTreeMap;

use crate::{
    facts::{Facts, Toolchain},
    invocation::Invocation,
    pins::{ARM64_TOOLS, CPP, DEBIAN, DIST_TOOLS, LAB_TOOLS, SERVERS, TEST_TOOLS, Tool, VM_TOOLS},
    step::{OnFailure, Route, Step},
};

mod by_hand;
#[cfg(test)]
mod tests;
mod toolchain;

/// What a subcommand needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// The toolchain that builds the eBPF object.
    pub ebpf: bool,
    pub lab_tools: bool,
    pub test_tools: bool,
    /// What makes the Debian package.
    pub dist_tools: bool,
    /// What builds libFuzzer.
    pub fuzz_tools: bool,
    /// What boots other kernels.
    pub vm_tools: bool,
    /// What builds for arm64 and boots its kernels.
    pub arm64_tools: bool,
}

impl Needs {
    pub const BUILD: Self = Self {
        ebpf: true,
        lab_tools: false,
        test_tools: false,
        dist_tools: false,
        fuzz_tools: false,
        vm_tools: false,
        arm64_tools: false,
    };
    pub const DIST: Self = Self {
        dist_tools: true,
        ..Self::BUILD
    };
    pub const LAB: Self = Self {
        lab_tools: true,
        ..Self::BUILD
    };
    pub const ALL: Self = Self {
        test_tools: true,
        ..Self::LAB
    };
    pub const FUZZ: Self = Self {
        fuzz_tools: true,
        ..Self::UNIT
    };
    pub const VM: Self = Self {
        vm_tools: true,
        ..Self::LAB
    };
    pub const ARM64: Self = Self {
        arm64_tools: true,
        ..Self::VM
    };
    pub const VM_TOOLS: Self = Self {
        ebpf: false,
        ..Self::VM
    };
    pub const UNIT: Self = Self {
        ebpf: false,
        ..Self::BUILD
    };
}

/// The step after which apt's offers count as known.
pub const RENEW_LISTS: &str = "renew apt's package lists";

/// The routes that are closed in this run, each with the reason.
pub type Closed = BTreeMap<Route, String>;

/// The steps to take now, and what needs no step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What was searched for and found.
    pub present: Vec<String>,
    pub steps: Vec<Step>,
    pub ebpf: Ebpf,
    /// What is missing besides the eBPF toolchain, and cannot be installed from here.
    pub blocked: Vec<String>,
}

/// The result of the search for an eBPF toolchain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ebpf {
    /// No toolchain is needed.
    #[default]
    NotNeeded,
    /// There is one, and it was tested.
    Ready(Toolchain),
    /// The toolchain that there will be after the steps.
    Expected(Toolchain),
    /// Apt's lists are too old to decide; they are renewed first.
    AfterRenewal,
    /// There is no way to get one; the text says why, and what a person can do.
    Impossible(String),
}

/// Makes a plan for `needs`, without the routes that have already failed.
pub fn plan(facts: &Facts, needs: Needs, closed: &Closed) -> Plan {
    let mut plan = Plan::default();
    if needs.ebpf {
        toolchain::plan(facts, closed, &mut plan);
    }
    let mut tools: Vec<Tool> = Vec::new();
    if needs.lab_tools {
        tools.extend(LAB_TOOLS);
    }
    if needs.test_tools {
        tools.extend(TEST_TOOLS);
    }
    if needs.vm_tools {
        tools.extend(VM_TOOLS);
    }
    if needs.arm64_tools {
        tools.extend(ARM64_TOOLS);
    }
    // The package is tested where it can be installed.
    let tests_package = needs.test_tools && facts.apt.is_some();
    if needs.dist_tools || tests_package {
        tools.extend(DIST_TOOLS);
    }
    if tests_package {
        tools.push(DEBIAN);
    }
    if needs.fuzz_tools {
        tools.push(CPP);
    }
    plan_tools(facts, &tools, &mut plan);
    if needs.test_tools {
        plan_servers(facts, &mut plan);
    }
    renew_lists_first(facts, &mut plan);
    plan
}

fn plan_tools(facts: &Facts, tools: &[Tool], plan: &mut Plan) {
    let (there, missing): (Vec<Tool>, Vec<Tool>) =
        tools.iter().partition(|tool| facts.has(tool.command));
    if !there.is_empty() {
        let names: Vec<&str> = there.iter().map(|tool| tool.command).collect();
        plan.present.push(format!("commands: {}", names.join(", ")));
    }
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    if facts.apt.is_none() || !facts.can_be_root() {
        plan.blocked.extend(missing.iter().map(Tool::by_hand));
        return;
    }
    let reasons: Vec<String> = missing.iter().map(Tool::reason).collect();
    plan.steps.push(Step::new(
        format!("install {}", packages.join(", ")),
        reasons.join("; "),
        apt_install(&packages),
    ));
}

fn plan_servers(facts: &Facts, plan: &mut Plan) {
    let (there, missing): (Vec<Tool>, Vec<Tool>) =
        SERVERS.iter().partition(|tool| facts.has(tool.command));
    if !there.is_empty() {
        let names: Vec<&str> = there.iter().map(|tool| tool.command).collect();
        plan.present.push(format!("commands: {}", names.join(", ")));
    }
    if facts.apt.is_none() {
        plan.blocked.extend(missing.iter().map(Tool::by_hand));
        return;
    }
    for tools in missing.chunk_by(|one, next| one.package == next.package) {
        plan.steps.push(unpack(facts, tools[0].package, tools));
    }
}

fn unpack(facts: &Facts, package: &'static str, tools: &[Tool]) -> Step {
    let script = "mkdir -p \"$1\" && cd \"$1\" && apt-get download \"$2\" && \
                  dpkg-deb -x \"$2\"_*.deb . && rm \"$2\"_*.deb";
    let into = facts.cache.join(package);
    let reasons = tools.iter().map(Tool::reason).collect::<Vec<_>>();
    Step::new(
        format!("unpack {package} into {}", into.display()),
        format!(
            "{}; installed, the package would start a server, so it is only unpacked",
            reasons.join("; ")
        ),
        Invocation::new("sh")
            .args(["-c", script, "unpack"])
            .args([into])
            .args([package]),
    )
}

/// Old lists name packages that the mirror no longer has.
fn renew_lists_first(facts: &Facts, plan: &mut Plan) {
    let uses_apt = plan.ebpf == Ebpf::AfterRenewal
        || plan
            .steps
            .iter()
            .any(|step| step.invocation.display(true).contains("apt-get"));
    if !uses_apt || facts.apt.as_ref().is_none_or(|apt| apt.fresh) || !facts.can_be_root() {
        return;
    }
    let renew = Step::new(
        RENEW_LISTS,
        "old lists name packages that the mirror no longer has",
        Invocation::new("apt-get")
            .args(["update", "--quiet", "-o", "DPkg::Lock::Timeout=120"])
            .needing_root(),
    );
    plan.steps.insert(0, renew.on_failure(OnFailure::Continue));
}

fn apt_install(packages: &[&str]) -> Invocation {
    Invocation::new("apt-get")
        .args(["install", "--yes", "--quiet", "--no-install-recommends"])
        .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .needing_root()
}
