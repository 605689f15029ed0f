//! Selects the source: the operator's choice, or the best one that works here.

use std::{net::IpAddr, sync::Arc};

use anyhow::Context as _;
use tracing::{info, warn};

use super::{
    Source, SourceCounters, Watched,
    ebpf::{EbpfOptions, EbpfSource},
    sock_diag::SockDiagSource,
};
use crate::{
    config::{Config, SourceChoice},
    core::{PeerName, SourceKind},
    netns::{Namespaces, Set},
    signals::SignalSender,
};

/// The source in use.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum ActiveSource {
    Ebpf(EbpfSource),
    SockDiag(SockDiagSource),
}

impl ActiveSource {
    /// Opens the source that `config` asks for. `auto` falls back from eBPF to sock_diag,
    /// with a warning that names the reason.
    pub fn open(
        config: &Config,
        namespaces: Namespaces,
        signals: SignalSender,
    ) -> anyhow::Result<Self> {
        let source = match config.source {
            SourceChoice::SockDiag => Self::open_sock_diag(config, namespaces, signals)?,
            SourceChoice::Ebpf => {
                let source = EbpfSource::load(&ebpf_options(config), signals);
                Self::Ebpf(source.context(
                    "the eBPF source was asked for and cannot start; `detector doctor` says \
                     what is missing, `--source auto` falls back to polling",
                )?)
            }
            SourceChoice::Auto => match EbpfSource::load(&ebpf_options(config), signals.clone()) {
                Ok(source) => Self::Ebpf(source),
                Err(reason) => {
                    warn!(
                        %reason,
                        "no eBPF here: falling back to polling sock_diag, which sees a dead \
                         peer later; `detector doctor` says what is missing"
                    );
                    Self::open_sock_diag(config, namespaces, signals)?
                }
            },
        };
        info!(source = source.kind().as_str(), "source started");
        Ok(source)
    }

    /// The kind of this source.
    pub fn kind(&self) -> SourceKind {
        match self {
            Self::Ebpf(_) => SourceKind::Ebpf,
            Self::SockDiag(_) => SourceKind::SockDiag,
        }
    }

    fn open_sock_diag(
        config: &Config,
        namespaces: Namespaces,
        signals: SignalSender,
    ) -> anyhow::Result<Self> {
        let source = SockDiagSource::spawn(config.poll_interval, namespaces, signals)
            .context("cannot read the kernel's sockets (CONFIG_INET_TCP_DIAG, tcp_diag.ko)")?;
        Ok(Self::SockDiag(source))
    }
}

impl Source for ActiveSource {
    fn watch(&mut self, watched: &Watched) -> anyhow::Result<()> {
        match self {
            Self::Ebpf(source) => source.watch(watched),
            Self::SockDiag(source) => source.watch(watched),
        }
    }

    fn report_established(
        &mut self,
        peer: &PeerName,
        addr: IpAddr,
        on: bool,
    ) -> anyhow::Result<()> {
        match self {
            Self::Ebpf(source) => source.report_established(peer, addr, on),
            Self::SockDiag(source) => source.report_established(peer, addr, on),
        }
    }

    fn look_at(&mut self, namespaces: &Arc<Set>) -> anyhow::Result<()> {
        match self {
            Self::Ebpf(source) => source.look_at(namespaces),
            Self::SockDiag(source) => source.look_at(namespaces),
        }
    }

    fn counters(&self) -> SourceCounters {
        match self {
            Self::Ebpf(source) => source.counters(),
            Self::SockDiag(source) => source.counters(),
        }
    }
}

fn ebpf_options(config: &Config) -> EbpfOptions {
    EbpfOptions {
        max_watched: config.core.bounds().map_entries(),
        max_flows: config.max_flows,
        ring_bytes: config.ring_bytes,
        other_namespaces: !config.network_namespaces.is_empty(),
        log: config.ebpf_log,
        ..EbpfOptions::default()
    }
}
