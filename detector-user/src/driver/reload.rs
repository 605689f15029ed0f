//! Reads the configuration again on SIGHUP, and takes over what can be changed while the daemon
//! runs. A configuration with errors changes nothing.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{error, info};

use super::{Driver, layout::Layout, tasks::PeerFinder};
use crate::{
    clock,
    config::{Config, ConfigErrors, changed},
};

/// Reads the configuration as at the start: the same file, the same flags. Blocks.
pub type ReadConfig = Arc<dyn Fn() -> Result<Config, ConfigErrors> + Send + Sync>;

/// A configuration that was read again.
pub(super) type Reread = Result<Config, ConfigErrors>;

/// Reads it outside the loop.
pub(super) struct Rereader {
    read: ReadConfig,
    done: mpsc::UnboundedSender<Reread>,
}

impl Rereader {
    /// The other end gets each configuration that was read.
    pub(super) fn new(read: ReadConfig) -> (Self, mpsc::UnboundedReceiver<Reread>) {
        let (done, reread) = mpsc::unbounded_channel();
        (Self { read, done }, reread)
    }

    fn start(&self) {
        let (read, done) = (Arc::clone(&self.read), self.done.clone());
        tokio::task::spawn_blocking(move || {
            // The loop may have ended.
            let _ = done.send(read());
        });
    }
}

impl Driver {
    pub(super) fn reload(&mut self) {
        info!("reading the configuration again");
        self.manager.reloading();
        self.rereader.start();
    }

    pub(super) fn reread(&mut self, reread: Reread) {
        match reread {
            Ok(wanted) => self.take_over(&wanted),
            Err(ConfigErrors(errors)) => {
                for error in errors {
                    error!("the configuration is not taken over: {error}");
                }
            }
        }
        self.manager.reloaded();
    }

    fn take_over(&mut self, wanted: &Config) {
        let mut changed = changed(&self.config, wanted, !self.confined.may_destroy());
        if changed.config.log != self.config.log
            && let Err(error) = (self.set_log)(&changed.config.log)
        {
            error!(error = format!("{error:#}"), "the log stays as it is");
            changed.config.log.clone_from(&self.config.log);
        }
        if let PeerFinder::Resolver(resolver, configured) = &mut self.finding {
            configured.follow(&changed.config.peers, resolver);
        }
        self.detector
            .set_settings(clock::now(), changed.config.core.clone());
        self.layout = Layout::new(&changed.config);
        self.layout.found(&self.found.now());
        info!("configuration reloaded: {}", changed.summary());
        self.config = changed.config;
    }
}
