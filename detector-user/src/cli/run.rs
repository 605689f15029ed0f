//! `detector run`: the daemon, in the foreground, printing verdicts as they change.

use std::{
    collections::HashMap,
    io::{self, IsTerminal as _},
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use super::{
    RUNTIME_SHUTDOWN,
    args::{Global, Output, Overrides},
    config,
    exit::{Exit, Failure},
    json,
    lines::Lines,
    text,
};
use crate::{
    clock,
    core::{Breaker, PeerName, PeerState, Verdict},
    driver,
};

/// How long the last lines may take to be read.
const LAST_LINES: Duration = Duration::from_millis(200);

/// The daemon waits far more than it works: the loop on one thread, the API on the other.
const WORKERS: usize = 2;

pub fn run(global: &Global, overrides: &Overrides) -> Result<Exit, Failure> {
    let loaded = config::load(global, overrides).map_err(Failure::Config)?;
    let config = loaded.config;
    start_log(&config.log)?;
    if let Some(file) = &loaded.file {
        info!(file = %file.display(), "configuration read");
    }
    if config.peers.is_empty() {
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
    if config.peers.is_empty() && !config.refuse_connects.is_empty() {
        warn!(
            "peers that are only observed are never refused: name them, to have connects refused"
        );
    }
    let (mut lines, written) = Lines::to(io::stdout())?;
    let mut changes = Changes::new(config.core.max_peers);
    let output = global.output;
    let printer = move |state: &PeerState| {
        if changes.is_one(state) {
            lines.send(line(state, output));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let result = runtime.block_on(driver::run(config, printer));
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    written.wait(LAST_LINES);
    result?;
    Ok(Exit::Done)
}

pub(super) fn start_log(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("log: {filter:?} is no filter"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // It would report a closed stderr to stderr, and panic.
        .log_internal_errors(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

fn line(state: &PeerState, output: Output) -> String {
    let state = json::PeerState::from(state);
    match output {
        Output::Json => json::line(&state),
        Output::Text => {
            let now = Timestamp::try_from(clock::wall(clock::now())).ok();
            text::change(now, &state)
        }
    }
}

/// Tells changes of the verdict or the breaker from everything else that is published.
struct Changes {
    printed: HashMap<PeerName, (Verdict, Breaker, Breaker)>,
    limit: usize,
}

impl Changes {
    fn new(limit: usize) -> Self {
        Self {
            printed: HashMap::new(),
            limit,
        }
    }

    fn is_one(&mut self, state: &PeerState) -> bool {
        let shown = (state.verdict, state.breaker, state.would_be_breaker);
        if self.printed.len() >= self.limit && !self.printed.contains_key(&state.peer) {
            // Discovered peers come and go: forgetting costs a repeated line at worst.
            self.printed.clear();
        }
        self.printed.insert(state.peer.clone(), shown) != Some(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Mode, Reason, Time};

    fn state(peer: &str, verdict: Verdict, revision: u64) -> PeerState {
        PeerState {
            peer: PeerName::from_canonical(peer),
            verdict,
            breaker: Breaker::Closed,
            would_be_breaker: Breaker::Closed,
            reason: Reason::NoEvidence,
            isolated: false,
            generation: 1,
            revision,
            mode: Mode::Enforce,
            addresses: Vec::new(),
            changed_at: Time::default(),
            last_heard: None,
            detection_latency: None,
        }
    }

    #[test]
    fn only_changes_of_verdict_or_breaker_are_printed() {
        let mut changes = Changes::new(2);
        assert!(changes.is_one(&state("a", Verdict::Unknown, 1)));
        assert!(!changes.is_one(&state("a", Verdict::Unknown, 2)));
        assert!(changes.is_one(&state("a", Verdict::Alive, 3)));
        let half_open = PeerState {
            would_be_breaker: Breaker::HalfOpen,
            ..state("a", Verdict::Alive, 4)
        };
        assert!(changes.is_one(&half_open));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut changes = Changes::new(2);
        for i in 0..10 {
            assert!(changes.is_one(&state(&i.to_string(), Verdict::Alive, i)));
            assert!(changes.printed.len() <= 2);
        }
    }

    #[test]
    fn json_lines_use_the_core_s_words() {
        let line = line(&state("http://a:1", Verdict::Dead, 7), Output::Json);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["peer"], "http://a:1");
        assert_eq!(json["verdict"], "dead");
        assert_eq!(json["mode"], "enforce");
        assert_eq!(json["revision"], 7);
        assert!(json["silence"].is_null());
        assert!(json["changed_at"].is_string());
    }
}
