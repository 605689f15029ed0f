//! `cargo xtask test-vm`: lab tests on other kernels than this machine's.
//!
//! [`archive`] finds Debian's kernels and fetches them with [`apt`], [`image`] packs a root file system
//! with the daemon, the lab and a [`checks`] list, [`guest`] boots it in QEMU, and [`table`] shows
//! what was found. What differs by processor is in [`arch`], and where a guest's programs come from
//! in [`origin`]: [`arm64`] builds for a processor that this machine does not have. The guest is emulated, because build machines often have no KVM; that is slow, so the lab's
//! clients call less often there.

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    commands::build_object,
    facts::cache_dir,
    plan::Needs,
    setup,
    step::{Runner, Stopwatch, seconds},
    workspace::Workspace,
};

mod apt;
mod arch;
mod archive;
mod arm64;
mod checks;
mod guest;
mod image;
mod origin;
mod table;

use arch::Arch;
use archive::{Archive, Kernel};
use guest::{Guest, Seen};
use image::Image;
use origin::Origin;

/// The kernels that are tested if none are named, besides [`NEWEST`].
const KERNELS: [&str; 8] = ["5.10", "6.1", "6.12", "6.16", "6.17", "6.18", "7.0", "7.2"];
/// The name of the newest kernel that Debian offers.
const NEWEST: &str = "newest";
/// The kernels that every change has to pass: the oldest, the oldest with all tracepoints, and the
/// newest.
const CHECKED: [&str; 3] = ["5.10", "6.1", NEWEST];
/// The checks of that run: one of each subject, so that it takes minutes. The stalled flow, which
/// takes longest, is none of them.
const ALWAYS: [&str; 9] = [
    "support",
    "cut",
    "deaf host",
    "destroy",
    "refuse",
    "tune",
    "keepalive",
    "clock",
    "suspend",
];

/// The options of `cargo xtask test-vm`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// The kernels, as in `5.10,6.1,newest`; without it all that are known.
    #[arg(long, value_name = "VERSIONS", value_delimiter = ',')]
    kernels: Vec<String>,
    /// The guests' processor. For arm64 everything is built anew, which takes ten minutes or more.
    #[arg(long, value_enum, default_value_t)]
    arch: Arch,
    /// Print the table of docs/kernels.md as well.
    #[arg(long)]
    markdown: bool,
    /// Only checks whose name contains one of these.
    checks: Vec<String>,
}

/// Runs the checks on all kernels that are asked for.
pub fn run(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let needs = match options.arch {
        Arch::Amd64 => Needs::VM,
        Arch::Arm64 => Needs::ARM64,
    };
    let prepared = setup::prepare(runner, needs)?;
    build_object(runner, workspace, prepared.ebpf)?;
    on_kernels(runner, workspace, options)
}

/// The run that every change has to pass. Where QEMU cannot be had it says so and succeeds.
pub fn check(runner: &Runner, workspace: &Workspace) -> Result<()> {
    if let Err(why) = setup::prepare(runner, Needs::VM_TOOLS) {
        runner.note(&format!("skipped: no kernel can be booted here: {why:#}"));
        return Ok(());
    }
    let options = Options {
        kernels: CHECKED.map(str::to_owned).to_vec(),
        checks: ALWAYS.map(str::to_owned).to_vec(),
        ..Options::default()
    };
    on_kernels(runner, workspace, &options)
}

fn on_kernels(runner: &Runner, workspace: &Workspace, options: &Options) -> Result<()> {
    let checks = checks::named(options.arch, &options.checks)?;
    let cache = cache_dir()?.join("kernels");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    runner.heading("build for the guests");
    let origin = match options.arch {
        Arch::Amd64 => Origin::Here,
        Arch::Arm64 if runner.dry_run => {
            runner.note("unpacks Debian's tools and standard library for arm64, builds with them");
            Origin::Here
        }
        Arch::Arm64 => Origin::Arm64(arm64::Root::fetch(&cache)?),
    };
    let programs = image::build(runner, workspace, &origin, &checks)?;
    runner.heading("kernels");
    if runner.dry_run {
        runner.note("fetches Debian's kernels into the cache, packs them and boots each in QEMU");
        return Ok(());
    }
    let kernels = fetch(runner, &cache, options)?;
    let folder = workspace.vm();
    let image = Image::pack(&folder, &origin, &programs, &checks)?;
    let guests = kernels.iter().map(|kernel| image.with(kernel));
    let guests = guests.collect::<Result<VecDeque<Guest>>>()?;
    let seen = boot_all(guests);
    for seen in &seen {
        runner.note(&seen.summary());
    }
    if options.markdown {
        println!("\n{}", table::markdown(&seen));
    }
    let failed: Vec<&str> = seen
        .iter()
        .filter(|seen| !seen.passed())
        .map(|seen| seen.release.as_str())
        .collect();
    match failed.as_slice() {
        [] => Ok(()),
        some => bail!(
            "checks failed on {}; what each guest printed is in {}",
            some.join(", "),
            folder.display()
        ),
    }
}

/// Fetches the kernels that can be had. The others are named with the reason.
fn fetch(runner: &Runner, cache: &Path, options: &Options) -> Result<Vec<Kernel>> {
    let arch = options.arch;
    let all: Vec<String> = match options.kernels.as_slice() {
        [] => arch.kernels().into_iter().map(str::to_owned).collect(),
        some => some.to_vec(),
    };
    let archive = match Archive::open(cache, arch) {
        Ok(archive) => archive,
        Err(why) => {
            runner.note(&format!("skipped: all kernels: {why:#}"));
            return Ok(Vec::new());
        }
    };
    let mut kernels: Vec<Kernel> = Vec::new();
    for name in &all {
        match archive.fetch(name) {
            Ok(kernel) if kernels.iter().any(|other| other.release == kernel.release) => {}
            Ok(kernel) => kernels.push(kernel),
            Err(why) => runner.note(&format!("skipped: kernel {name}: {why:#}")),
        }
    }
    Ok(kernels)
}

/// As many at once as there are processors: each guest uses one.
fn boot_all(guests: VecDeque<Guest>) -> Vec<Seen> {
    let watch = Stopwatch::start();
    let waiting = Mutex::new(guests);
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut seen: Vec<Seen> = thread::scope(|scope| {
        let worker = || -> Vec<Seen> { std::iter::from_fn(next).map(|g| g.run()).collect() };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        let results = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_default());
        results.flatten().collect()
    });
    seen.sort_by(|one, other| one.order.cmp(&other.order));
    println!("    the guests ran for {}", seconds(watch.elapsed()));
    seen
}
