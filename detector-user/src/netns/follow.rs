//! Follows which namespaces are watched at the moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    future, io,
    sync::Arc,
};

use tokio::sync::watch;
use tracing::{info, warn};

use super::{Namespace, find::find, own};
use crate::{
    config::Target,
    keeper::{Keeper, Look},
    model::MAX_NAMESPACES,
    process::Finder,
};

/// The watched namespaces by number, without the daemon's own. The set holds them open.
pub type Set = BTreeMap<u32, Arc<Namespace>>;

/// Reports which namespaces are watched. All clones report the same.
#[derive(Clone, Debug)]
pub struct Namespaces {
    own: u32,
    watched: watch::Receiver<Arc<Set>>,
}

impl Namespaces {
    /// Only the calling thread's own namespace.
    pub fn only_own() -> io::Result<Self> {
        Self::fixed(Set::new())
    }

    /// The calling thread's own namespace and these, which never change.
    pub fn fixed(set: Set) -> io::Result<Self> {
        let (_, watched) = watch::channel(Arc::new(set));
        Ok(Self {
            own: own()?,
            watched,
        })
    }

    /// The number of the daemon's own namespace.
    pub fn own(&self) -> u32 {
        self.own
    }

    /// The other namespaces at this moment. Drop the result soon: it holds them open.
    pub fn others(&self) -> Arc<Set> {
        Arc::clone(&self.watched.borrow())
    }

    /// Waits until the other namespaces have changed. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.watched.changed().await.is_err() {
            // The follower has ended, so nothing will change.
            future::pending().await
        }
    }
}

/// A thread that follows the configured namespaces. Dropping this ends the thread.
#[derive(Debug)]
pub struct Following {
    _keeper: Option<Keeper>,
}

impl Following {
    /// Looks once before it returns, then each second: for namespaces that do not exist yet, that
    /// are gone, and that a restarted service has created again. Blocks.
    pub fn start(targets: &[Target], finder: &Finder) -> io::Result<(Self, Namespaces)> {
        if targets.is_empty() {
            let none = Self { _keeper: None };
            return Ok((none, Namespaces::only_own()?));
        }
        let own = own()?;
        let (sender, watched) = watch::channel(Arc::new(Set::new()));
        let follower = Follower::new(own, finder.clone(), targets, sender);
        let keeper = Keeper::start("namespaces", vec![Box::new(follower)])?;
        let following = Self {
            _keeper: Some(keeper),
        };
        Ok((following, Namespaces { own, watched }))
    }
}

/// The message about a target that names nothing yet.
const NOT_THERE: &str = "not there yet";

/// The message about a target that is in the daemon's own namespace.
const OWN: &str = "it is the daemon's own, which is watched in any case";

#[derive(Debug)]
struct Follower {
    own: u32,
    finder: Finder,
    /// Each target, with the last message that was logged about it.
    targets: Vec<(Target, String)>,
    sender: watch::Sender<Arc<Set>>,
}

impl Follower {
    fn new(own: u32, finder: Finder, targets: &[Target], sender: watch::Sender<Arc<Set>>) -> Self {
        let unsaid = |target: &Target| (target.clone(), String::new());
        Self {
            own,
            finder,
            targets: targets.iter().map(unsaid).collect(),
            sender,
        }
    }

    /// The namespaces of one target, and a message about it. Each namespace is opened unless it is
    /// in `before`.
    fn of_target(&self, target: &Target, before: &Set) -> (Set, String) {
        let mut set = Set::new();
        let found = match find(&self.finder, target) {
            Ok(found) => found,
            Err(error) => return (set, error.to_string()),
        };
        if found.is_empty() {
            return (set, NOT_THERE.to_owned());
        }
        let mut said = String::new();
        for (id, path) in found {
            if id == self.own {
                said = OWN.to_owned();
                continue;
            }
            // While it is held open, no other namespace can get its number.
            if let Some(known) = before.get(&id) {
                set.insert(id, Arc::clone(known));
                continue;
            }
            match Namespace::open(&path) {
                Ok(namespace) if namespace.id() == id => {
                    set.insert(id, Arc::new(namespace));
                }
                // The file stands for another namespace by now; the next look handles it.
                Ok(_) => {}
                Err(error) => said = error.to_string(),
            }
        }
        set.remove(&self.own);
        (set, said)
    }

    /// The namespaces of all targets, up to the maximum. Logs each new message about a target.
    fn watched_now(&mut self, before: &Set) -> Set {
        let mut now = Set::new();
        for index in 0..self.targets.len() {
            let (target, said) = &self.targets[index];
            let (set, mut news) = self.of_target(target, before);
            // Namespaces that are already watched take precedence over new ones.
            let (known, new): (Set, Set) =
                set.into_iter().partition(|(id, _)| before.contains_key(id));
            for (id, namespace) in known.into_iter().chain(new) {
                if now.len() < MAX_NAMESPACES {
                    now.insert(id, namespace);
                } else if !now.contains_key(&id) {
                    news =
                        format!("more than {MAX_NAMESPACES} network namespaces: some are left out");
                }
            }
            if news != *said {
                say(target, &news);
                self.targets[index].1 = news;
            }
        }
        now
    }
}

impl Look for Follower {
    fn look(&mut self) {
        let before = Arc::clone(&self.sender.borrow());
        let now = self.watched_now(&before);
        let ids = |set: &Set| set.keys().copied().collect::<BTreeSet<_>>();
        let (was, is) = (ids(&before), ids(&now));
        if was == is {
            return;
        }
        for id in is.difference(&was) {
            info!(netns = id, "a network namespace is watched");
        }
        for id in was.difference(&is) {
            info!(netns = id, "a network namespace is gone and let go");
        }
        self.sender.send_replace(Arc::new(now));
    }
}

fn say(target: &Target, news: &str) {
    match news {
        "" => {}
        OWN => info!(%target, "{OWN}"),
        NOT_THERE => info!(
            %target,
            "there is no such network namespace yet; waiting for it (a file as /run/netns/NAME \
             or /proc/PID/ns/net, or a service with processes)"
        ),
        news => warn!(%target, "{news}; trying again each second"),
    }
}

#[cfg(test)]
mod tests;
