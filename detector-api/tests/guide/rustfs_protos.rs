//! `crates/protos/src/lib.rs`, `build_channel`.

use std::error::Error;

use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

pub(crate) async fn build_channel(dial_addr: &str) -> Result<Channel, Box<dyn Error>> {
    let connector = Endpoint::from_shared(dial_addr.to_string())?;
    let guard = detector_api::Guard::new(&detector_api::Peer::global(dial_addr));
    let channel = match guard.run(connector.connect()).await.map_err(Status::from)? {
        Ok(channel) => channel,
        Err(err) => return Err(err.into()),
    };
    Ok(channel)
}
