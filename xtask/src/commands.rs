//! The subcommands: each is a setup, some builds and one last command.

use anyhow::{Result, bail};

use crate::{
    ebpf,
    facts::Toolchain,
    invocation::Invocation,
    plan::Needs,
    setup,
    step::{Runner, Step},
    workspace::{Profile, Workspace},
};

/// Installs everything that any subcommand needs. Only `test-vm` needs what boots other kernels: a
/// machine on which that cannot be had is set up all the same.
pub fn setup(runner: &Runner) -> Result<()> {
    if let Err(why) = setup::prepare(runner, Needs::VM_TOOLS) {
        runner.note(&format!("no kernel can be booted here: {why:#}"));
    }
    require(setup::prepare(runner, Needs::ALL)?.ebpf).map(|_| ())
}

pub fn build_ebpf(runner: &Runner, workspace: &Workspace) -> Result<()> {
    let prepared = setup::prepare(runner, Needs::BUILD)?;
    build_object(runner, workspace, prepared.ebpf)
}

/// Builds and starts the daemon on this host; `args` are the arguments of `detector run`.
pub fn run(runner: &Runner, workspace: &Workspace, args: &[String]) -> Result<()> {
    match setup::prepare(runner, Needs::BUILD)?.ebpf {
        Ok(toolchain) => {
            runner.heading("build the eBPF object");
            ebpf::build(runner, workspace, &toolchain)?;
        }
        Err(why) => {
            runner.heading("going on without eBPF: the daemon will poll the sock_diag source");
            println!("{why}");
        }
    }
    build_host(runner, Profile::Release, &["detector-user"])?;
    runner.heading("start the daemon (Ctrl-C stops it)");
    runner.exec(&Step::new(
        "detector run",
        "prints every verdict as it changes; loading eBPF programs needs root",
        Invocation::new(workspace.binary(Profile::Release, "detector"))
            .args(["run"])
            .args(args)
            .needing_root(),
    ))
}

/// Builds the daemon and `program` of the tests package, and replaces this process by `program`
/// with `args`.
pub fn lab_program(
    runner: &Runner,
    workspace: &Workspace,
    program: &str,
    args: &[String],
) -> Result<()> {
    let prepared = setup::prepare(runner, Needs::LAB)?;
    build_object(runner, workspace, prepared.ebpf)?;
    // All binaries of the package are built, because the lab starts some of them.
    build_host(
        runner,
        Profile::Release,
        &["detector-user", "detector-tests"],
    )?;
    runner.heading(&format!("start {program}"));
    runner.exec(&Step::new(
        format!("{program} {}", args.join(" ")).trim_end(),
        "its hosts are network namespaces, which take root to make; they go when it ends",
        Invocation::new(workspace.binary(Profile::Release, program))
            .args(args)
            .env(
                "DETECTOR_BIN",
                workspace.binary(Profile::Release, "detector"),
            )
            .needing_root(),
    ))
}

pub fn build_object(
    runner: &Runner,
    workspace: &Workspace,
    toolchain: Result<Toolchain, String>,
) -> Result<()> {
    runner.heading("build the eBPF object");
    match toolchain {
        Ok(toolchain) => ebpf::build(runner, workspace, &toolchain),
        // A dry run has printed the steps whose result would be needed here.
        Err(why) if runner.dry_run => {
            runner.note(&why);
            Ok(())
        }
        Err(why) => bail!(why),
    }
}

/// Builds all binaries of `packages` for this host.
pub fn build_host(runner: &Runner, profile: Profile, packages: &[&str]) -> Result<()> {
    let names = packages.join(" and ");
    runner.heading(&format!("build {names}"));
    let release = (profile == Profile::Release).then_some("--release");
    runner.run(&Step::new(
        format!("compile {names}"),
        "for this host, with the Rust you already use",
        Invocation::cargo("build")
            .args(["--bins"])
            .args(release)
            .args(packages.iter().flat_map(|name| ["--package", name])),
    ))
}

fn require(toolchain: Result<Toolchain, String>) -> Result<Toolchain> {
    toolchain.map_err(|why| anyhow::anyhow!(why))
}
