//! `detector watch`: prints the peers, then every change, across restarts of the daemon.

use std::{collections::BTreeMap, path::Path, time::Duration};

use detector_api::v1::{
    PeerState, WatchPeersRequest, WatchPeersResponse,
    watch_peers_response::{Event, Removed, Snapshot},
};
use jiff::Timestamp;
use tonic::Code;

use super::{
    args::{Global, Output},
    client,
    exit::{Exit, Failure},
    json, print, text,
};
use crate::clock;

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Watches until Ctrl-C. The first connect must succeed; later ones are retried.
pub async fn watch(global: &Global) -> Result<Exit, Failure> {
    let socket = client::socket(global)?;
    tokio::select! {
        result = follow(&socket, global.output) => result,
        signal = tokio::signal::ctrl_c() => {
            signal.map_err(anyhow::Error::from)?;
            Ok(Exit::Done)
        }
    }
}

async fn follow(socket: &Path, output: Output) -> Result<Exit, Failure> {
    let mut seen = Seen::default();
    let mut retry = FIRST_RETRY;
    let mut told = false;
    loop {
        let revision = seen.position();
        let failure = match stream(socket, output, &mut seen).await {
            Ok(()) => Failure::Lost("the stream ended".to_owned()),
            Err(failure) => failure,
        };
        if seen.position() != revision {
            (retry, told) = (FIRST_RETRY, false);
        }
        if !seen.started() || !is_passing(&failure) {
            return Err(failure);
        }
        if !std::mem::replace(&mut told, true) {
            notice(&format!("detector: {failure}\ndetector: reconnecting\n"));
        }
        tokio::time::sleep(retry).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

/// Whether a retry can help: the daemon may come back, or this reader may catch up.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Connect(_) | Failure::Lost(_) | Failure::Timeout { .. } => true,
        // This program read too slowly; it may catch up.
        Failure::Refused { code, .. } => *code == Code::ResourceExhausted,
        _ => false,
    }
}

/// Prints one stream until it ends.
async fn stream(socket: &Path, output: Output, seen: &mut Seen) -> Result<(), Failure> {
    let mut client = client::connect(socket).await?;
    let request = seen.request();
    let mut events = client::answer(client.watch_peers(request)).await?;
    while let Some(response) = events.message().await? {
        print(&seen.take(response, output))?;
    }
    Ok(())
}

/// What has been printed, and where to resume.
#[derive(Debug, Default)]
struct Seen {
    instance: String,
    revision: u64,
    /// Each printed peer, with the revision at which it was printed.
    peers: BTreeMap<String, u64>,
}

impl Seen {
    fn started(&self) -> bool {
        !self.instance.is_empty()
    }

    fn position(&self) -> (String, u64) {
        (self.instance.clone(), self.revision)
    }

    fn request(&self) -> WatchPeersRequest {
        WatchPeersRequest {
            instance: self.instance.clone(),
            last_revision: self.revision,
        }
    }

    /// The text to print for a response.
    fn take(&mut self, response: WatchPeersResponse, output: Output) -> String {
        match response.event {
            Some(Event::Snapshot(snapshot)) => self.snapshot(snapshot, output),
            Some(Event::Changed(state)) => {
                self.revision = self.revision.max(state.revision);
                self.peers.insert(state.peer.clone(), state.revision);
                show(&state, output)
            }
            Some(Event::Removed(removed)) => {
                self.revision = self.revision.max(removed.revision);
                self.removed(removed, output)
            }
            // A heartbeat, or an event that only a newer daemon knows: nothing to print.
            _ => String::new(),
        }
    }

    /// Prints the difference to what was printed before, or everything if the daemon was restarted.
    fn snapshot(&mut self, snapshot: Snapshot, output: Output) -> String {
        let same = self.instance == snapshot.instance;
        self.instance = snapshot.instance;
        self.revision = snapshot.revision;
        let before = std::mem::take(&mut self.peers);
        let mut out = String::new();
        for state in snapshot.peers {
            let known = same && before.get(&state.peer) == Some(&state.revision);
            self.peers.insert(state.peer.clone(), state.revision);
            if !known {
                out += &show(&state, output);
            }
        }
        for peer in before.into_keys() {
            if !self.peers.contains_key(&peer) {
                let revision = self.revision;
                out += &self.removed(Removed { peer, revision }, output);
            }
        }
        out
    }

    fn removed(&mut self, removed: Removed, output: Output) -> String {
        self.peers.remove(&removed.peer);
        match output {
            Output::Text => text::removed(now(), &removed),
            Output::Json => json::removed(&removed),
        }
    }
}

fn show(state: &PeerState, output: Output) -> String {
    output.show(state, |state| {
        text::change(text::moment(state.changed_at), state)
    })
}

fn now() -> Timestamp {
    Timestamp::try_from(clock::wall(clock::now())).unwrap_or_default()
}

/// A failure to print a notice is not worth failing for.
fn notice(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(peer: &str, revision: u64) -> PeerState {
        PeerState {
            peer: peer.to_owned(),
            revision,
            ..Default::default()
        }
    }

    fn snapshot(instance: &str, revision: u64, peers: &[(&str, u64)]) -> WatchPeersResponse {
        WatchPeersResponse {
            event: Some(Event::Snapshot(Snapshot {
                instance: instance.to_owned(),
                revision,
                peers: peers
                    .iter()
                    .map(|(peer, revision)| state(peer, *revision))
                    .collect(),
                ..Snapshot::default()
            })),
        }
    }

    fn changed(peer: &str, revision: u64) -> WatchPeersResponse {
        WatchPeersResponse {
            event: Some(Event::Changed(state(peer, revision))),
        }
    }

    /// The printed peers with their revisions; removed ones have a minus sign.
    fn printed(seen: &mut Seen, response: WatchPeersResponse) -> Vec<String> {
        let out = seen.take(response, Output::Json);
        let line = |line: &str| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            let sign = if json["removed"] == true { "-" } else { "" };
            format!(
                "{sign}{}@{}",
                json["peer"].as_str().unwrap(),
                json["revision"]
            )
        };
        out.lines().map(line).collect()
    }

    #[test]
    fn a_watch_resumes_from_the_last_revision_it_saw() {
        let mut seen = Seen::default();
        assert_eq!(seen.request(), WatchPeersRequest::default());
        assert_eq!(
            printed(&mut seen, snapshot("i", 5, &[("a", 3), ("b", 5)])),
            ["a@3", "b@5"]
        );
        assert_eq!(printed(&mut seen, changed("a", 7)), ["a@7"]);
        let request = seen.request();
        assert_eq!((request.instance.as_str(), request.last_revision), ("i", 7));
    }

    #[test]
    fn a_second_snapshot_prints_what_is_new() {
        let mut seen = Seen::default();
        printed(&mut seen, snapshot("i", 5, &[("a", 3), ("b", 4), ("c", 5)]));
        let again = snapshot("i", 8, &[("a", 3), ("b", 8)]);
        assert_eq!(printed(&mut seen, again), ["b@8", "-c@8"]);
        let restarted = snapshot("j", 2, &[("a", 3), ("d", 2)]);
        assert_eq!(printed(&mut seen, restarted), ["a@3", "d@2", "-b@2"]);
        assert_eq!(seen.request().last_revision, 2);
    }
}
