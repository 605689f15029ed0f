//! The snapshots before a batch, and one snapshot for several requests.
//!
//! If a thousand peers die together and each has its own snapshot, the kernel walks all sockets of
//! this machine a thousand times. So the snapshot for the first request also shows the sockets of
//! those that wait next. When it is their turn, each of these sockets is read once more, which takes
//! some microseconds; only a connection that is newer than the snapshot is not seen.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Duration,
};

use crate::{
    clock,
    model::{Spare, Teardown, Time},
    netlink::sock_diag::{SockDiagError, Socket},
};

use super::{
    rule,
    work::{LOOKS, Table},
};

/// The most addresses of one snapshot.
const ADDRESSES: usize = 512;

/// The most sockets that are kept of one snapshot for those that wait: some megabytes.
const SOCKETS: usize = 1 << 14;

/// A snapshot serves others for this long: about as long as it takes to destroy so many sockets.
const SERVES_FOR: Duration = Duration::from_millis(500);

/// The sockets of requests that wait.
#[derive(Default)]
pub(super) struct Shared {
    taken: Time,
    sockets: HashMap<IpAddr, Vec<Socket>>,
}

impl Shared {
    /// The sockets with these addresses: those of the last snapshot, as they are now, if it is not
    /// old and shows them; and else those of a new one, which also shows the addresses that come
    /// `next`.
    pub(super) fn sockets(
        &mut self,
        table: &mut impl Table,
        addrs: &BTreeSet<IpAddr>,
        next: &BTreeSet<IpAddr>,
    ) -> Result<Vec<Socket>, SockDiagError> {
        let is_old = clock::now().since(self.taken) >= SERVES_FOR;
        if is_old || !addrs.iter().all(|addr| self.sockets.contains_key(addr)) {
            let all: BTreeSet<IpAddr> = addrs.union(next).copied().collect();
            self.sockets.clear();
            self.sockets = by_address(table.sockets(&all)?, &all);
            self.taken = clock::now();
            return Ok(self.take(table, addrs));
        }
        let before = self.take(table, addrs);
        let now = before.iter().map(|socket| table.again(socket));
        now.filter_map(Result::transpose).collect()
    }

    /// Each request is answered once: its later snapshots are its own.
    fn take(&mut self, table: &impl Table, addrs: &BTreeSet<IpAddr>) -> Vec<Socket> {
        let own = addrs.iter().filter_map(|addr| self.sockets.remove(addr));
        let own = own.flatten().collect();
        if !table.is_complete() {
            // A namespace could not be read: the next request tries it again.
            self.sockets.clear();
        }
        own
    }
}

fn by_address(sockets: Vec<Socket>, addrs: &BTreeSet<IpAddr>) -> HashMap<IpAddr, Vec<Socket>> {
    let mut all: HashMap<_, _> = addrs.iter().map(|addr| (*addr, Vec::new())).collect();
    for socket in sockets {
        let remote = socket.reading.id.remote.ip();
        all.entry(remote).or_default().push(socket);
    }
    all
}

/// All of the peer's sockets, and the time at which the peer was heard if that spares them. The
/// first snapshot may have been taken already.
pub(super) fn look(
    table: &mut impl Table,
    request: &Teardown,
    addrs: &BTreeSet<IpAddr>,
    mut first: Option<Vec<Socket>>,
) -> Result<(Vec<Socket>, Option<Time>), SockDiagError> {
    let mut sockets = |table: &mut _| match first.take() {
        Some(sockets) => Ok(sockets),
        None => Table::sockets(table, addrs),
    };
    let Spare::HeardSince(silent_since) = request.spare else {
        return Ok((sockets(table)?, None));
    };
    let mut looks = 0;
    loop {
        let look = sockets(table)?;
        looks += 1;
        let times = look.iter().map(|socket| socket.reading.last_heard);
        let resolution = table.resolution();
        let heard = rule::heard_since(times, silent_since, resolution);
        if heard.is_none() || looks == LOOKS {
            return Ok((look, heard));
        }
    }
}

/// The addresses of the requests that come next, as far as one snapshot can serve them.
pub(super) fn next<'a>(waiting: impl Iterator<Item = &'a Teardown>) -> BTreeSet<IpAddr> {
    let mut sockets = 0;
    let fits = |request: &&Teardown| {
        sockets += request.sockets.len();
        sockets <= SOCKETS
    };
    let next = waiting.take(ADDRESSES - 1).take_while(fits);
    next.map(|request| request.addr).collect()
}
