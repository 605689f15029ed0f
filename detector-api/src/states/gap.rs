//! Names that the program has and the daemon has not.

use super::PeerStates;
use crate::PeerName;

impl PeerStates {
    /// Why the daemon says nothing about a name, if it is live and does not watch it; `None` while
    /// the states do not come from a live daemon ([`until_fresh`](Self::until_fresh) awaits that).
    ///
    /// The daemon and the program must name a peer alike: a scheme or a port that differs makes two
    /// peers, of which the program's stays Unknown. Log it.
    ///
    /// ```
    /// use detector_api::PeerStates;
    ///
    /// # async fn example(states: PeerStates) {
    /// states.until_fresh().await;
    /// if let Some(gap) = states.not_watched("https://node4:9000") {
    ///     // the daemon does not watch https://node4:9000, but it watches http://node4:9000: …
    ///     eprintln!("{gap}");
    /// }
    /// # }
    /// # assert!(PeerStates::unwatched().not_watched("http://node4:9000").is_none());
    /// ```
    pub fn not_watched(&self, peer: &str) -> Option<NotWatched> {
        let peer = self.peer(peer);
        if !self.is_fresh() || peer.watched_as().is_some() {
            return None;
        }
        let host = |name: &str| PeerName::parse(name).ok().map(|name| name.host());
        let same = host(peer.name());
        let is_same = |name: &String| same.is_some() && host(name) == same;
        let watched = self.peers().into_iter().map(|peer| peer.name().to_owned());
        Some(NotWatched {
            peer: peer.name().to_owned(),
            similar: watched.filter(is_same).collect(),
        })
    }
}

/// A live daemon does not watch a peer that the program calls. Until both name it alike, the peer is
/// Unknown, and nothing ends a call to it.
///
/// ```
/// use detector_api::NotWatched;
///
/// fn log(gap: NotWatched) {
///     eprintln!("{gap}"); // what to do is part of the text
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon does not watch {peer}{}", advice(.peer, .similar))]
#[non_exhaustive]
pub struct NotWatched {
    /// The name by which the program calls it.
    pub peer: String,
    /// The peers on the same host that the daemon does watch.
    pub similar: Vec<String>,
}

fn advice(peer: &str, similar: &[String]) -> String {
    match similar {
        [] => format!(": add it to the daemon's peers as {peer}"),
        _ => format!(
            ", but it watches {}: name it {peer} in the daemon's configuration, too",
            similar.join(", ")
        ),
    }
}
