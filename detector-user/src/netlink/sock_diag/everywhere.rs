//! Reads the socket tables of all watched network namespaces as one.
//!
//! A netlink socket shows the namespace in which it was opened, and keeps that namespace alive. So
//! netlink sockets in other namespaces are opened for one snapshot and then closed.

use std::{collections::BTreeSet, net::IpAddr};

use tracing::warn;

use super::{DestroyError, Reading, SockDiag, SockDiagError, Socket, error::MAX_FLOWS};
use crate::{model::FlowReading, netns::Namespaces};

/// Opens the tables of all watched namespaces.
#[derive(Debug)]
pub struct Everywhere {
    own: SockDiag,
    namespaces: Namespaces,
    /// The last message that was logged about namespaces that cannot be read.
    said: Option<String>,
}

impl Everywhere {
    /// Opens the table of the daemon's own namespace, which is that of the calling thread.
    pub fn open(namespaces: Namespaces) -> Result<Self, SockDiagError> {
        Ok(Self {
            own: SockDiag::open()?,
            namespaces,
            said: None,
        })
    }

    /// The tables of the namespaces that are watched now. Drop the result soon: it holds the
    /// namespaces open.
    pub fn tables(&mut self) -> Tables<'_> {
        let mut unreadable = Vec::new();
        let mut others = Vec::new();
        for (&netns, namespace) in &*self.namespaces.others() {
            match SockDiag::open_in(namespace) {
                Ok(sock_diag) => others.push(sock_diag),
                Err(error) => unreadable.push((netns, error)),
            }
        }
        Tables {
            own: Some(&mut self.own),
            others,
            unreadable,
        }
    }

    /// The flows whose remote address is one of `addrs`, and the namespaces whose flows are missing
    /// because they cannot be read. The addresses must be canonical. It is an error if no namespace
    /// can be read.
    pub fn read_peers(
        &mut self,
        addrs: &BTreeSet<IpAddr>,
    ) -> Result<(Reading<FlowReading>, Vec<u32>), SockDiagError> {
        let mut tables = self.tables();
        let reading = tables.read(|table| table.read_peers(addrs));
        let unreadable = std::mem::take(&mut tables.unreadable);
        drop(tables);
        let reading = reading?;
        if let Some(first) = news(&mut self.said, &unreadable) {
            warn!(
                namespaces = unreadable.len(),
                "sockets of a network namespace cannot be read ({first}): its flows are no \
                 evidence until they can; not told again while it stays so"
            );
        }
        let unreadable = unreadable.into_iter().map(|(netns, _)| netns);
        Ok((reading, unreadable.collect()))
    }
}

/// What to log of namespaces that cannot be read: a failure once, not with each snapshot. `said` is
/// what was told last.
fn news(said: &mut Option<String>, unreadable: &[(u32, SockDiagError)]) -> Option<String> {
    let first = unreadable.first();
    let now = first.map(|(netns, error)| format!("{netns}: {error}"));
    let before = std::mem::replace(said, now.clone());
    now.filter(|_| *said != before)
}

/// The open socket tables of all watched namespaces.
#[derive(Debug)]
pub struct Tables<'a> {
    /// `None` after it could not be read.
    own: Option<&'a mut SockDiag>,
    others: Vec<SockDiag>,
    unreadable: Vec<(u32, SockDiagError)>,
}

impl Tables<'_> {
    /// Whether the sockets of this namespace can be read here.
    pub fn reaches(&self, netns: u32) -> bool {
        let own = self.own.as_deref().into_iter();
        own.chain(&self.others).any(|table| table.netns() == netns)
    }

    /// Whether all of them could be read so far.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty()
    }

    /// Calls `read` on each table and joins the results; the time is that of the first. A table
    /// that cannot be read is left out from then on. It is an error if none can be read.
    pub fn read<T>(
        &mut self,
        read: impl Fn(&mut SockDiag) -> Result<Reading<T>, SockDiagError>,
    ) -> Result<Reading<T>, SockDiagError> {
        let mut all: Option<Reading<T>> = None;
        let unreadable = &mut self.unreadable;
        let mut can_read = |table: &mut SockDiag| {
            let found = read(table).and_then(|found| join(&mut all, found));
            match found {
                Ok(()) => true,
                Err(error) => {
                    unreadable.push((table.netns(), error));
                    false
                }
            }
        };
        self.own.take_if(|own| !can_read(own));
        self.others.retain_mut(|other| can_read(other));
        match all {
            Some(all) => Ok(all),
            None => Err(self
                .unreadable
                .pop()
                .map_or(SockDiagError::Closed, |(_, e)| e)),
        }
    }

    /// The sockets whose remote address is one of `addrs`, each with the key to destroy it. The
    /// addresses must be canonical.
    pub fn sockets(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Reading<Socket>, SockDiagError> {
        self.read(|table| table.sockets(addrs))
    }

    /// Reads the socket once more; `None` if it is gone.
    pub fn again(&mut self, socket: &Socket) -> Result<Option<Socket>, SockDiagError> {
        self.of(socket)?.again(&socket.key)
    }

    /// Destroys the socket in its own namespace.
    pub fn destroy(&mut self, socket: &Socket) -> Result<(), DestroyError> {
        self.of(socket)?.destroy(&socket.key)
    }

    /// The table that the socket is in.
    fn of(&mut self, socket: &Socket) -> Result<&mut SockDiag, SockDiagError> {
        let netns = socket.reading.id.netns;
        let own = self.own.as_deref_mut().into_iter();
        let mut tables = own.chain(&mut self.others);
        let table = tables.find(|table| table.netns() == netns);
        table.ok_or(SockDiagError::Closed)
    }

    /// The largest error of `last_heard`.
    pub fn resolution(&self) -> std::time::Duration {
        super::destroy::resolution(crate::clock::jiffy())
    }
}

/// Adds the flows of one table to those of the others. All of them together may be at most as many
/// as one table may have.
fn join<T>(all: &mut Option<Reading<T>>, found: Reading<T>) -> Result<(), SockDiagError> {
    let Some(all) = all else {
        *all = Some(found);
        return Ok(());
    };
    if all.flows.len() + found.flows.len() > MAX_FLOWS {
        return Err(SockDiagError::TooManyFlows);
    }
    all.flows.extend(found.flows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, TcpListener, TcpStream},
        path::Path,
        sync::Arc,
        thread,
    };

    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::{
        model::Time,
        netns::{Namespace, Set, own},
    };

    #[test]
    fn all_tables_together_have_no_more_flows_than_one_may_have() {
        let reading = |count| Reading {
            at: Time::from_nanos(count as u64),
            flows: vec![(); count],
        };
        let joined = |first, second| {
            let mut all = None;
            join(&mut all, reading(first)).unwrap();
            let result = join(&mut all, reading(second));
            let all = all.unwrap();
            assert_eq!(all.at, reading(first).at, "the time is that of the first");
            result.map(|()| all.flows.len())
        };
        for (first, second) in [(MAX_FLOWS - 1, 1), (MAX_FLOWS / 2, 3), (0, 5)] {
            assert_eq!(joined(first, second).unwrap(), first + second);
        }
        let error = joined(MAX_FLOWS - 1, 2).unwrap_err();
        assert!(matches!(error, SockDiagError::TooManyFlows), "{error}");
    }

    #[test]
    fn a_failure_is_told_once_while_it_stays_the_same() {
        let mut said = None;
        let mut news = |unreadable: &[_]| news(&mut said, unreadable);
        let [one, other] = [7, 8].map(|netns| [(netns, SockDiagError::Overrun)]);
        assert_eq!(news(&[]), None);
        let told = news(&one).expect("it is new");
        assert!(told.starts_with("7: the kernel lost"), "{told}");
        assert_eq!(news(&one), None);
        assert!(news(&other).is_some());
        assert_eq!(news(&[]), None);
        assert!(news(&other).is_some(), "it was readable meanwhile");
    }

    /// Both ends of a connection over loopback.
    fn connection() -> [TcpStream; 2] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        [client, listener.accept().unwrap().0]
    }

    /// A new network namespace, where nothing is.
    fn new_namespace() -> Arc<Namespace> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            Namespace::open(Path::new("/proc/thread-self/ns/net")).unwrap()
        };
        Arc::new(thread::spawn(make).join().unwrap())
    }

    #[test]
    fn each_namespace_is_read_and_one_that_cannot_be_is_left_out_from_then_on() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: entering a namespace takes root");
            return;
        }
        let (here, other) = (own().unwrap(), new_namespace());
        let there = other.id();
        let [client, _server] = connection();
        let set = Set::from([(there, other)]);
        let mut everywhere = Everywhere::open(Namespaces::fixed(set).unwrap()).unwrap();
        let peers = BTreeSet::from([IpAddr::from(Ipv4Addr::LOCALHOST)]);
        let (reading, unreadable) = everywhere.read_peers(&peers).unwrap();
        assert_eq!(unreadable, [0; 0]);
        assert!(reading.flows.iter().any(|flow| flow.id.netns == here));

        let mut tables = everywhere.tables();
        let reached = |tables: &Tables<'_>| [here, there, 1].map(|netns| tables.reaches(netns));
        assert_eq!(reached(&tables), [true, true, false]);
        assert!(tables.is_complete());
        let fails_there = |table: &mut SockDiag| match table.netns() == there {
            true => Err(SockDiagError::Overrun),
            false => table.sockets(&peers),
        };
        let sockets = tables.read(fails_there).unwrap().flows;
        assert_eq!(reached(&tables), [true, false, false]);
        assert!(!tables.is_complete());
        // Each socket is looked for in its own table, and nowhere else.
        let local = client.local_addr().unwrap();
        let mut sockets = sockets.iter();
        let socket = sockets.find(|socket| socket.reading.id.local == local);
        let socket = socket.expect("the connection is in the dump");
        assert!(tables.again(socket).unwrap().is_some());
        let mut elsewhere = socket.clone();
        elsewhere.reading.id.netns = there;
        let error = tables.again(&elsewhere).unwrap_err();
        assert!(matches!(error, SockDiagError::Closed), "{error}");

        let none = tables.read(|_| Err::<Reading, _>(SockDiagError::Overrun));
        assert!(matches!(none, Err(SockDiagError::Overrun)), "{none:?}");
        assert_eq!(reached(&tables), [false; 3]);
    }
}
