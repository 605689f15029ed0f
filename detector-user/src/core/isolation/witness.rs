//! Whether any other host is heard: if none is, this host itself may be cut off.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use crate::model::{Bounds, HEARD_RESOLUTION, Time};

/// A host that was heard within this time before a silence began should also be heard during it, if
/// it can be probed.
const RECENTLY: Duration = Duration::from_secs(10);

/// The same for a host that cannot be probed. Also, in a long silence, a witness must have been
/// heard within this time.
const LATELY: Duration = Duration::from_secs(1);

/// Probes of a witness that may not be probed often are this part of the silence apart that the peer
/// in doubt needs for a death: the witness must be heard between a quarter and a half of that
/// silence, and in its second half.
pub(in crate::core) const HEARD_APART: f64 = 0.35;

/// For how long a rarely probed witness counts as heard while a peer is in doubt: the budget of
/// neighbour probes allows one in 256 ms, and witnesses are called every 20 ms.
const RARELY: Duration = Duration::from_millis(300);

/// A witness that is heard at least this long after a silence began shows that this node is not cut
/// off: segments that were on their way when the silence began have arrived by then.
const BEGAN_BEFORE: Duration = Duration::from_millis(5);

/// How long witnesses have to answer.
pub(in crate::core) const WITNESSES_ANSWER_WITHIN: Duration = Duration::from_millis(40);

/// Another host that was heard: a peer or a next hop.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Witness {
    pub at: Time,
    /// Its address: peers with several names but one address are one witness.
    pub host: IpAddr,
    /// Whether the host can be probed, so that its silence means something.
    pub can_ask: bool,
    /// Whether the host is probed rarely, because the budget of neighbour probes allows no more.
    pub is_rare: bool,
}

impl Witness {
    pub(in crate::core) fn gateway(host: IpAddr, at: Time) -> Self {
        Self {
            at,
            host,
            can_ask: true,
            is_rare: true,
        }
    }
}

/// The two witnesses that were heard last: whichever host is judged, one of them is another host.
#[derive(Debug)]
pub(in crate::core) struct Witnesses {
    /// The most hosts whose missing answers are remembered.
    kept: usize,
    latest: Option<Witness>,
    second: Option<Witness>,
    /// Hosts that are known to answer, were probed, and have not answered since.
    unanswered: BTreeMap<IpAddr, Time>,
    /// A verdict is held because no host is heard; hearing any host ends that.
    lost: bool,
    /// Some host was heard since the daemon started.
    anyone: bool,
    /// A host that answers probes was heard since the daemon started.
    anyone_answers: bool,
}

impl Witnesses {
    pub(in crate::core) fn new(bounds: Bounds) -> Self {
        Self {
            kept: bounds.known_addresses(),
            latest: None,
            second: None,
            unanswered: BTreeMap::new(),
            lost: false,
            anyone: false,
            anyone_answers: false,
        }
    }

    /// A witness was heard.
    pub(in crate::core) fn heard(&mut self, witness: Witness) {
        let is_news = |known: &Option<Witness>| {
            known.is_none_or(|known| witness.at > known.at + HEARD_RESOLUTION)
        };
        self.lost &= !is_news(&self.latest);
        self.anyone = true;
        if witness.can_ask && !self.anyone_answers {
            // So the others do not answer for reasons of their own.
            self.unanswered.clear();
            self.anyone_answers = true;
        }
        if self
            .unanswered
            .get(&witness.host)
            .is_some_and(|asked| *asked <= witness.at)
        {
            self.unanswered.remove(&witness.host);
        }
        self.note(witness);
    }

    /// A witness was heard before the daemon started: it should be heard again, but it shows
    /// nothing about the time since.
    pub(in crate::core) fn was_heard_before(&mut self, witness: Witness) {
        self.note(witness);
    }

    /// A host that is known to answer, or may be, was probed.
    pub(in crate::core) fn asked(&mut self, host: IpAddr, at: Time) {
        if self.unanswered.len() < self.kept {
            self.unanswered.entry(host).or_insert(at);
        }
    }

    /// Forgets what this host left unanswered: it is dead, or no longer watched, so that its
    /// silence says nothing about this node.
    pub(in crate::core) fn forget(&mut self, host: IpAddr) {
        self.unanswered.remove(&host);
    }

    /// Whether this host is one of those that were heard last.
    pub(in crate::core) fn knows(&self, host: IpAddr) -> bool {
        let latest = [self.latest, self.second].into_iter().flatten();
        latest.into_iter().any(|witness| witness.host == host)
    }

    /// Replaces the witnesses by these: some host is no longer a witness.
    pub(in crate::core) fn reset(&mut self, heard: impl Iterator<Item = Witness>) {
        (self.latest, self.second) = (None, None);
        heard.for_each(|witness| self.note(witness));
    }

    /// A verdict is held because no host is heard: until one is, that holds for every peer.
    pub(in crate::core) fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether any host was heard since the daemon started.
    pub(in crate::core) fn anyone(&self) -> bool {
        self.anyone
    }

    /// Whether any host that answers probes was heard since the daemon started. What came from others
    /// may have been on its way when this node was cut off.
    pub(in crate::core) fn does_anyone_answer(&self) -> bool {
        self.anyone_answers
    }

    /// Whether the silence of `host` from `since` to `now` may be this node's own: others are as
    /// silent, and none was heard lately. What arrived just as the silence began proves nothing, so
    /// a witness must be heard in the second half of the silence.
    pub(in crate::core) fn none_but(
        &self,
        host: Option<IpAddr>,
        since: Time,
        now: Time,
        idle_interval: Duration,
    ) -> bool {
        let window = (now.since(since) / 2).min(LATELY);
        let other = self.other_than(host);
        let is_heard = |other: Witness| {
            let rarely = (now - RARELY).max(since + BEGAN_BEFORE);
            other.at >= now - window || other.is_rare && other.at >= rarely
        };
        if other.is_some_and(is_heard) {
            return false;
        }
        let was_active = other.is_some_and(|other| {
            let recently = match other.can_ask {
                true => RECENTLY.max(idle_interval * 3),
                false => LATELY,
            };
            self.lost || other.at + recently >= since
        });
        was_active || self.does_another_not_answer(host, now)
    }

    /// Whether another host was probed and has not answered, although it has had the time to.
    pub(in crate::core) fn does_another_not_answer(&self, host: Option<IpAddr>, now: Time) -> bool {
        let silent = |(asked, at): (&IpAddr, &Time)| {
            Some(*asked) != host && now.since(*at) >= WITNESSES_ANSWER_WITHIN
        };
        self.unanswered.iter().any(silent)
    }

    fn note(&mut self, witness: Witness) {
        match &mut self.latest {
            Some(latest) if latest.host == witness.host => {
                latest.at = latest.at.max(witness.at);
                latest.can_ask = witness.can_ask;
            }
            Some(latest) if latest.at > witness.at => match &mut self.second {
                Some(second) if second.at > witness.at && second.host != witness.host => {}
                Some(second) if second.host == witness.host => {
                    second.at = second.at.max(witness.at);
                    second.can_ask = witness.can_ask;
                }
                second => *second = Some(witness),
            },
            latest => {
                let before = latest.replace(witness);
                if before.is_some() {
                    self.second = before;
                }
            }
        }
    }

    fn other_than(&self, host: Option<IpAddr>) -> Option<Witness> {
        [self.latest, self.second]
            .into_iter()
            .flatten()
            .find(|witness| Some(witness.host) != host)
    }
}

#[cfg(test)]
mod tests;
