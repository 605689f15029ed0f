//! Selects the source: the operator's choice, or the best one that works here.

use anyhow::Context as _;
use tracing::{info, warn};

use super::{
    Source,
    ebpf::{EbpfOptions, EbpfSource},
    sock_diag::SockDiagSource,
};
use crate::{
    config::{Config, SourceChoice},
    netns::Namespaces,
    signals::SignalSender,
};

/// Opens the source that `config` asks for. `auto` falls back from eBPF to sock_diag, with a warning
/// that names the reason.
pub fn open(
    config: &Config,
    namespaces: Namespaces,
    signals: SignalSender,
) -> anyhow::Result<Box<dyn Source>> {
    let load = || EbpfSource::load(&ebpf_options(config), signals.clone());
    let poll = || {
        SockDiagSource::spawn(config.poll_interval, namespaces, signals.clone())
            .context("cannot read the kernel's sockets (CONFIG_INET_TCP_DIAG, tcp_diag.ko)")
    };
    let source: Box<dyn Source> = match config.source {
        SourceChoice::SockDiag => Box::new(poll()?),
        SourceChoice::Ebpf => Box::new(load().context(
            "cannot load the eBPF programs and attach them to the kernel's TCP tracepoints, as \
             the setting `source = \"ebpf\"` asks; `detector doctor` says what is missing. With \
             `--source auto` the daemon starts without them and polls the kernel's sockets",
        )?),
        SourceChoice::Auto => match load() {
            Ok(source) => Box::new(source),
            Err(reason) => {
                warn!(
                    %reason,
                    "no eBPF here: falling back to polling sock_diag, which sees a dead peer \
                     later; `detector doctor` says what is missing"
                );
                Box::new(poll()?)
            }
        },
    };
    info!(source = source.kind().as_str(), "source started");
    Ok(source)
}

fn ebpf_options(config: &Config) -> EbpfOptions {
    EbpfOptions {
        max_watched: config.core.bounds().map_entries(),
        max_flows: config.max_flows,
        ring_bytes: config.ring_bytes,
        other_namespaces: !config.namespaces().is_empty(),
        log: config.ebpf_log,
        ..EbpfOptions::default()
    }
}
