//! A guest's root file system: busybox, the tools of the lab, the daemon and the tests, and the
//! kernel's modules. It is unpacked into memory (initramfs).
//!
//! Programs come with their libraries. Nothing is compressed: to unpack would
//! take an emulated processor longer than to read.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    archive::Kernel,
    checks::{Check, list, suites},
    guest::Guest,
    origin::Origin,
};
use crate::{
    invocation::Invocation,
    step::{Runner, Step},
    workspace::Workspace,
};

/// What the lab and its tests call.
const TOOLS: [&str; 8] = [
    "bpftool", "ip", "nft", "nsenter", "setpriv", "ss", "tc", "unshare",
];
/// Commands of busybox that must not take the place of [`TOOLS`], nor of itself.
const NOT_BUSYBOX: [&str; 6] = ["busybox", "ip", "nsenter", "setpriv", "tc", "unshare"];
/// The parts of a kernel's modules that networks use, besides its processor's ciphers: the kernel
/// loads them as they are needed.
const MODULES: [&str; 13] = [
    "crypto",
    "drivers/net/dummy.ko",
    "drivers/net/tun.ko",
    "drivers/net/veth.ko",
    "lib",
    "net/802",
    "net/bridge",
    "net/core",
    "net/ipv4",
    "net/ipv6",
    "net/llc",
    "net/netfilter",
    "net/sched",
];

/// Programs of a build: where each is, and where it goes.
#[derive(Clone, Debug, Default)]
pub struct Programs(BTreeMap<PathBuf, String>);

/// Builds the daemon and the tests of these checks, and finds them.
pub fn build(
    runner: &Runner,
    workspace: &Workspace,
    origin: &Origin,
    checks: &[Check],
) -> Result<Programs> {
    let daemon = Invocation::cargo("build").args(["--bins", "--package", "detector-user"]);
    runner.run(&Step::new(
        "compile the daemon",
        "it runs in the guests as it does here",
        origin.builds(daemon),
    ))?;
    let targets = suites(checks)
        .into_iter()
        .flat_map(|suite| ["--test", suite]);
    let build = Invocation::cargo("test")
        .args(["--package", "detector-tests", "--no-run"])
        .args(targets);
    let build = origin.builds(build);
    runner.run(&Step::new(
        "compile the tests",
        "they run in the guests as they do here",
        build.clone(),
    ))?;
    if runner.dry_run {
        return Ok(Programs::default());
    }
    let told = build.args(["--message-format=json"]).output();
    let told = told.context("cargo does not tell where the tests are")?;
    let mut programs = tests(&told, checks)?;
    for name in ["detector", "lab-peer"] {
        let at = origin.built(workspace).join(name);
        programs.insert(at, format!("lab/{name}"));
    }
    Ok(Programs(programs))
}

/// The test programs in cargo's messages.
fn tests(messages: &str, checks: &[Check]) -> Result<BTreeMap<PathBuf, String>> {
    let wanted = suites(checks);
    let mut found = BTreeMap::new();
    for message in messages.lines() {
        let message: Value = serde_json::from_str(message)?;
        let (name, program) = (&message["target"]["name"], &message["executable"]);
        let is_test = message["target"]["kind"][0] == "test";
        if let (true, Some(name), Some(program)) = (is_test, name.as_str(), program.as_str())
            && wanted.contains(name)
        {
            found.insert(PathBuf::from(program), format!("lab/deps/{name}"));
        }
    }
    ensure!(
        found.len() == wanted.len(),
        "not all of {wanted:?} were built: {found:?}"
    );
    Ok(found)
}

/// The part that all kernels share.
#[derive(Debug)]
pub struct Image {
    origin: Origin,
    folder: PathBuf,
    programs: PathBuf,
}

impl Image {
    /// Packs programs and checks into an archive in `folder`.
    pub fn pack(
        folder: &Path,
        origin: &Origin,
        programs: &Programs,
        checks: &[Check],
    ) -> Result<Self> {
        let root = emptied(&folder.join("root"))?;
        for made in [
            "dev", "etc", "lab/deps", "proc", "root", "run", "sys", "tmp", "usr/bin",
        ] {
            fs::create_dir_all(root.join(made))?;
        }
        busybox(origin, &root)?;
        let mut all = programs.0.clone();
        for tool in TOOLS {
            all.insert(origin.command(tool)?, format!("usr/bin/{tool}"));
        }
        for (program, place) in &all {
            let place = root.join(place);
            fs::copy(program, &place).with_context(|| format!("no {}", program.display()))?;
            run(origin.strip(), &[&place])?;
        }
        let all: Vec<&Path> = all.keys().map(PathBuf::as_path).collect();
        for (library, place) in origin.libraries(&all)? {
            put(&library, &root.join(place))?;
        }
        fs::write(root.join("checks"), list(checks))?;
        let init = root.join("init");
        fs::write(&init, include_str!("init.sh"))?;
        run("chmod", &[Path::new("755"), &init])?;
        Ok(Self {
            origin: origin.clone(),
            folder: folder.to_owned(),
            programs: archive(&root, &folder.join("programs.cpio"))?,
        })
    }

    /// A guest with this kernel.
    pub fn with(&self, kernel: &Kernel) -> Result<Guest> {
        let release = &kernel.release;
        let root = emptied(&self.folder.join("modules"))?;
        let into = root.join("lib/modules").join(release);
        let arch = self.origin.arch();
        let ciphers = format!("arch/{}/crypto", arch.in_kernel());
        for part in MODULES.into_iter().chain([ciphers.as_str()]) {
            for part in [part.to_owned(), format!("{part}.xz")] {
                let from = kernel.modules.join("kernel").join(&part);
                let to = into.join("kernel").join(&part);
                if from.exists() {
                    fs::create_dir_all(to.parent().context("a path")?)?;
                    run("cp", &[Path::new("-r"), &from, &to])?;
                }
            }
        }
        for name in ["modules.order", "modules.builtin"] {
            // Only depmod misses it, and says so.
            let _optional = fs::copy(kernel.modules.join(name), into.join(name));
        }
        let unpack =
            r#"find "$0" -name '*.xz' -exec xz -d {} + && depmod -b "$0" "$1" 2>/dev/null"#;
        let unpack = Invocation::new("sh").args(["-c", unpack]);
        unpack.args([&root]).args([release]).run(true)?;
        let modules = archive(&root, &self.folder.join("modules.cpio"))?;
        let initrd = self.folder.join(format!("{release}.cpio"));
        // The kernel unpacks one after the other.
        let whole = [fs::read(&self.programs)?, fs::read(modules)?].concat();
        fs::write(&initrd, whole)?;
        Ok(Guest {
            arch,
            kernel: kernel.clone(),
            initrd,
            log: self.folder.join(format!("{release}.log")),
        })
    }
}

fn busybox(origin: &Origin, root: &Path) -> Result<()> {
    for folder in ["bin", "sbin"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let busybox = origin.command("busybox")?;
    put(&busybox, &root.join("bin/busybox"))?;
    for (library, place) in origin.libraries(&[&busybox])? {
        put(&library, &root.join(place))?;
    }
    // This machine's can be asked, whatever the guest's processor is.
    let busybox = Origin::Here.command("busybox")?;
    let commands = Invocation::new(&busybox).args(["--list"]).output();
    let commands = commands.context("busybox does not list its commands")?;
    for command in commands.lines().filter(|name| !NOT_BUSYBOX.contains(name)) {
        std::os::unix::fs::symlink("/bin/busybox", root.join("bin").join(command))?;
    }
    // The kernel calls it by this path.
    std::os::unix::fs::symlink("/bin/busybox", root.join("sbin/modprobe"))?;
    Ok(())
}

fn archive(root: &Path, into: &Path) -> Result<PathBuf> {
    let script = r#"cd "$0" && find . | cpio --quiet -o -H newc --owner 0:0 >"$1""#;
    let pack = Invocation::new("sh").args(["-c", script]);
    pack.args([root, into]).run(true)?;
    Ok(into.to_owned())
}

fn put(file: &Path, at: &Path) -> Result<()> {
    fs::create_dir_all(at.parent().context("a path")?)?;
    fs::copy(file, at).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

fn emptied(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    Ok(folder.to_owned())
}

fn run(program: &str, args: &[&Path]) -> Result<()> {
    Invocation::new(program).args(args).run(true)
}
