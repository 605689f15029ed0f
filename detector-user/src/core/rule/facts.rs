//! What a decision is made from: plain data about one moment.

use std::time::Duration;

use crate::core::{Reason, Time, Verdict, evidence::Silence, isolation::Isolated};

/// What is known of the way to one address of a peer at one moment, as a socket snapshot shows
/// it. The rule knows nothing else.
#[derive(Clone, Debug)]
pub(in crate::core) struct Facts {
    pub now: Time,
    /// The verdict so far, and its reason.
    pub believed: (Verdict, Reason),
    /// Something stands unanswered, and its host was not heard since. Pauses of this machine,
    /// its links' outages and the time before the daemon began to watch are left out.
    pub silence: Option<Silence>,
    /// The same on a machine that is never on time, where every silence would be excused.
    pub starved: Option<Starved>,
    pub needs: Needs,
    pub link: Link,
    /// Segments of the peer have arrived in the second half of the silence.
    pub is_receiving: bool,
    /// Established flows can be probed, and are known to answer.
    pub has_flow: bool,
    /// Connects are known to be answered.
    pub has_connect: bool,
    pub last_probe: LastProbe,
    pub isolated: Isolated,
    /// This node seemed to be isolated until just now, in this very silence.
    pub was_isolated: bool,
    pub stuck: Stuck,
    pub life: Life,
}

/// A silence, pauses of this machine left out.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Starved {
    pub silence: Silence,
    pub silent: Duration,
}

/// What this path's past asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::core) struct Needs {
    /// The operator's detection time, or longer.
    pub detection_time: Duration,
    /// So many moments (where the peer can be probed at will) or transmissions must go
    /// unanswered.
    pub transmissions: u32,
    /// Whether it can be probed at will.
    pub can_ask: bool,
}

/// What the peer's network card, or one in its place, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Link {
    /// It is not on a link of this host, is not probed there, or was not yet.
    Unknown,
    /// It has answered in this silence.
    Answers,
    /// It was probed since it answered last, and does not answer.
    Silent,
}

/// When the peer was last probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum LastProbe {
    /// Just now, or it cannot be probed.
    Fresh,
    /// So long ago that it may have come back unnoticed; or the answer may be on its way.
    Due,
}

/// What is stuck on the way to a peer that lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) struct Stuck {
    pub zero_window: bool,
    /// Flows are stalled, or were until they were freed just now.
    pub flows_stalled: bool,
    /// Of those: segments without data pass.
    pub large_segments_lost: bool,
    /// The node's own calls fail in a row.
    pub calls_fail: bool,
}

/// Signs of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::core) struct Life {
    /// It was heard since it was last doubted.
    pub heard_since_doubt: bool,
    /// Something was received on a flow that is still there.
    pub is_connected: bool,
    /// When it was last heard at all.
    pub heard_ago: Option<Duration>,
}
