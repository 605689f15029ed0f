//! `detector run`: the daemon in the foreground, printing verdicts as they change.

use std::{io, sync::Arc};

use tracing::{info, warn};

use super::{
    args::{Global, RunArgs},
    block_on,
    changes::{Changes, line},
    config,
    exit::{Exit, Failure},
    lines::Lines,
    log,
};
use crate::{
    clock,
    driver::{self, Operator, ReadConfig},
    model::PeerState,
    privileges,
    record::{Header, Recorder},
};

pub fn run(global: &Global, args: &RunArgs) -> Result<Exit, Failure> {
    let loaded = config::load(global, &args.overrides).map_err(Failure::Config)?;
    let config = loaded.config;
    let set_log = log::start(&config.log, config.log_format)?;
    if let Some(file) = &loaded.file {
        info!(file = %file.display(), "configuration read");
    }
    if config.peers.is_empty() && config.stores.is_empty() {
        match config.discover_limit {
            0 => {
                warn!("no peers are named (--peer URL) and discover_limit is 0: nothing is watched")
            }
            limit => warn!(
                limit,
                "no peers are named (--peer URL): they are discovered from established \
                 connections, and only observed"
            ),
        }
    }
    if config.peers.is_empty() && config.stores.is_empty() && !config.refuse_connects.is_empty() {
        warn!(
            "peers that are only observed are never refused: name them, to have connects refused"
        );
    }
    let starting = privileges::begin(&config, loaded.file.as_deref());
    let starting = starting.map_err(anyhow::Error::from)?;
    let recorder = match &args.record {
        Some(file) => {
            let header = Header::here(&config.core);
            let recorder = Recorder::create(file, args.record_limit, &header);
            Some(recorder.map_err(anyhow::Error::from)?)
        }
        None => None,
    };
    let mut lines = Lines::to(io::stdout())?;
    let mut changes = Changes::new(config.core.max_peers);
    let output = global.output;
    let printer = move |state: &PeerState| {
        if changes.is_one(state) {
            lines.send(line(state, clock::now(), clock::timestamp, output));
        }
    };
    let operator = Operator {
        printer: Box::new(printer),
        read_config: reader(global, args),
        set_log,
        recorder,
        starting,
    };
    block_on(async {
        driver::run(config, operator).await?;
        Ok(Exit::Done)
    })
}

/// Reads the configuration again, with the flags of the start.
fn reader(global: &Global, args: &RunArgs) -> ReadConfig {
    let file = global.config.clone();
    let flags = args.overrides.flags(global.socket.as_deref());
    Arc::new(move || Ok(crate::config::load(file.as_deref(), &flags)?.config))
}
