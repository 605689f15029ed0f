//! All versions and package names that setup relies on.

use crate::facts::Release;

/// The oldest compiler that builds this workspace (`rust-version` in Cargo.toml).
pub const MSRV: Release = Release::parse_const(env!("CARGO_PKG_RUST_VERSION"));

/// The nightly that rustup installs if nothing else is available.
pub const NIGHTLY: &str = "nightly-2026-05-20";

/// The linker that turns LLVM bitcode into a BPF object.
pub const BPF_LINKER: &str = "0.13.0";

/// The major versions of LLVM against which [`BPF_LINKER`] can be built.
pub const BPF_LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// The major version of LLVM in Debian's `rustc-web` (1.96).
pub const DEBIAN_LLVM: u32 = 22;

/// Debian's current Rust, which it packages for the web engines of its stable releases: a compiler,
/// its cargo and the sources of `core`, which the BPF target has to compile itself.
pub const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// A command that some part of the project calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    pub command: &'static str,
    /// The name of Debian's package.
    pub package: &'static str,
    pub why: &'static str,
}

/// The tools with which the lab makes hosts, cables and power cuts.
pub const LAB_TOOLS: [Tool; 3] = [
    Tool {
        command: "ip",
        package: "iproute2",
        why: "the lab makes its hosts and cables (network namespaces, veth, bridge) with it",
    },
    Tool {
        command: "nft",
        package: "nftables",
        why: "the lab drops packets with it: silent cuts and random loss",
    },
    Tool {
        command: "nsenter",
        package: "util-linux",
        why: "the lab runs programs inside its hosts with it",
    },
];

/// The tools that only the tests need, besides [`LAB_TOOLS`] and [`SERVERS`].
pub const TEST_TOOLS: [Tool; 4] = [
    Tool {
        command: "bpftool",
        package: "bpftool",
        why: "a test asks the kernel with it that no program or map is left behind",
    },
    Tool {
        command: "dbus-daemon",
        package: "dbus-daemon",
        why: "a test asks on its bus where a unit's cgroup is",
    },
    Tool {
        command: "chromium",
        package: "chromium",
        why: "a test looks at the status page with it",
    },
    Tool {
        command: "tmux",
        package: "tmux",
        why: "a test runs `detector top` in its terminal",
    },
];

/// The tool that makes a clean Debian.
pub const DEBIAN: Tool = Tool {
    command: "mmdebstrap",
    package: "mmdebstrap",
    why: "a test installs the package in a Debian that is made with it",
};

/// The compiler of libFuzzer.
pub const CPP: Tool = Tool {
    command: "c++",
    package: "g++",
    why: "libFuzzer is compiled with it",
};

/// What makes mutants of the rule.
pub const CARGO_MUTANTS: &str = "27.1.0";

/// The tools that make the Debian package.
pub const DIST_TOOLS: [Tool; 2] = [
    Tool {
        command: "dpkg-deb",
        package: "dpkg",
        why: "it packs the package",
    },
    Tool {
        command: "dpkg-shlibdeps",
        package: "dpkg-dev",
        why: "it names the packages of the libraries that the program needs",
    },
];

/// The tools that boot other kernels, besides [`LAB_TOOLS`].
pub const VM_TOOLS: [Tool; 7] = [
    Tool {
        command: "bpftool",
        package: "bpftool",
        why: "tests in the guests ask with it which programs are attached",
    },
    Tool {
        command: "qemu-system-x86_64",
        package: "qemu-system-x86",
        why: "other kernels are booted in it",
    },
    Tool {
        command: "busybox",
        package: "busybox-static",
        why: "the guests with other kernels start with it",
    },
    Tool {
        command: "cpio",
        package: "cpio",
        why: "the guests' files are packed with it",
    },
    Tool {
        command: "depmod",
        package: "kmod",
        why: "the guests find their kernels' modules by it",
    },
    Tool {
        command: "xz",
        package: "xz-utils",
        why: "the modules are compressed with it",
    },
    Tool {
        command: "strip",
        package: "binutils",
        why: "the guests' programs lose their debug information to it",
    },
];

/// The tools that boot arm64 kernels, besides [`VM_TOOLS`].
pub const ARM64_TOOLS: [Tool; 4] = [
    Tool {
        command: "qemu-system-aarch64",
        package: "qemu-system-arm",
        why: "arm64 kernels are booted in it",
    },
    Tool {
        command: "/usr/bin/rustc",
        package: "rustc-web",
        why: "Debian has its standard library for arm64",
    },
    Tool {
        command: "aarch64-linux-gnu-gcc",
        package: "gcc-aarch64-linux-gnu",
        why: "programs for arm64 are linked with it",
    },
    Tool {
        command: "aarch64-linux-gnu-strip",
        package: "binutils-aarch64-linux-gnu",
        why: "programs for arm64 lose their debug information to it",
    },
];

/// Programs of packages whose installation would start a server, so that these are only unpacked into
/// the cache. Those of one package follow each other.
pub const SERVERS: [Tool; 5] = [
    Tool {
        command: "promtool",
        package: "prometheus",
        why: "the alert rules in deploy/prometheus are checked and tested with it",
    },
    Tool {
        command: "prometheus",
        package: "prometheus",
        why: "a test has a real Prometheus read the daemon's metrics",
    },
    Tool {
        command: "amtool",
        package: "prometheus-alertmanager",
        why: "the routes in deploy/alertmanager are checked and tested with it",
    },
    Tool {
        command: "prometheus-alertmanager",
        package: "prometheus-alertmanager",
        why: "a test gets a page of it",
    },
    Tool {
        command: "etcd",
        package: "etcd-server",
        why: "a test has the daemon ask a real etcd for its members",
    },
];
