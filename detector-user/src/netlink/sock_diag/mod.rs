//! The kernel's socket dump (`sock_diag(7)`), which needs no privilege to read.
//!
//! It shows one network namespace: that of the thread which opened the netlink socket.
//! [`Everywhere`] reads those of all watched namespaces as one.

mod decode;
mod destroy;
mod error;
mod everywhere;
mod key;
mod link;
mod prefixes;
mod request;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use netlink_packet_sock_diag::{AF_INET, AF_INET6, inet::StateFlags};

pub use self::{
    decode::any_datagram,
    destroy::{DestroyError, Socket},
    error::SockDiagError,
    everywhere::{Everywhere, Tables},
    key::SocketKey,
};
use self::{
    decode::{ReadAt, Response},
    error::{ATTEMPTS, MAX_FLOWS},
    link::Link,
    prefixes::{Prefix, cover},
};
use crate::{
    clock,
    model::{FlowReading, Time},
    netns::Namespace,
};

/// The most conditions of the kernel's filter, which compares them one by one for each socket. More
/// addresses are joined to prefixes: what else these hold is copied, and left out here.
const MAX_CONDITIONS: usize = 16;

/// Reads the kernel's TCP sockets.
#[derive(Debug)]
pub struct SockDiag {
    /// `None` after a failed dump: the rest of it, which is still in the socket, is discarded with
    /// the link.
    link: Option<Link>,
    /// The resolution of the ages that the kernel reports.
    jiffy: Duration,
    /// The inode of the namespace whose sockets are read.
    netns: u32,
    /// That namespace, unless it is the using thread's own.
    namespace: Option<Arc<Namespace>>,
}

impl SockDiag {
    /// Opens the socket in the calling thread's network namespace.
    pub fn open() -> Result<Self, SockDiagError> {
        Self::open_with(None)
    }

    /// Opens the socket in this network namespace.
    pub fn open_in(namespace: &Arc<Namespace>) -> Result<Self, SockDiagError> {
        Self::open_with(Some(Arc::clone(namespace)))
    }

    fn open_with(namespace: Option<Arc<Namespace>>) -> Result<Self, SockDiagError> {
        let link = open_link(namespace.as_deref())?;
        Ok(Self {
            netns: link.netns(),
            link: Some(link),
            jiffy: clock::jiffy(),
            namespace,
        })
    }

    /// All TCP flows that can be evidence: every state except LISTEN, TIME_WAIT and half-accepted.
    pub fn read_all(&mut self) -> Result<Vec<FlowReading>, SockDiagError> {
        Ok(self.read(None, |flow, _| flow)?.flows)
    }

    /// The flows whose remote address is one of `addrs`. The addresses must be canonical.
    pub fn read_peers(&mut self, addrs: &BTreeSet<IpAddr>) -> Result<Reading, SockDiagError> {
        self.read(Some(addrs), |flow, _| flow)
    }

    /// The ports on which programs here accept connections.
    pub fn listening_ports(&mut self) -> Result<BTreeSet<u16>, SockDiagError> {
        let mut ports = BTreeSet::new();
        self.dump(StateFlags::LISTEN, &[], |response, _| {
            ports.insert(response.header.socket_id.source_port);
            Ok(())
        })?;
        Ok(ports)
    }

    /// Calls `make` with each flow and the kernel's message about it, and collects the results.
    fn read<T>(
        &mut self,
        wanted: Option<&BTreeSet<IpAddr>>,
        make: impl Fn(FlowReading, &Response) -> T,
    ) -> Result<Reading<T>, SockDiagError> {
        if wanted.is_some_and(BTreeSet::is_empty) {
            return Ok(Reading {
                at: clock::now(),
                flows: Vec::new(),
            });
        }
        let in_kernel = wanted.map_or_else(Vec::new, |addrs| cover(addrs, MAX_CONDITIONS));
        repeated(|| self.read_once(wanted, &in_kernel, &make))
    }

    fn read_once<T>(
        &mut self,
        wanted: Option<&BTreeSet<IpAddr>>,
        in_kernel: &[Prefix],
        make: impl Fn(FlowReading, &Response) -> T,
    ) -> Result<Reading<T>, SockDiagError> {
        let mut flows = Vec::new();
        let at = self.dump(request::flow_states(), in_kernel, |response, read_at| {
            let remote = response.header.socket_id.destination_address.to_canonical();
            if wanted.is_some_and(|wanted| !wanted.contains(&remote)) {
                return Ok(());
            }
            if flows.len() == MAX_FLOWS {
                return Err(SockDiagError::TooManyFlows);
            }
            let flow = decode::reading(response, read_at)?;
            flows.extend(flow.map(|flow| make(flow, response)));
            Ok(())
        })?;
        Ok(Reading { at, flows })
    }

    /// Dumps both families, and returns when the dump began: everything before that time is in it.
    fn dump(
        &mut self,
        states: StateFlags,
        only: &[Prefix],
        mut each: impl FnMut(&Response, ReadAt) -> Result<(), SockDiagError>,
    ) -> Result<Time, SockDiagError> {
        let mut link = self.take_link()?;
        let (netns, jiffy) = (self.netns, self.jiffy);
        let begun = clock::now();
        for family in [AF_INET, AF_INET6] {
            link.dump(family, states.clone(), only, |response, received| {
                let read_at = ReadAt {
                    received,
                    jiffy,
                    netns,
                };
                each(response, read_at)
            })?;
        }
        self.link = Some(link);
        Ok(begun)
    }

    /// The caller puts the link back, unless there was an error.
    fn take_link(&mut self) -> Result<Link, SockDiagError> {
        match self.link.take() {
            Some(link) => Ok(link),
            None => open_link(self.namespace.as_deref()),
        }
    }
}

/// Dumps once more while the sockets change during it, up to [`ATTEMPTS`] times in all.
fn repeated<T>(mut dump: impl FnMut() -> Result<T, SockDiagError>) -> Result<T, SockDiagError> {
    for _ in 1..ATTEMPTS {
        match dump() {
            Err(SockDiagError::Interrupted) => {}
            result => return result,
        }
    }
    dump()
}

fn open_link(namespace: Option<&Namespace>) -> Result<Link, SockDiagError> {
    match namespace {
        Some(namespace) => namespace.within(Link::open).map_err(SockDiagError::Enter)?,
        None => Link::open(),
    }
}

/// One complete dump.
#[derive(Debug)]
pub struct Reading<T = FlowReading> {
    /// When the dump began. Packets that arrived during the dump may be missing from it.
    pub at: Time,
    pub flows: Vec<T>,
}
