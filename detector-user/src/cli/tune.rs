//! `detector tune`: tunes a service's new connections with peers while it runs, and prints each; on
//! SIGUSR1 it prints the open ones. `detector tune --list` prints the connections that the daemon
//! has tuned.

use std::time::Duration;

use detector_api::v1::{ListTunedSocketsRequest, ListTunedSocketsResponse};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};
use tracing::{info, warn};

use super::{
    args::{Global, Output, TuneArgs},
    client,
    exit::{Exit, Failure},
    json, log, print, text,
};
use crate::{
    config::{self, ConfigError, ConfigErrors, PEER_FLAG, Place, Target},
    effect::protect::{Protection, TunedSockets},
    model::Signal,
    serve::grpc,
    signals,
    source::{
        Watched,
        resolve::{Resolver, SystemLookup},
    },
};

/// How often the ring is read. A person reads the output, so this is often enough.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub async fn tune(global: &Global, args: &TuneArgs) -> Result<Exit, Failure> {
    let Some(target) = &args.target else {
        return list(global).await;
    };
    let target = Target::parse(target).map_err(|message| usage("TARGET", message))?;
    let config = config::load(global.config.as_deref(), &args.flags())
        .map_err(Failure::Config)?
        .config;
    if config.peers.is_empty() {
        let message = "no peers are named, and only connections with peers are tuned; \
                       name them here or in the file";
        return Err(usage(PEER_FLAG, message.to_owned()));
    }
    let _set_log = log::start(&config.log, config.log_format)?;
    let mut stop = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut asked = signal(SignalKind::user_defined1())?;
    let protection = Protection::tune(&config.tune, target, config.core.bounds())
        .map_err(anyhow::Error::from)?;
    let mut tuner = Tuner {
        protection,
        watched: Watched::new(),
        output: global.output,
        printed: 0,
        missed: 0,
    };
    let (sender, mut signals) = signals::channel(config.core.bounds().signals());
    let every = config.resolve_interval;
    let _resolver = Resolver::start(config.peers, every, SystemLookup, &sender);
    let mut look = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            Some(signal) = signals.recv() => tuner.signal(signal),
            _ = look.tick() => tuner.look()?,
            Some(()) = asked.recv() => tuner.list()?,
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tuner.look()?;
    info!(
        connections = tuner.printed,
        "no more connections are tuned; those that are stay so until they close"
    );
    Ok(Exit::Done)
}

/// Prints the connections that the daemon has tuned.
async fn list(global: &Global) -> Result<Exit, Failure> {
    let mut client = client::connect(&client::socket(global)?).await?;
    let request = ListTunedSocketsRequest {};
    let answer = client::answer(client.list_tuned_sockets(request)).await?;
    let none = "the daemon has tuned no connection that is open; tune_sockets and --protect name \
                the services whose new connections with peers it tunes\n";
    client::list(global, &answer.sockets, none, text::tuned)
}

fn usage(flag: &'static str, message: String) -> Failure {
    let error = ConfigError::new(Place::Flag { flag }, None, message);
    Failure::Config(ConfigErrors(vec![error]))
}

struct Tuner {
    protection: Protection,
    watched: Watched,
    output: Output,
    printed: u64,
    missed: u64,
}

impl Tuner {
    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::PeerConfigured {
                peer, endpoints, ..
            } => {
                self.watched.insert(peer, endpoints);
            }
            Signal::PeerRemoved { peer } => {
                self.watched.remove(&peer);
            }
            _ => return,
        }
        self.protection.watch(&self.watched);
    }

    fn look(&mut self) -> Result<(), Failure> {
        self.protection.chores();
        let (sockets, missed) = self.protection.announced();
        self.printed += sockets.len() as u64;
        if missed > self.missed {
            warn!(
                connections = missed - self.missed,
                "tuned as well, but more than could be printed"
            );
            self.missed = missed;
        }
        let sockets = sockets.iter().map(grpc::tuned_socket);
        let lines = sockets.map(|socket| self.output.show(&socket, text::just_tuned));
        let lines: String = lines.collect();
        if !lines.is_empty() {
            print(&lines)?;
        }
        Ok(())
    }

    /// Prints the connections that are open now. In JSON they are one object, so that they are not
    /// mistaken for new ones.
    fn list(&mut self) -> Result<(), Failure> {
        // Connections that were tuned before the request are printed before the answer.
        self.look()?;
        let list = self.protection.tuned().as_ref().map(TunedSockets::list);
        let sockets: Vec<_> = list.iter().flatten().map(grpc::tuned_socket).collect();
        print(&match self.output {
            Output::Json => json::message(&ListTunedSocketsResponse { sockets }),
            Output::Text if sockets.is_empty() => "no open connection is tuned\n".to_owned(),
            Output::Text => text::tuned(&sockets),
        })?;
        Ok(())
    }
}
