//! How the daemon is run: its flags, and what it sees of the machine.

use std::{
    borrow::Cow,
    env,
    path::{Path, PathBuf},
};

use super::METRICS;

/// The daemon's own debugging, not its libraries'.
const LOG: &str = "warn,detector=debug,detector_user=debug";

/// The environment variable with another `--log`, for machines on which much of it takes too long.
const SAYS: &str = "DETECTOR_LAB_LOG";

/// The environment in which the daemon runs on its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// Nothing: root, with this machine's own /sys.
    #[default]
    Direct,
    /// `ip netns exec`, whose fresh /sys has no tracefs below it.
    WithoutTracefs,
    /// A kernel without BTF: nothing is seen below /sys/kernel/btf.
    WithoutBtf,
    /// Root without CAP_BPF, CAP_PERFMON and CAP_SYS_ADMIN.
    WithoutBpf,
    /// A user of its own with the ambient capabilities of `deploy/detector.service`.
    OwnUser,
    /// Root with a umask that takes nothing away.
    OpenUmask,
    /// It may have 128 files open: some more than it needs, and fewer than its clients take.
    FewFiles,
    /// A time namespace whose CLOCK_MONOTONIC is not the kernel's.
    TimeNamespace,
    /// Below /mnt there are 64 KiB.
    SmallDisk,
}

impl Via {
    /// The user and the group of [`Self::OwnUser`]: nobody's.
    pub const OWN_USER: (u32, u32) = (65534, 65534);
}

/// The options with which the daemon runs.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// For `--source`. Not `auto` by default: a test of eBPF must not pass without it.
    pub source: String,
    /// For `--peer`.
    pub peers: Vec<String>,
    /// More flags of `detector run`.
    pub args: Vec<String>,
    /// A configuration file's text, for what has no flag.
    pub config: Option<Cow<'static, str>>,
    /// For `--metrics`: the loopback address, if nobody else is to read them.
    pub metrics: String,
    pub via: Via,
    /// A file that it sees in place of /etc/hosts, and sees change.
    pub hosts: Option<PathBuf>,
    /// For `--log`. The end of it helps to see why a test failed, so by default it is long.
    pub log: String,
    /// Whether a daemon that was not stopped shows the end of its log: what a test wants.
    pub show_log: bool,
}

impl Default for DaemonOptions {
    fn default() -> Self {
        Self {
            source: "ebpf".to_owned(),
            peers: Vec::new(),
            args: Vec::new(),
            config: None,
            metrics: METRICS.to_owned(),
            via: Via::Direct,
            hosts: None,
            log: env::var(SAYS).unwrap_or_else(|_| LOG.to_owned()),
            show_log: true,
        }
    }
}

impl DaemonOptions {
    pub fn source(mut self, source: &str) -> Self {
        self.source = source.to_owned();
        self
    }

    pub fn peer(mut self, peer: impl Into<String>) -> Self {
        self.peers.push(peer.into());
        self
    }

    pub fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(str::to_owned));
        self
    }

    pub fn config(mut self, config: impl Into<Cow<'static, str>>) -> Self {
        self.config = Some(config.into());
        self
    }

    pub fn metrics(mut self, address: &str) -> Self {
        self.metrics = address.to_owned();
        self
    }

    pub fn via(mut self, via: Via) -> Self {
        self.via = via;
        self
    }

    pub fn hosts(mut self, file: &Path) -> Self {
        self.hosts = Some(file.to_owned());
        self
    }
}
