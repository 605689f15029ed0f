//! The one loop that joins sources, the core and effects.

use crate::{config::Config, core::PeerState};

/// Runs until SIGTERM or SIGINT; `printer` is called with each published state.
pub async fn run(
    _config: Config,
    _printer: impl FnMut(&PeerState) + Send + 'static,
) -> anyhow::Result<()> {
    anyhow::bail!("this build has no driver")
}
