//! The source on one host, and what is expected of it.

use std::net::IpAddr;

use anyhow::Context as _;
use detector_tests::Host;
use detector_user::{
    model::{Bounds, NeighbourState, NetworkEvent, Route, Signal},
    signals,
    source::network::NetworkSource,
};
use tokio::sync::mpsc::Receiver;

use super::SOON;

/// The source on one host, and the events that it reported.
pub struct Listener {
    // Dropped first: the source may wait for room.
    signals: Receiver<Signal>,
    pub source: NetworkSource,
    pub told: Vec<NetworkEvent>,
}

impl Listener {
    pub fn on(host: &Host, queue: usize, receive_buffer: usize) -> anyhow::Result<Self> {
        let (sender, signals) = signals::channel(queue);
        let start =
            || NetworkSource::with_receive_buffer(sender, Bounds::new(1024), receive_buffer);
        Ok(Self {
            source: host.within(start)??,
            signals,
            told: Vec::new(),
        })
    }

    pub fn watch(&self, addrs: impl IntoIterator<Item = IpAddr>) {
        self.source.watch(addrs.into_iter().collect());
    }

    pub async fn next(&mut self) -> anyhow::Result<NetworkEvent> {
        match self.signals.recv().await {
            Some(Signal::Network { event, .. }) => {
                self.told.push(event.clone());
                Ok(event)
            }
            other => anyhow::bail!("{other:?} instead of an event of the network"),
        }
    }

    /// Takes events until there is this one.
    pub async fn hears(&mut self, wanted: NetworkEvent) -> anyhow::Result<()> {
        let heard = self.hears_one(|event| *event == wanted).await;
        heard.with_context(|| format!("not heard: {wanted:?}"))
    }

    /// Takes events until there is such a one.
    pub async fn hears_one(&mut self, is: impl Fn(&NetworkEvent) -> bool) -> anyhow::Result<()> {
        let heard = async {
            while !is(&self.next().await?) {}
            Ok(())
        };
        match tokio::time::timeout(SOON, heard).await {
            Ok(heard) => heard,
            Err(_) => {
                let last = self.told.len().saturating_sub(20);
                anyhow::bail!("told was at last: {:#?}", &self.told[last..])
            }
        }
    }

    pub async fn hears_route(&mut self, addr: IpAddr, route: Option<Route>) -> anyhow::Result<()> {
        self.hears(NetworkEvent::Route { addr, route }).await
    }
}

/// A host's eth0.
pub struct Eth0(u32);

impl Eth0 {
    pub fn of(host: &Host) -> anyhow::Result<Self> {
        let shown = host.exec("ip", &["-o", "link", "show", "dev", "eth0"])?;
        let index = shown.split(':').next().and_then(|i| i.trim().parse().ok());
        Ok(Self(index.context("ip shows no index")?))
    }

    pub fn turned(&self, up: bool) -> NetworkEvent {
        NetworkEvent::Link {
            link: self.0,
            name: "eth0".to_owned(),
            up,
        }
    }

    pub fn on_link(&self) -> Option<Route> {
        Some(Route {
            link: self.0,
            gateway: None,
        })
    }

    pub fn by(&self, gateway: impl Into<IpAddr>) -> Option<Route> {
        Some(Route {
            link: self.0,
            gateway: Some(gateway.into()),
        })
    }

    /// The kernel tells this of an entry with this card.
    pub fn neighbour(
        &self,
        addr: impl Into<IpAddr>,
        state: NeighbourState,
        card: &str,
    ) -> anyhow::Result<NetworkEvent> {
        let hardware = card.parse().map_err(anyhow::Error::msg)?;
        Ok(NetworkEvent::Neighbour {
            addr: addr.into(),
            link: self.0,
            state,
            hardware: Some(hardware),
        })
    }

    pub fn failed(&self, addr: impl Into<IpAddr>) -> NetworkEvent {
        NetworkEvent::Neighbour {
            addr: addr.into(),
            link: self.0,
            state: NeighbourState::Failed,
            hardware: None,
        }
    }
}
