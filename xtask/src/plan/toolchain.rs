//! The routes to an eBPF toolchain, in the order in which they are tried.

use std::path::PathBuf;

use super::{Closed, Ebpf, Plan, apt_install, by_hand};
use crate::{
    facts::{Facts, Origin, Release, Toolchain},
    invocation::Invocation,
    pins::{BPF_LINKER, BPF_LINKER_LLVM, DEBIAN_LLVM, DEBIAN_RUST, MSRV, NIGHTLY},
    step::{OnFailure, Route, Step},
};

/// Plans for a compiler with the sources of `core` and a linker that reads its bitcode: an existing
/// one, else Debian's packages, else a pinned nightly.
pub fn plan(facts: &Facts, closed: &Closed, plan: &mut Plan) {
    let usable = || {
        facts
            .toolchains
            .iter()
            .filter(|it| it.has_source && it.release >= MSRV)
    };
    if let Some(ready) = usable().find(|it| it.linker.is_some()) {
        plan.present.push(describe(ready));
        plan.ebpf = Ebpf::Ready(ready.clone());
        return;
    }
    for toolchain in usable() {
        if let Some((linker, steps)) = linker_steps(facts, closed, toolchain) {
            plan.present
                .push(format!("{} with the sources of core", toolchain.name));
            plan.steps.extend(steps);
            plan.ebpf = Ebpf::Expected(with_linker(toolchain, linker));
            return;
        }
    }
    for toolchain in [debian(facts, closed), nightly(facts, closed)]
        .into_iter()
        .flatten()
    {
        let (toolchain, step) = match toolchain {
            NewToolchain::Known(toolchain, step) => (toolchain, step),
            NewToolchain::AfterRenewal => {
                plan.ebpf = Ebpf::AfterRenewal;
                return;
            }
        };
        if let Some((linker, steps)) = linker_steps(facts, closed, &toolchain) {
            plan.steps.push(*step);
            plan.steps.extend(steps);
            plan.ebpf = Ebpf::Expected(with_linker(&toolchain, linker));
            return;
        }
    }
    plan.ebpf = Ebpf::Impossible(by_hand::impossible(facts, closed));
}

fn describe(ready: &Toolchain) -> String {
    let linker = ready.linker.clone().unwrap_or_default();
    format!(
        "eBPF toolchain: {} ({}), its bitcode read by {}",
        ready.name,
        ready.rustc.display(),
        linker.display()
    )
}

fn with_linker(toolchain: &Toolchain, linker: PathBuf) -> Toolchain {
    Toolchain {
        linker: Some(linker),
        ..toolchain.clone()
    }
}

enum NewToolchain {
    Known(Toolchain, Box<Step>),
    AfterRenewal,
}

/// Debian's packages, if apt offers a compiler that is new enough.
fn debian(facts: &Facts, closed: &Closed) -> Option<NewToolchain> {
    let apt = facts.apt.as_ref()?;
    if !facts.can_be_root() || closed.contains_key(&Route::DebianPackages) {
        return None;
    }
    let offered = DEBIAN_RUST.iter().all(|package| {
        let version = apt
            .offers
            .get(*package)
            .and_then(|version| Release::parse(version));
        version.is_some_and(|version| version >= MSRV)
    });
    if !offered {
        return (!apt.fresh).then_some(NewToolchain::AfterRenewal);
    }
    let step = Step::new(
        format!("install {} by apt", DEBIAN_RUST.join(", ")),
        "the kernel side is compiled with a Rust that carries the sources of core; \
         your own Rust stays as it is",
        apt_install(&DEBIAN_RUST),
    )
    .on_failure(OnFailure::CloseRoute(Route::DebianPackages));
    let toolchain = Toolchain {
        name: "Debian's rustc-web".to_owned(),
        origin: Origin::System,
        rustc: "/usr/bin/rustc".into(),
        cargo: "/usr/bin/cargo".into(),
        sysroot: "/usr".into(),
        release: MSRV,
        llvm: DEBIAN_LLVM,
        has_source: true,
        linker: None,
    };
    Some(NewToolchain::Known(toolchain, Box::new(step)))
}

/// A pinned nightly, if there is rustup.
fn nightly(facts: &Facts, closed: &Closed) -> Option<NewToolchain> {
    if !facts.has("rustup") || closed.contains_key(&Route::RustupNightly) {
        return None;
    }
    let step = Step::new(
        format!("install {NIGHTLY} with rust-src by rustup"),
        "the kernel side is compiled with a Rust that carries the sources of core; \
         your default toolchain stays as it is",
        Invocation::new("rustup")
            .args(["toolchain", "install", NIGHTLY, "--profile", "minimal"])
            .args(["--component", "rust-src", "--no-self-update"]),
    )
    .on_failure(OnFailure::CloseRoute(Route::RustupNightly));
    let host = format!("{NIGHTLY}-{}-unknown-linux-gnu", std::env::consts::ARCH);
    let home = facts.rustup_home.join("toolchains").join(host);
    let toolchain = Toolchain {
        name: format!("rustup's {NIGHTLY}"),
        origin: Origin::Rustup,
        rustc: home.join("bin/rustc"),
        cargo: home.join("bin/cargo"),
        sysroot: home,
        release: MSRV,
        llvm: DEBIAN_LLVM,
        has_source: true,
        linker: None,
    };
    Some(NewToolchain::Known(toolchain, Box::new(step)))
}

/// The steps that get a linker for `toolchain`, and its path. A distribution's compiler fits the
/// distribution's LLVM, and rustup's fits the linker's own release.
fn linker_steps(
    facts: &Facts,
    closed: &Closed,
    toolchain: &Toolchain,
) -> Option<(PathBuf, Vec<Step>)> {
    let build = || linker_build(facts, closed, toolchain.llvm);
    let release = || linker_release(facts, closed);
    match toolchain.origin {
        Origin::System => build().or_else(release),
        Origin::Rustup => release().or_else(build),
    }
}

fn linker_build(facts: &Facts, closed: &Closed, llvm: u32) -> Option<(PathBuf, Vec<Step>)> {
    if closed.contains_key(&Route::LinkerBuild) || !BPF_LINKER_LLVM.contains(&llvm) {
        return None;
    }
    let package = format!("llvm-{llvm}-dev");
    let from_apt = facts
        .apt
        .as_ref()
        .is_some_and(|apt| facts.can_be_root() && apt.offers.contains_key(&package));
    let mut packages: Vec<&str> = Vec::new();
    let prefix = match facts.llvm.get(&llvm) {
        Some(prefix) => prefix.clone(),
        None if from_apt => {
            packages.push(&package);
            format!("/usr/lib/llvm-{llvm}").into()
        }
        None => return None,
    };
    // LLVM is C++, so linking to it needs the C++ library, which gcc alone does not contain.
    match facts.has("c++") {
        true => {}
        false if from_apt => packages.push("g++"),
        false => return None,
    }
    let mut steps = Vec::new();
    if !packages.is_empty() {
        steps.push(Step::new(
            format!("install {} by apt", packages.join(", ")),
            "bpf-linker has to use the same LLVM as the compiler, or it cannot read its bitcode",
            apt_install(&packages),
        ));
    }
    let root = facts
        .cache
        .join(format!("bpf-linker-{BPF_LINKER}-llvm{llvm}"));
    steps.push(Step::new(
        format!(
            "build bpf-linker {BPF_LINKER} for LLVM {llvm} into {}",
            root.display()
        ),
        "it turns the compiler's bitcode into the BPF object (about a minute, once)",
        Invocation::cargo("install")
            .args(["bpf-linker", "--version", BPF_LINKER])
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{llvm}"),
                "--root",
            ])
            .args([&root])
            .env("LLVM_PREFIX", prefix),
    ));
    let closing = |step: Step| step.on_failure(OnFailure::CloseRoute(Route::LinkerBuild));
    Some((
        root.join("bin/bpf-linker"),
        steps.into_iter().map(closing).collect(),
    ))
}

fn linker_release(facts: &Facts, closed: &Closed) -> Option<(PathBuf, Vec<Step>)> {
    if closed.contains_key(&Route::LinkerRelease) {
        return None;
    }
    let root = facts.cache.join(format!("bpf-linker-{BPF_LINKER}-release"));
    let bin = root.join("bin");
    let fetch = if facts.has("cargo-binstall") {
        Invocation::new("cargo-binstall")
            .args(["bpf-linker", "--version", BPF_LINKER, "--no-confirm"])
            .args(["--disable-strategies", "compile", "--root"])
            .args([&root])
    } else if ["curl", "tar", "zstd"].iter().all(|tool| facts.has(tool)) {
        let arch = std::env::consts::ARCH;
        let url = format!(
            "https://github.com/aya-rs/bpf-linker/releases/download/v{BPF_LINKER}/\
             bpf-linker-{arch}-unknown-linux-musl.tar.zst"
        );
        let script = "set -o pipefail; mkdir -p \"$1\" && \
                      curl --fail --location --silent --show-error \"$2\" | tar --zstd -xf - -C \"$1\"";
        Invocation::new("bash")
            .args(["-c", script, "fetch"])
            .args([&bin])
            .args([url])
    } else {
        return None;
    };
    let step = Step::new(
        format!(
            "fetch the release of bpf-linker {BPF_LINKER} into {}",
            bin.display()
        ),
        "it turns the compiler's bitcode into the BPF object, and has its own LLVM inside",
        fetch,
    )
    .on_failure(OnFailure::CloseRoute(Route::LinkerRelease));
    Some((bin.join("bpf-linker"), vec![step]))
}
