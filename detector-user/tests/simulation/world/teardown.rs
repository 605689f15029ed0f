//! The teardown of sockets: SOCK_DESTROY, after a last snapshot.

use detector_user::model::{Destroyed, FlowReading, HEARD_RESOLUTION, Signal, Spare, Teardown};

use super::{Event, World};
use crate::{
    tcp::Phase,
    ticks::{ms, us},
};

const ECONNABORTED: u32 = 103;

impl World {
    pub(super) fn teardown(&mut self, teardown: Teardown) {
        let Some(host) = self.host_named(&teardown.peer) else {
            return;
        };
        self.judge_teardown(host, &teardown.sockets);
        let after = self.rng.between(us(100), ms(3));
        let teardown = Box::new(teardown);
        self.queue
            .push(self.now + after, Event::Destroy { host, teardown });
    }

    pub(super) fn destroy(&mut self, host: usize, teardown: Teardown) {
        let mut result = Destroyed::default();
        let heard = self.is_heard_since(host, teardown.spare);
        for (id, cookie) in &teardown.sockets {
            let found = self.flows.iter().position(|flow| {
                let sender = &flow.sender;
                sender.cookie == *cookie && sender.id == *id && sender.phase != Phase::Closed
            });
            let Some(flow) = found else {
                result.gone += 1;
                continue;
            };
            let reading = self.flows[flow].sender.reading(self.now);
            let progresses = match teardown.spare {
                Spare::ProgressedSince(since) => reading.is_progressing(since, HEARD_RESOLUTION),
                Spare::HeardSince(_) | Spare::Nothing => false,
            };
            if heard || progresses {
                result.spared += 1;
                continue;
            }
            result.destroyed += 1;
            self.end(flow, ECONNABORTED);
        }
        let signal = Signal::SocketsDestroyed {
            at: self.now,
            peer: teardown.peer,
            addr: teardown.addr,
            generation: teardown.generation,
            result,
        };
        self.deliver(signal);
    }

    /// Whether any of the host's sockets has heard what spares them all.
    fn is_heard_since(&mut self, host: usize, spare: Spare) -> bool {
        let Spare::HeardSince(since) = spare else {
            return false;
        };
        let late = |reading: &FlowReading| reading.last_heard > Some(since + HEARD_RESOLUTION);
        self.readings(host, self.now).iter().any(late)
    }
}
