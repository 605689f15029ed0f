//! The words of the API, the log and the metric labels. Each is defined once, here.

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        pub enum $name { $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word, in lower snake case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// For the words of others that end up in the same places.
pub(crate) use vocabulary;

vocabulary! {
    /// What the detector believes of a peer.
    Verdict {
        /// No evidence either way.
        Unknown = "unknown",
        /// It was heard, and nothing is unanswered.
        Alive = "alive",
        /// A demand is unanswered and the peer is silent: a hint, not yet a decision.
        Suspect = "suspect",
        /// It answers, and part of what is sent to it is stuck: its application does not take
        /// data (zero window) or does not answer calls (reported), flows are stalled, or large
        /// segments are lost.
        Degraded = "degraded",
        /// Silent on every path for the detection time, with demands unanswered.
        Dead = "dead",
    }
}

vocabulary! {
    /// Whether the peer is to be called.
    Breaker {
        /// Call.
        Closed = "closed",
        /// Fail fast, drop connections.
        Open = "open",
        /// Call only with a leased trial.
        HalfOpen = "half_open",
    }
}

vocabulary! {
    /// Why the verdict or the breaker is what it is.
    Reason {
        /// Nothing known yet.
        NoEvidence = "no_evidence",
        /// The host was heard on a flow that still exists.
        PacketReceived = "packet_received",
        /// A handshake with the peer was finished.
        ConnectSucceeded = "connect_succeeded",
        /// The peer refused or reset a connection: its host answers.
        ResetReceived = "reset_received",
        /// A tail loss probe is unanswered.
        TlpUnanswered = "tlp_unanswered",
        /// Retransmission time-outs are unanswered.
        RtoUnanswered = "rto_unanswered",
        /// SYNs are unanswered.
        ConnectUnanswered = "connect_unanswered",
        /// The kernel gave up on the peer (`ETIMEDOUT`, `EHOSTUNREACH`, …).
        ErrorReported = "error_reported",
        /// The peer's receive window is closed.
        ZeroWindow = "zero_window",
        /// The daemon's own probes are unanswered.
        ProbeUnanswered = "probe_unanswered",
        /// The kernel asked for the neighbour's address in vain.
        NeighbourFailed = "neighbour_failed",
        /// A probe of the daemon's own was answered.
        ProbeAnswered = "probe_answered",
        /// This node itself may be isolated: no peer becomes Dead; a peer that would be Dead is
        /// Suspect with this reason.
        Isolated = "isolated",
        /// Open for the recovery time-out with no evidence either way.
        RecoveryTimeout = "recovery_timeout",
        /// A trial call succeeded.
        TrialSucceeded = "trial_succeeded",
        /// A trial call failed.
        TrialFailed = "trial_failed",
        /// This node's programs reported failed calls, and the kernel has no evidence either way.
        FailuresReported = "failures_reported",
        /// The peer was dead before the daemon started, and nothing was heard from it since.
        DeadBeforeStart = "dead_before_start",
        /// This node's programs reported failed calls, but the kernel shows that the host is alive.
        SlownessReported = "slowness_reported",
        /// The host acknowledges nothing, although its network card (or one in its place)
        /// answers on the link.
        HostUnanswered = "host_unanswered",
        /// Segments arrive from the peer, and nothing that is sent to it is acknowledged.
        SendsUnanswered = "sends_unanswered",
        /// Some flows' retransmissions are unanswered while the peer is heard on others.
        FlowsStalled = "flows_stalled",
        /// Small segments pass and large ones do not.
        LargeSegmentsLost = "large_segments_lost",
        /// One of the peer's addresses is dead, another one answers.
        PathDead = "path_dead",
        /// An administrator has put the peer in maintenance.
        Maintenance = "maintenance",
        /// An administrator holds the breaker open.
        ForcedOpen = "forced_open",
        /// An administrator holds the breaker closed.
        ForcedClosed = "forced_closed",
    }
}

vocabulary! {
    /// Whether breakers are acted on.
    Mode {
        /// Breakers open.
        Enforce = "enforce",
        /// Breakers stay Closed; what they would be is published beside them.
        Observe = "observe",
    }
}

vocabulary! {
    /// What kind of operation a report is about.
    Operation {
        /// A control call that is none of those below.
        Control = "control",
        /// A transfer of object data.
        Bulk = "bulk",
        /// Asking for a disk's identity or state.
        DiskState = "disk_state",
        /// Reading the metadata of IAM or of the configuration.
        IamRead = "iam_read",
        /// One peer's part of what the console shows.
        Console = "console",
        /// Acquiring, renewing or releasing a lock.
        Lock = "lock",
        /// A client's upload as a whole.
        Upload = "upload",
    }
}

vocabulary! {
    /// How an operation ended.
    Outcome {
        Succeeded = "succeeded",
        /// Its deadline passed.
        TimedOut = "timed_out",
        /// The connection failed, or none could be made.
        Unreachable = "unreachable",
        /// The peer answered with an error: its host and its program live.
        Refused = "refused",
        /// Too few disks or nodes took part, by the application's own count.
        QuorumLost = "quorum_lost",
    }
}

vocabulary! {
    /// Where a peer's health is going.
    Trend {
        Steady = "steady",
        Improving = "improving",
        Worsening = "worsening",
    }
}
