//! What the rule decides from: plain data about one moment. A new fact is a field of [`Stuck`] for
//! a reason of Degraded, else of [`Facts`].

use std::time::Duration;

use crate::{
    core::{evidence::Silence, isolation::Isolated},
    model::{Reason, Time, Verdict},
};

/// What is known of one path at the moment of a socket snapshot. The rule uses nothing else.
#[derive(Clone, Debug)]
pub(in crate::core) struct Facts {
    pub now: Time,
    /// The verdict so far, and its reason.
    pub believed: (Verdict, Reason),
    /// The silence: something stands unanswered, and the host was not heard since. Demands from
    /// before a pause of this machine, before an outage of its links ended or before the daemon
    /// began to watch are left out.
    pub silence: Option<Silence>,
    /// The same silence, but pauses of this machine excuse no demand. Used on a machine that is
    /// never on time, where each pause would excuse every silence.
    pub starved: Option<Starved>,
    pub needs: Needs,
    pub link: Link,
    /// Segments from the peer have arrived in the second half of the silence.
    pub is_receiving: bool,
    /// Established flows can be probed, and are known to answer.
    pub has_flow: bool,
    /// The peer is known to answer connects.
    pub has_connect: bool,
    pub last_probe: LastProbe,
    pub isolated: Isolated,
    /// This node seemed to be isolated until just now, in this very silence.
    pub was_isolated: bool,
    pub stuck: Stuck,
    pub life: Life,
    /// Any segment of the peer was ever received.
    pub was_there: bool,
}

/// A silence, and its length without the pauses of this machine.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Starved {
    pub silence: Silence,
    pub silent: Duration,
}

/// What is needed of a silence, given what this path has shown before.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Needs {
    /// The operator's detection time, or longer.
    pub detection_time: Duration,
    /// How many moments (where the peer can be probed at will) or transmissions must go unanswered.
    pub transmissions: u32,
    /// Whether the peer can be probed at will.
    pub can_ask: bool,
}

/// Whether the peer's network card, or one in its place, answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Link {
    /// The peer is not on a link of this host, or the card was not probed or has not had the time
    /// to answer.
    Unknown,
    /// The card has answered since the host was last heard.
    Answers,
    /// The card was probed since its last answer, and does not answer.
    Silent,
}

/// When the peer was last probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum LastProbe {
    /// Just now, with time to answer; or the peer cannot be probed.
    Fresh,
    /// So long ago that the peer may have come back unnoticed; or so lately that the answer may
    /// still be on its way.
    Due,
}

/// What is stuck on the way to a live peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) struct Stuck {
    pub zero_window: bool,
    /// Flows are stalled, or were until they were destroyed just now.
    pub flows_stalled: bool,
    /// On stalled flows segments without data pass: only large ones are lost.
    pub large_segments_lost: bool,
    /// The node's own calls fail in a row.
    pub calls_fail: bool,
}

/// Signs of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) struct Life {
    /// The host was heard since it was last in doubt.
    pub heard_since_doubt: bool,
    /// A segment was received on a flow that still exists.
    pub is_connected: bool,
    /// How long ago any segment was last received from the peer.
    pub heard_ago: Option<Duration>,
}
