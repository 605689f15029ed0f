//! A peer from its name, which detector-api reads for clients and for the daemon alike.

use detector_api::NameError;

use super::PeerSpec;
use crate::model::PeerName;

/// The peer that this text names, in any spelling that [`detector_api::PeerName`] takes.
pub fn parse_peer_name(text: &str) -> Result<PeerSpec, NameError> {
    let name = detector_api::PeerName::parse(text)?;
    Ok(PeerSpec {
        name: PeerName::from_canonical(name.as_str()),
        host: name.host(),
        port: name.port(),
        addresses: name.address().into_iter().collect(),
    })
}
