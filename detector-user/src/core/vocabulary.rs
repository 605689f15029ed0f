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

vocabulary! {
    /// What the detector believes of a peer.
    Verdict {
        /// No evidence either way.
        Unknown = "unknown",
        /// Heard from, and nothing stands unanswered.
        Alive = "alive",
        /// A demand is unanswered and the peer is silent: a hint, not yet a decision.
        Suspect = "suspect",
        /// Its kernel answers, its application does not take data (zero window).
        Slow = "slow",
        /// Silent on every flow for the patience, with demands unanswered.
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
        /// A packet arrived from the peer.
        PacketReceived = "packet_received",
        /// A handshake with the peer was finished.
        ConnectSucceeded = "connect_succeeded",
        /// The peer refused or reset a connection: its host answers.
        ResetReceived = "reset_received",
        /// A tail loss probe is unanswered.
        TlpUnanswered = "tlp_unanswered",
        /// Retransmission time-outs are unanswered.
        RtoUnanswered = "rto_unanswered",
        /// Connects are unanswered.
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
        /// This node itself may be cut off: the verdict is held.
        Isolated = "isolated",
        /// Open for the recovery time-out with no evidence either way.
        RecoveryTimeout = "recovery_timeout",
        /// A trial call succeeded.
        TrialSucceeded = "trial_succeeded",
        /// A trial call failed.
        TrialFailed = "trial_failed",
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
