use super::{
    Explanation, PeerName, PeerState, Settings, Signal, Time, Trial, TrialError, TrialOutcome,
};

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read all sockets with this peer's addresses and hand them back as
    /// [`Signal::SocketsRead`]. At most one is asked for a peer at a time.
    ReadSockets { peer: PeerName },
    /// Publish this state.
    Publish(PeerState),
    /// Publish that the peer is no longer watched.
    Retract { peer: PeerName, revision: u64 },
    /// Ask the source to report finished handshakes with the peer, or no longer to.
    ReportEstablished { peer: PeerName, on: bool },
}

/// The state of all peers. See the module's doc for the order of calls.
#[derive(Debug)]
pub struct Detector {}

impl Detector {
    /// A detector that knows no peers.
    pub fn new(_settings: Settings) -> Self {
        unimplemented!()
    }
    /// Takes in one thing that a source saw.
    pub fn handle_signal(&mut self, _now: Time, _signal: Signal) {
        unimplemented!()
    }
    /// To be called when [`Self::poll_timeout`] has passed; harmless at any other time.
    pub fn handle_timeout(&mut self, _now: Time) {
        unimplemented!()
    }
    /// When [`Self::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        unimplemented!()
    }
    /// The next thing to do, until `None`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        unimplemented!()
    }
    /// Why the peer's verdict is what it is.
    pub fn explain(&self, _now: Time, _peer: &PeerName) -> Option<Explanation> {
        unimplemented!()
    }
    /// Leases one of a HalfOpen peer's trials.
    pub fn acquire_trial(&mut self, _now: Time, _peer: &PeerName) -> Result<Trial, TrialError> {
        unimplemented!()
    }
    /// Takes a trial back.
    pub fn finish_trial(
        &mut self,
        _now: Time,
        _peer: &PeerName,
        _trial: u64,
        _outcome: TrialOutcome,
    ) -> Result<(), TrialError> {
        unimplemented!()
    }
}
