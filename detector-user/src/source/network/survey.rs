//! Reads links and routes once, for `detector doctor`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    NetworkError,
    decode::{self, Change},
    socket::{BATCH, Events, Requests},
};
use crate::model::Route;

/// What the source would see at its start, for `detector doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// How many links there are.
    pub links: usize,
    /// The outgoing links of the routes, and whether each is up.
    pub used: BTreeMap<String, bool>,
    /// How many addresses have no route; this host's own are among them.
    pub without_route: usize,
}

/// Reads links and routes once, in the caller's network namespace.
pub fn survey(addrs: &BTreeSet<IpAddr>) -> Result<Survey, NetworkError> {
    // Only to check that it can be opened.
    Events::open(BATCH)?;
    let mut requests = Requests::open()?;
    let mut links = BTreeMap::new();
    requests.links(|message| {
        if let Ok(Some(Change::Link(link))) = decode::change(message) {
            links.insert(link.index, (link.name, link.up));
        }
    })?;
    let mut survey = Survey {
        links: links.len(),
        ..Survey::default()
    };
    let addrs: Vec<IpAddr> = addrs.iter().map(IpAddr::to_canonical).collect();
    for batch in addrs.chunks(BATCH) {
        requests.routes(batch, |_, route| match route {
            Ok(Some(Route { link, .. })) => {
                let (name, up) = links.get(&link).cloned().unwrap_or_default();
                let name = name.unwrap_or_else(|| format!("if{link}"));
                survey.used.insert(name, up);
            }
            _ => survey.without_route += 1,
        })?;
    }
    Ok(survey)
}
