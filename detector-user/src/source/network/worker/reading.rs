//! What the thread reads when it asks the kernel.

use std::{net::IpAddr, sync::Arc};

use tracing::debug;

use super::{Ended, Following, take_in};
use crate::{
    clock,
    source::network::{
        NetworkError,
        decode::{self, Change, Link},
        socket::{BATCH, Requests},
    },
};

impl Following {
    /// Reads the links that matter, each with a request of its own.
    pub(super) fn check_links(&mut self) -> Result<(), Ended> {
        self.check = None;
        let links = self.state.told_links(BATCH);
        let mut found = Vec::new();
        let counts = Arc::clone(&self.counts);
        let asked = self.ask(|requests| {
            requests.these_links(&links, |message| match decode::change(message) {
                Ok(change) => found.extend(change),
                Err(error) => counts.malformed(&error),
            })
        });
        if let Err(error) = asked {
            self.say(&error);
        }
        let now = clock::now();
        for change in found {
            if take_in(&mut self.state, now, change, &mut self.tell) {
                self.pace.changed(now);
            }
        }
        self.checked = now;
        self.tell()
    }

    /// Reads what is due.
    pub(super) fn read(&mut self) -> Result<(), Stop> {
        if self.resync {
            self.read_links()?;
            self.tell()?;
            self.resync = false;
            self.new_next_hops = true;
        }
        // What becomes due meanwhile is left to the next reading.
        let mut left = self.state.due();
        while left > 0 {
            let batch = self.state.take_due(left.min(BATCH));
            if batch.is_empty() {
                break;
            }
            left -= batch.len();
            self.read_routes(&batch)?;
            self.tell()?;
            // A lost carrier must not wait for a thousand routes.
            self.hear()?;
        }
        self.new_next_hops |= self.state.find_next_hops();
        if self.new_next_hops {
            self.read_neighbours()?;
            self.tell()?;
            self.new_next_hops = false;
        }
        Ok(())
    }

    pub(super) fn read_links(&mut self) -> Result<(), NetworkError> {
        let mut links: Vec<Link> = Vec::new();
        let counts = Arc::clone(&self.counts);
        self.ask(|requests| {
            requests.links(|message| match decode::change(message) {
                Ok(Some(Change::Link(link))) => links.push(link),
                Ok(_) => {}
                Err(error) => counts.malformed(&error),
            })
        })?;
        self.state.all_links(clock::now(), links, &mut self.tell);
        Ok(())
    }

    fn read_neighbours(&mut self) -> Result<(), NetworkError> {
        let mut entries = Vec::new();
        let counts = Arc::clone(&self.counts);
        self.ask(|requests| {
            requests.neighbours(|message| match decode::change(message) {
                Ok(Some(Change::Neighbour(mut entry))) => {
                    // All messages of a dump carry the port of the process that requested the dump.
                    entry.by_request = false;
                    entries.push((clock::now(), entry));
                }
                Ok(_) => {}
                Err(error) => counts.malformed(&error),
            })
        })?;
        for (received, entry) in entries {
            self.state.neighbour_there(received, &entry, &mut self.tell);
        }
        Ok(())
    }

    fn read_routes(&mut self, addrs: &[IpAddr]) -> Result<(), NetworkError> {
        let mut answers = Vec::new();
        let asked = self
            .ask(|requests| requests.routes(addrs, |addr, answer| answers.push((addr, answer))));
        let now = clock::now();
        for (addr, answer) in answers {
            match answer {
                Ok(route) => self.state.route(now, addr, route, &mut self.tell),
                // The last report stays valid until everything is read again.
                Err(errno) => debug!(%addr, errno, "the kernel does not tell the route"),
            }
        }
        if asked.is_err() {
            self.state.still_due(addrs);
        }
        asked
    }

    fn ask(
        &mut self,
        question: impl FnOnce(&mut Requests) -> Result<(), NetworkError>,
    ) -> Result<(), NetworkError> {
        let mut requests = match self.requests.take() {
            Some(requests) => requests,
            None => Requests::open()?,
        };
        question(&mut requests)?;
        self.requests = Some(requests);
        Ok(())
    }
}

/// Why a reading did not finish.
pub(super) enum Stop {
    Ended,
    Failed(NetworkError),
}

impl From<Ended> for Stop {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

impl From<NetworkError> for Stop {
    fn from(error: NetworkError) -> Self {
        Self::Failed(error)
    }
}
