//! Builds the eBPF object, `target/ebpf/detector.o`; the result has the same bytes wherever it is
//! built.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    facts::{Toolchain, cargo_home},
    invocation::Invocation,
    step::{Runner, Step},
    workspace::Workspace,
};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object with `toolchain`, and puts it where the daemon's build looks for it.
pub fn build(runner: &Runner, workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    let scratch = workspace.root.join("target/ebpf-build");
    runner.run(&Step::new(
        format!("compile detector-ebpf with {}", toolchain.name),
        "the kernel side; its own target directory keeps it apart from the host's builds",
        compile(workspace, toolchain, &scratch)?,
    ))?;
    let built = scratch.join(TARGET).join("release/detector-ebpf");
    let object = workspace.object();
    if runner.dry_run {
        runner.note(&format!(
            "then copied to {} if its bytes changed",
            object.display()
        ));
        return Ok(());
    }
    let size = install(&built, &object)?;
    let sum = Invocation::new("sha256sum").args([&object]).output();
    let sum = sum
        .as_deref()
        .and_then(|line| line.split(' ').next())
        .unwrap_or("unknown");
    runner.note(&format!("{}: {size} bytes, sha256 {sum}", object.display()));
    Ok(())
}

/// The command that compiles the kernel side.
fn compile(workspace: &Workspace, toolchain: &Toolchain, scratch: &Path) -> Result<Invocation> {
    let linker = toolchain
        .linker
        .clone()
        .unwrap_or_else(|| "bpf-linker".into());
    Ok(Invocation::new(&toolchain.cargo)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "detector-ebpf",
        ])
        .args([
            "--bin",
            "detector-ebpf",
            "-Zbuild-std=core",
            "--target",
            TARGET,
        ])
        .args(["--manifest-path"])
        .args([workspace.root.join("Cargo.toml")])
        .scrubbed()
        .env("RUSTC", &toolchain.rustc)
        // -Zbuild-std is unstable; this makes a release compiler accept it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", scratch)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(workspace, toolchain)?.join("\x1f"),
        ))
}

/// Keeps this machine's paths out of the object; later prefixes win.
///
/// bpf-linker's `--btf` is not used: with it, the verifier refuses the object ("number of funcs in
/// func_info doesn't match number of subprogs"), and the loader needs no types.
fn flags(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<String>> {
    let sources = toolchain.sysroot.join("lib/rustlib/src/rust");
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![
        remap(&cargo_home()?, "/cargo"),
        remap(&sources, "/rust"),
        remap(&workspace.root, "."),
    ])
}

/// Copies the object only if its bytes changed, because a newer file triggers a rebuild of the
/// daemon.
fn install(built: &PathBuf, object: &Path) -> Result<usize> {
    let bytes = fs::read(built).with_context(|| {
        format!(
            "the build succeeded and left no object at {}",
            built.display()
        )
    })?;
    if fs::read(object).is_ok_and(|present| present == bytes) {
        return Ok(bytes.len());
    }
    let directory = object
        .parent()
        .context("the object's path has no directory")?;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    // Written to a temporary name and renamed, so that a concurrent build never sees half a file.
    let aside = object.with_extension("o.new");
    fs::write(&aside, &bytes)
        .and_then(|()| fs::rename(&aside, object))
        .with_context(|| format!("cannot write {}", object.display()))?;
    Ok(bytes.len())
}
