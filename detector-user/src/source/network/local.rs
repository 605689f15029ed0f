//! Which addresses are local in another network namespace.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use tracing::debug;

use super::{NetworkError, socket::Requests};
use crate::{clock, model::Time, netns::Namespace};

/// An answer is valid for this time, for what was heard before it: a storm of timeouts then costs a
/// hundred requests a second for each address.
const FRESH: Duration = Duration::from_millis(10);

/// The most addresses that are remembered.
const MAX_KNOWN: usize = 1 << 15;

/// Which addresses are local in another network namespace: what is heard from them there was not
/// sent by another host, even if a host elsewhere has the same address. The kernel's own lookup
/// decides, because an address can be local although no link has it.
#[derive(Debug)]
pub struct LocalAddresses {
    namespace: Arc<Namespace>,
    /// `None` after a failed request: the rest of its answer is discarded together with the socket.
    requests: Option<Requests>,
    known: HashMap<IpAddr, (Time, bool)>,
}

impl LocalAddresses {
    pub fn of(namespace: Arc<Namespace>) -> Self {
        Self {
            namespace,
            requests: None,
            known: HashMap::new(),
        }
    }

    /// Whether the address is local there, for something that was heard from it at `heard`: an
    /// older answer may be from before the address was added. If the kernel does not answer, it
    /// counts as not local.
    pub fn has(&mut self, addr: IpAddr, heard: Time) -> bool {
        let now = clock::now();
        match self.known.get(&addr) {
            Some(&(asked, is_local)) if is_valid(asked, heard, now) => is_local,
            _ => {
                let is_local = self.ask(addr).unwrap_or_else(|error| {
                    debug!(netns = self.namespace.id(), %addr, %error, "not told whether it is local");
                    false
                });
                self.remember(addr, now, is_local);
                is_local
            }
        }
    }

    fn ask(&mut self, addr: IpAddr) -> Result<bool, NetworkError> {
        let mut requests = match self.requests.take() {
            Some(requests) => requests,
            None => self
                .namespace
                .within(Requests::open)
                .map_err(NetworkError::Enter)??,
        };
        let is_local = requests.is_local(addr)?;
        self.requests = Some(requests);
        Ok(is_local)
    }

    fn remember(&mut self, addr: IpAddr, now: Time, is_local: bool) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(addr, (now, is_local));
    }
}

/// Whether any of these addresses is local in this namespace, or in the daemon's own. Blocks.
pub fn any_is_local(addrs: &[IpAddr], namespace: Option<&Namespace>) -> Result<bool, NetworkError> {
    let mut requests = match namespace {
        Some(namespace) => namespace
            .within(Requests::open)
            .map_err(NetworkError::Enter)??,
        None => Requests::open()?,
    };
    for addr in addrs {
        if requests.is_local(*addr)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether an answer that was `asked` for then is valid for something that was heard at `heard`.
fn is_valid(asked: Time, heard: Time, now: Time) -> bool {
    asked >= heard && now.since(asked) < FRESH
}

#[cfg(test)]
mod tests {
    use std::{path::Path, thread};

    use nix::{
        sched::{CloneFlags, unshare},
        unistd::geteuid,
    };

    use super::*;

    #[test]
    fn an_answer_is_valid_for_a_moment_and_for_what_was_heard_before_it() {
        let asked = clock::now();
        let (before, after) = (asked - FRESH, asked + Duration::from_nanos(1));
        assert!(is_valid(asked, asked, asked));
        assert!(is_valid(asked, before, after));
        assert!(!is_valid(asked, after, after), "it may have been added");
        assert!(!is_valid(asked, before, asked + FRESH), "it is too old");
    }

    #[test]
    fn an_address_is_local_where_the_kernel_keeps_it() {
        if !geteuid().is_root() {
            eprintln!("skipped: entering a namespace takes root");
            return;
        }
        let open = || Arc::new(Namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap());
        let empty = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            open()
        });
        let now = clock::now();
        let mut here = LocalAddresses::of(open());
        let mut there = LocalAddresses::of(empty.join().unwrap());
        for addr in ["127.0.0.1", "127.1.2.3", "::1"] {
            let addr = addr.parse().unwrap();
            assert!(here.has(addr, now), "{addr}");
            assert!(!there.has(addr, now), "its lo is down: {addr}");
        }
        assert!(!here.has("192.0.2.1".parse().unwrap(), now));
    }
}
