//! The text for cases in which setup can do nothing: the reasons, and commands that a person can
//! run.

use super::Closed;
use crate::{
    facts::Facts,
    pins::{BPF_LINKER, DEBIAN_LLVM, DEBIAN_RUST, MSRV, NIGHTLY, Tool},
    step::Route,
};

/// What a person can do if there is no way to an eBPF toolchain.
pub fn impossible(facts: &Facts, closed: &Closed) -> String {
    let mut text = String::from("there is no way to an eBPF toolchain from here:\n");
    for toolchain in &facts.toolchains {
        let lacks = if !toolchain.has_source {
            "has no rust-src"
        } else if toolchain.release < MSRV {
            "is too old"
        } else {
            "has no bpf-linker that reads its bitcode"
        };
        text += &format!("  - {} {lacks}\n", toolchain.name);
    }
    for (route, why) in closed {
        text += &format!("  - {}: {why}\n", route.name());
    }
    if facts.apt.is_none() {
        text += "  - this is no Debian with apt\n";
    } else if !facts.can_be_root() {
        text += "  - apt needs root, and there is no sudo\n";
    } else if !closed.contains_key(&Route::DebianPackages) {
        text += &format!("  - apt offers no rustc-web {MSRV} or later\n");
    }
    if !facts.has("rustup") {
        text += "  - rustup is not installed\n";
    } else if !(facts.has("cargo-binstall") || facts.has("curl") && facts.has("zstd")) {
        text += "  - neither cargo-binstall nor curl with zstd is there to fetch bpf-linker\n";
    }
    text + "Install one by hand, then run the same command again:\n" + &commands()
}

fn commands() -> String {
    let rustup =
        format!("rustup toolchain install {NIGHTLY} --profile minimal --component rust-src\n");
    let release = format!("cargo binstall bpf-linker@{BPF_LINKER}");
    let debian = DEBIAN_RUST.join(" ");
    let install = |prepare: &str| {
        format!("    {prepare}\n    {rustup}    cargo install cargo-binstall && {release}\n")
    };
    format!(
        "  Debian 12 and later:\n    sudo apt-get install {debian} llvm-{DEBIAN_LLVM}-dev g++\n    \
         LLVM_PREFIX=$(llvm-config-{DEBIAN_LLVM} --prefix) cargo install bpf-linker --version \
         {BPF_LINKER} --locked --no-default-features --features llvm-{DEBIAN_LLVM}\n\
         \x20 Ubuntu:\n{}  Fedora:\n{}  Arch:\n{}  openSUSE:\n{}  Alpine:\n{}",
        install("sudo apt-get install rustup gcc curl zstd"),
        install("sudo dnf install rustup gcc curl zstd && rustup-init -y"),
        install("sudo pacman -S rustup gcc curl zstd"),
        install("sudo zypper install rustup gcc curl zstd"),
        install("sudo apk add rustup gcc musl-dev curl zstd && rustup-init -y"),
    )
}

impl Tool {
    pub fn reason(&self) -> String {
        format!("{}: {}", self.command, self.why)
    }

    pub fn by_hand(&self) -> String {
        let Self {
            command,
            package,
            why,
        } = self;
        format!("`{command}` is missing ({why}); install it (Debian's package: {package})")
    }
}

impl Route {
    fn name(self) -> &'static str {
        match self {
            Self::DebianPackages => "Debian's packages",
            Self::RustupNightly => "a nightly by rustup",
            Self::LinkerBuild => "building bpf-linker",
            Self::LinkerRelease => "bpf-linker's release",
        }
    }
}
