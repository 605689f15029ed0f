//! `detector tune`: tunes a service's new connections with peers for as long as it runs, and
//! prints each.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::interval,
};
use tracing::{info, warn};

use super::{
    args::{Global, Output, TuneArgs},
    exit::{Exit, Failure},
    json, print,
    run::start_log,
};
use crate::{
    clock,
    config::{self, ConfigError, ConfigErrors, PEER_FLAG, Place, Target},
    core::{PeerName, Signal},
    effect::protect::{Protection, Tuned},
    source::{
        Watched,
        resolve::{Resolver, SystemLookup},
    },
};

/// How often the ring is looked at. A person reads what comes of it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub async fn tune(global: &Global, args: &TuneArgs) -> Result<Exit, Failure> {
    let config = config::load(global.config.as_deref(), &args.flags())
        .map_err(Failure::Config)?
        .config;
    let target = Target::parse(&args.target).map_err(|message| usage("TARGET", message))?;
    if config.peers.is_empty() {
        let message = "no peers are named, and only connections with peers are tuned; \
                       name them here or in the file";
        return Err(usage(PEER_FLAG, message.to_owned()));
    }
    start_log(&config.log)?;
    let mut stop = signal(SignalKind::terminate())?;
    let protection = Protection::tune(&config.tune, target).map_err(anyhow::Error::from)?;
    let mut tuner = Tuner {
        protection,
        watched: Watched::new(),
        output: global.output,
        printed: 0,
        missed: 0,
    };
    let mut resolver = Resolver::start(config.peers, config.resolve_interval, SystemLookup);
    let mut look = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            Some(signal) = resolver.next() => tuner.signal(signal),
            _ = look.tick() => tuner.look()?,
            _ = stop.recv() => break,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                break;
            }
        }
    }
    tuner.look()?;
    info!(
        connections = tuner.printed,
        "no more connections are tuned; those that are stay so until they close"
    );
    Ok(Exit::Done)
}

fn usage(flag: &'static str, message: String) -> Failure {
    Failure::Config(ConfigErrors(vec![ConfigError {
        place: Place::Flag { flag },
        key: None,
        message,
    }]))
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
        let names = names(&self.watched);
        let lines = sockets.iter().map(|socket| {
            let line = Line::of(socket, &names);
            match self.output {
                Output::Json => json::line(&line),
                Output::Text => line.text(),
            }
        });
        let lines: String = lines.collect();
        if !lines.is_empty() {
            print(&lines)?;
        }
        Ok(())
    }
}

/// Which peer an endpoint is.
fn names(watched: &Watched) -> BTreeMap<SocketAddr, &PeerName> {
    let mut names = BTreeMap::new();
    for (name, endpoints) in watched {
        for endpoint in endpoints {
            names.insert(SocketAddr::new(endpoint.addr, endpoint.port), name);
        }
    }
    names
}

/// A tuned socket as it is printed.
#[derive(Debug, Serialize)]
struct Line<'a> {
    at: Option<String>,
    /// Null when its peer's endpoints have changed since.
    peer: Option<&'a str>,
    local: SocketAddr,
    remote: SocketAddr,
    cookie: u64,
    options: &'a [&'static str],
}

impl<'a> Line<'a> {
    fn of(socket: &'a Tuned, names: &BTreeMap<SocketAddr, &'a PeerName>) -> Self {
        let Tuned {
            at,
            cookie,
            local,
            remote,
            options,
        } = socket;
        // The service's port may be at either end.
        let peer = names
            .get(remote)
            .or_else(|| names.get(&SocketAddr::new(remote.ip(), local.port())));
        Self {
            at: Timestamp::try_from(clock::wall(*at))
                .ok()
                .map(|at| at.to_string()),
            peer: peer.map(|name| name.as_str()),
            local: *local,
            remote: *remote,
            cookie: *cookie,
            options,
        }
    }

    fn text(&self) -> String {
        let options = match self.options {
            [] => "nothing: the kernel took no option".to_owned(),
            options => options.join(", "),
        };
        format!(
            "{} {:<24} {} -> {}  {options}\n",
            self.at.as_deref().unwrap_or("-"),
            self.peer.unwrap_or("-"),
            self.local,
            self.remote,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Endpoint, Time};

    #[test]
    fn a_socket_is_printed_with_its_peer_whoever_dialled() {
        let name = PeerName::from_canonical("http://b:9000");
        let addr = "10.0.0.2".parse().unwrap();
        let watched = Watched::from([(name, vec![Endpoint { addr, port: 9000 }])]);
        let names = names(&watched);
        let mut socket = Tuned {
            at: Time::from_nanos(1),
            cookie: 7,
            local: "10.0.0.1:40000".parse().unwrap(),
            remote: "10.0.0.2:9000".parse().unwrap(),
            options: vec!["rto_min", "keepalive"],
        };
        let text = Line::of(&socket, &names).text();
        assert!(
            text.ends_with("10.0.0.1:40000 -> 10.0.0.2:9000  rto_min, keepalive\n"),
            "{text}"
        );
        assert!(text.contains(" http://b:9000 "), "{text}");

        socket.local.set_port(9000);
        socket.remote.set_port(40_000);
        let json = serde_json::to_value(Line::of(&socket, &names)).unwrap();
        assert_eq!(json["peer"], "http://b:9000");
        assert_eq!(json["local"], "10.0.0.1:9000");
        assert_eq!(json["options"], serde_json::json!(["rto_min", "keepalive"]));

        socket.remote = "10.0.0.3:9000".parse().unwrap();
        socket.options.clear();
        let line = Line::of(&socket, &names);
        assert_eq!(line.peer, None);
        assert!(line.text().contains("took no option"));
    }
}
