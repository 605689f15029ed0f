//! The thread of the network source: receives changes, sends requests, reports to the core.

mod reading;

use std::{mem, os::fd::AsFd as _, sync::Arc, thread, time::Duration};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{debug, warn};

use self::reading::Stop;
use super::{
    Counts, NetworkError, Wanted,
    decode::{self, Change, Malformed},
    pace::Pace,
    socket::{Events, Heard, Requests},
    state::{State, Told},
};
use crate::{
    clock,
    model::{Signal, Time},
    signals::SignalSender,
    worker::Inbox,
};

/// The most datagrams that are taken before anything else is done.
const MOST_AT_ONCE: usize = 256;

/// The shortest time between two checks of the links: a thousand peers may fall silent one after
/// the other.
const CHECKS_APART: Duration = Duration::from_millis(10);

/// The wait after an error of the socket.
const AFTER_ERROR: Duration = Duration::from_millis(100);

pub(super) struct Following {
    events: Events,
    /// `None` after a failed request: the rest of its answer is discarded together with the socket.
    requests: Option<Requests>,
    counts: Arc<Counts>,
    signals: SignalSender,
    state: State,
    pace: Pace,
    /// Whether the links and neighbours must be read again, because changes were lost.
    resync: bool,
    /// Whether the socket was found empty since changes were lost. Until then the kernel drops all
    /// further changes without notice (`NETLINK_S_CONGESTED`, net/netlink/af_netlink.c): what is
    /// read before that may be out of date.
    drained: bool,
    /// Whether there are next hops whose neighbour entries were not read yet.
    new_next_hops: bool,
    /// When the links should be checked, and when they last were.
    check: Option<Time>,
    checked: Time,
    tell: Vec<Told>,
    /// The last error, so that it is logged once and not each time.
    failure: Option<String>,
}

/// The loop takes no more signals, or the source was dropped.
struct Ended;

impl Following {
    /// Opens its socket, then reads the links, so that no change is missed in between; this also
    /// shows that the kernel can be asked.
    pub(super) fn new(
        receive_buffer: usize,
        counts: Arc<Counts>,
        signals: SignalSender,
    ) -> Result<Self, NetworkError> {
        let mut worker = Self {
            events: Events::open(receive_buffer)?,
            requests: None,
            counts,
            signals,
            state: State::default(),
            pace: Pace::default(),
            resync: false,
            drained: true,
            new_next_hops: false,
            check: None,
            checked: Time::default(),
            tell: Vec::new(),
            failure: None,
        };
        worker.read_links()?;
        Ok(worker)
    }

    pub(super) fn run(mut self, wanted: &Inbox<Wanted>) {
        // Everything was just read: there is nothing to do until addresses are watched.
        let now = clock::now();
        self.pace.end(now, now, true);
        while !wanted.is_stopped() && self.turn(wanted).is_ok() {}
        debug!("links, routes and neighbours are no longer looked at");
    }

    fn turn(&mut self, wanted: &Inbox<Wanted>) -> Result<(), Ended> {
        self.wait(wanted);
        self.woken(wanted.take(mem::take));
        self.hear()?;
        if self.check.is_some_and(|at| at <= clock::now()) {
            self.check_links()?;
        }
        if self.drained && self.pace.due() <= clock::now() {
            self.look()?;
        }
        Ok(())
    }

    /// Waits until a change or a wake-up arrives, or something is due.
    fn wait(&self, wanted: &Inbox<Wanted>) {
        let due = self.pace.due();
        let left = self.check.map_or(due, |at| at.min(due)).since(clock::now());
        // Rounded up, or the thread would wake early and spin.
        let millis = left.as_nanos().div_ceil(1_000_000).min(60_000);
        let timeout = PollTimeout::try_from(millis as i32).unwrap_or(PollTimeout::ZERO);
        let fds = wanted
            .as_fd()
            .into_iter()
            .chain([self.events.socket.inner.as_fd()]);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // An error appears again in what is done next; EINTR is harmless.
        let _ = poll(&mut fds, timeout);
    }

    /// Does what the owner wants.
    fn woken(&mut self, wanted: Wanted) {
        if let Some(addrs) = wanted.addrs
            && self.state.watch(addrs)
        {
            self.pace.at_once(clock::now());
        }
        if wanted.check {
            self.check = Some(clock::now().max(self.checked + CHECKS_APART));
        }
    }

    /// Takes in changes, and reports links and neighbours at once.
    fn hear(&mut self) -> Result<(), Ended> {
        for _ in 0..MOST_AT_ONCE {
            let heard = self.events.receive();
            let now = clock::now();
            match heard {
                Ok(Heard::Datagram(bytes)) => {
                    for message in decode::messages(bytes) {
                        let change = message.and_then(|message| decode::change(&message));
                        match change {
                            Ok(None) => {}
                            Ok(Some(change)) => {
                                if take_in(&mut self.state, now, change, &mut self.tell) {
                                    self.pace.changed(now);
                                }
                            }
                            Err(error) => self.counts.malformed(&error),
                        }
                    }
                }
                Ok(Heard::Nothing) => {
                    self.drained = true;
                    return Ok(());
                }
                Ok(Heard::Overrun) => self.lost(now),
                Err(error) => {
                    self.say(&error);
                    self.lost(now);
                    thread::sleep(AFTER_ERROR);
                    self.drained = true;
                    return Ok(());
                }
            }
            self.tell()?;
        }
        Ok(())
    }

    /// Changes were lost: everything must be read again.
    fn lost(&mut self, now: Time) {
        if !self.resync {
            self.counts.resync();
            debug!("changes were lost; links, routes and neighbours are read again");
        }
        self.resync = true;
        self.drained = false;
        self.state.all_routes_changed();
        self.pace.at_once(now);
    }

    /// Reads what is due.
    fn look(&mut self) -> Result<(), Ended> {
        let begun = clock::now();
        let everything = self.pace.is_stale(begun) || self.resync;
        if everything {
            self.state.all_routes_changed();
        }
        self.pace.begin();
        match self.read() {
            Ok(()) => {
                self.failure = None;
                self.pace.end(begun, clock::now(), everything);
            }
            Err(Stop::Ended) => return Err(Ended),
            Err(Stop::Failed(error)) => {
                self.say(&error);
                self.pace.failed(clock::now());
            }
        }
        Ok(())
    }

    fn tell(&mut self) -> Result<(), Ended> {
        for (at, event) in self.tell.drain(..) {
            debug!(?event, at = at.as_nanos(), "network");
            // If the loop is late, this thread waits; changes that are lost meanwhile cause a new
            // reading.
            self.signals
                .blocking_send(Signal::Network { at, event })
                .map_err(|_| Ended)?;
        }
        Ok(())
    }

    fn say(&mut self, error: &NetworkError) {
        let failure = error.to_string();
        if self.failure.as_ref() != Some(&failure) {
            warn!(
                error = failure,
                "links, routes or neighbours could not be read; not told again while it stays so"
            );
            self.failure = Some(failure);
        }
    }
}

/// Takes in a change; returns whether routes must be looked up again.
fn take_in(state: &mut State, now: Time, change: Change, tell: &mut Vec<Told>) -> bool {
    match change {
        Change::Link(link) => state.link(now, link, tell) && state.all_routes_changed(),
        Change::LinkGone(index) => state.link_gone(now, index, tell) && state.all_routes_changed(),
        Change::Neighbour(entry) => {
            state.neighbour(now, &entry, tell);
            false
        }
        Change::Routes(first, last) => state.routes_changed(first, last),
        Change::AllRoutes => state.all_routes_changed(),
    }
}

impl Counts {
    fn malformed(&self, error: &Malformed) {
        if self.count_malformed() {
            warn!(%error, "left out; more of them are only counted");
        }
    }
}
