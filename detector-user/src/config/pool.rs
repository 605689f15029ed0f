//! Reads `[[pool]]`: the layout of the erasure sets, for the quorum outlook.

use std::{collections::BTreeSet, ops::RangeInclusive};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config, Place,
    file::{Reader, kind, peer_name},
    suggest::did_you_mean,
};
use crate::{insight::Pool, model::PeerName};

pub(super) const POOL: &str = "pool";

const KEYS: [&str; 5] = ["name", "nodes", "drives_per_node", "data", "parity"];

/// The limits on the number of pools, the nodes of a pool, and the drives of a node.
pub const MAX_POOLS: usize = 64;
const MAX_NODES: usize = 4096;
const DRIVES: RangeInclusive<u32> = 1..=1024;

/// MinIO and RustFS have sets of 2 to 16 drives; no erasure code in use has more than 256.
const DATA: RangeInclusive<u32> = 1..=255;
const PARITY: RangeInclusive<u32> = 0..=255;

/// A pool, with the places where its size and each of its nodes are written.
#[derive(Debug)]
pub struct PlacedPool {
    pub pool: Pool,
    place: Place,
    nodes: Vec<Place>,
}

impl Reader<'_> {
    pub(super) fn pools(&mut self, name: std::ops::Range<usize>, value: &Spanned<DeValue<'_>>) {
        const HINT: &str = "write each pool as [[pool]], in double brackets";
        let DeValue::Array(pools) = value.get_ref() else {
            return self.error(name, POOL, HINT.to_owned());
        };
        for pool in pools.iter() {
            match pool.get_ref() {
                DeValue::Table(table) => self.pool(pool, table),
                _ => self.error(pool.span(), POOL, HINT.to_owned()),
            }
        }
        if pools.len() > MAX_POOLS {
            let message = format!("{} pools; {MAX_POOLS} is the most", pools.len());
            self.error(name, POOL, message);
        }
    }

    fn pool(&mut self, whole: &Spanned<DeValue<'_>>, table: &DeTable<'_>) {
        for (name, _) in table {
            let key = name.get_ref().as_ref();
            if !KEYS.contains(&key) {
                let hint = did_you_mean(key, KEYS);
                self.error(name.span(), &path(key), format!("unknown key{hint}"));
            }
        }
        let number = self.contents.pools.len() + 1;
        let name = match table.get("name").map(|value| (value, value.get_ref())) {
            None => format!("pool{number}"),
            Some((_, DeValue::String(name))) if is_name(name) => name.to_string(),
            Some((value, _)) => {
                let message = "a name has 1 to 64 characters, and no control characters";
                return self.error(value.span(), "pool.name", message.to_owned());
            }
        };
        let nodes = self.nodes(whole, table);
        let drives_per_node = self.count(whole, table, "drives_per_node", DRIVES);
        let data = self.count(whole, table, "data", DATA);
        let parity = self.count(whole, table, "parity", PARITY);
        let (Some(nodes), Some(drives_per_node), Some(data), Some(parity)) =
            (nodes, drives_per_node, data, parity)
        else {
            return;
        };
        let (nodes, places) = nodes.into_iter().unzip();
        let pool = Pool {
            name,
            nodes,
            drives_per_node,
            data,
            parity,
        };
        let place = self.place(whole.span().start);
        self.contents.pools.push(PlacedPool {
            pool,
            place,
            nodes: places,
        });
    }

    fn count(
        &mut self,
        whole: &Spanned<DeValue<'_>>,
        table: &DeTable<'_>,
        key: &str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let (least, most) = (range.start(), range.end());
        let Some(value) = table.get(key) else {
            self.error(whole.span(), POOL, format!("has no {key}; write {key} = 4"));
            return None;
        };
        let count = match value.get_ref() {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix())
                .ok()
                .filter(|number| range.contains(number))
                .ok_or_else(|| {
                    format!("{number} is out of bounds; the least is {least}, the most {most}")
                }),
            other => Err(format!("expected an integer, found {}", kind(other))),
        };
        count
            .map_err(|message| self.error(value.span(), &path(key), message))
            .ok()
    }

    fn nodes(
        &mut self,
        whole: &Spanned<DeValue<'_>>,
        table: &DeTable<'_>,
    ) -> Option<Vec<(PeerName, Place)>> {
        const KEY: &str = "pool.nodes";
        let Some(value) = table.get("nodes") else {
            let message = "has no nodes; write nodes = [\"http://node1:9000\"]".to_owned();
            self.error(whole.span(), POOL, message);
            return None;
        };
        let items = self.list(value, KEY, "http://node1:9000")?;
        if items.is_empty() || items.len() > MAX_NODES {
            let message = format!("{} nodes; a pool has 1 to {MAX_NODES}", items.len());
            self.error(value.span(), KEY, message);
            return None;
        }
        let mut known = BTreeSet::new();
        let nodes = items.iter().map(|item| {
            let parsed = peer_name(item.get_ref());
            let parsed = parsed.and_then(|spec| match known.insert(spec.name.clone()) {
                true => Ok(spec.name),
                false => Err(format!("{} is named twice", spec.name)),
            });
            match parsed {
                Ok(node) => Some((node, self.place(item.span().start))),
                Err(message) => {
                    self.error(item.span(), KEY, message);
                    None
                }
            }
        });
        // All of them are read, so that every error is reported.
        let nodes: Vec<_> = nodes.collect();
        nodes.into_iter().collect()
    }
}

impl PlacedPool {
    /// The contradictions between the pool and the rest of the configuration, each as a place, a
    /// key and a message.
    pub(super) fn errors(&self, config: &Config) -> Vec<(Place, &'static str, String)> {
        let Pool { data, parity, .. } = self.pool;
        let (size, disks) = (self.pool.set_size(), self.pool.disks());
        let mut errors = Vec::new();
        if parity > data {
            let message =
                format!("parity is {parity} and data {data}: parity is no more than data");
            errors.push((self.place.clone(), POOL, message));
        }
        if disks % size != 0 {
            let message = format!(
                "{} nodes of {} drives are {disks} drives, which do not make sets of {size} \
                 (data {data} + parity {parity}): {} are left over",
                self.pool.nodes.len(),
                self.pool.drives_per_node,
                disks % size
            );
            errors.push((self.place.clone(), POOL, message));
        }
        let is_known = |node: &PeerName| {
            config.node_name.as_ref() == Some(node)
                || config.peers.iter().any(|peer| peer.name == *node)
        };
        let nodes = self.pool.nodes.iter().zip(&self.nodes);
        for (node, place) in nodes.filter(|(node, _)| !is_known(node)) {
            let message = format!(
                "{node} is neither a peer nor this node: name it in a [[peer]], or write \
                 node_name = \"{node}\" if it is this node"
            );
            errors.push((place.clone(), "pool.nodes", message));
        }
        errors
    }
}

fn path(key: &str) -> String {
    format!("pool.{key}")
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
