//! How many losses the erasure sets tolerate, given the available nodes. This is an outlook, never
//! a decision: it knows about lost nodes, but not about lost drives.

use std::collections::BTreeMap;

use detector_api::v1::{PoolOutlook, SetOutlook};

use serde::Serialize;

use crate::model::PeerName;

/// Nodes whose drives form erasure sets of equal size.
///
/// The drives are taken in this order: the first drive of every node, in the given order of nodes,
/// then the second drive of every node, and so on. Each run of `data + parity` drives is a set. So
/// the drives of a set are spread over the nodes as evenly as possible. MinIO and RustFS lay out a
/// pool in the same way if it is named by one pattern of nodes and one of drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pool {
    pub name: String,
    /// At least one; no node occurs twice.
    pub nodes: Vec<PeerName>,
    pub drives_per_node: u32,
    pub data: u32,
    pub parity: u32,
}

impl Pool {
    /// The number of drives in a set.
    pub fn set_size(&self) -> u32 {
        self.data.saturating_add(self.parity)
    }

    pub fn disks(&self) -> u32 {
        u32::try_from(self.nodes.len())
            .unwrap_or(u32::MAX)
            .saturating_mul(self.drives_per_node)
    }

    fn sets(&self) -> u32 {
        self.disks() / self.set_size().max(1)
    }

    /// An object can be read from any `data` drives of its set.
    fn read_quorum(&self) -> u32 {
        self.data
    }

    /// One more than `data` if both sides of a partition could otherwise write.
    fn write_quorum(&self) -> u32 {
        self.data + u32::from(self.data == self.parity)
    }
}

/// The outlook of each pool, given which nodes are available.
pub fn outlook(pools: &[Pool], is_available: impl Fn(&PeerName) -> bool) -> Vec<PoolOutlook> {
    pools
        .iter()
        .map(|pool| pool_outlook(pool, &is_available))
        .collect()
}

fn pool_outlook(pool: &Pool, is_available: &impl Fn(&PeerName) -> bool) -> PoolOutlook {
    let available: Vec<bool> = pool.nodes.iter().map(is_available).collect();
    let nodes_available = available.iter().filter(|is| **is).count();
    let nodes_available = u32::try_from(nodes_available).unwrap_or(u32::MAX);
    PoolOutlook {
        pool: pool.name.clone(),
        nodes: u32::try_from(pool.nodes.len()).unwrap_or(u32::MAX),
        nodes_available,
        disks: pool.disks(),
        disks_available: nodes_available.saturating_mul(pool.drives_per_node),
        sets: (0..pool.sets())
            .map(|set| set_outlook(pool, set, &available))
            .collect(),
    }
}

fn set_outlook(pool: &Pool, set: u32, available: &[bool]) -> SetOutlook {
    let mut of_node: BTreeMap<usize, u32> = BTreeMap::new();
    for place in 0..pool.set_size() {
        let drive = set as usize * pool.set_size() as usize + place as usize;
        let node = drive % available.len().max(1);
        if available.get(node).is_some_and(|is| *is) {
            *of_node.entry(node).or_default() += 1;
        }
    }
    let mut drives: Vec<u32> = of_node.into_values().collect();
    drives.sort_unstable_by(|a, b| b.cmp(a));
    let disks_available = drives.iter().sum();
    let (read_quorum, write_quorum) = (pool.read_quorum(), pool.write_quorum());
    SetOutlook {
        set,
        disks: pool.set_size(),
        disks_available,
        read_quorum,
        write_quorum,
        readable: disks_available >= read_quorum,
        writable: disks_available >= write_quorum,
        more_losses_until_unreadable: more_losses(&drives, read_quorum),
        more_losses_until_unwritable: more_losses(&drives, write_quorum),
    }
}

/// How many nodes may be lost, the ones with the most drives first, before fewer than `quorum`
/// drives are left.
fn more_losses(drives: &[u32], quorum: u32) -> u32 {
    let mut left: u32 = drives.iter().sum();
    let mut losses = 0;
    for drives in drives {
        left -= drives;
        if left < quorum {
            break;
        }
        losses += 1;
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> PeerName {
        PeerName::from_canonical(&format!("http://node{n}:9000"))
    }

    fn pool(nodes: usize, drives_per_node: u32, data: u32, parity: u32) -> Pool {
        Pool {
            name: "pool1".to_owned(),
            nodes: (1..=nodes).map(node).collect(),
            drives_per_node,
            data,
            parity,
        }
    }

    /// The outlook after these nodes are lost.
    fn without(pool: &Pool, lost: &[usize]) -> PoolOutlook {
        let lost: Vec<_> = lost.iter().map(|n| node(*n)).collect();
        outlook(std::slice::from_ref(pool), |node| !lost.contains(node)).remove(0)
    }

    fn losses(outlook: &PoolOutlook) -> Vec<(u32, u32, u32)> {
        let of = |set: &SetOutlook| {
            (
                set.disks_available,
                set.more_losses_until_unreadable,
                set.more_losses_until_unwritable,
            )
        };
        outlook.sets.iter().map(of).collect()
    }

    #[test]
    fn four_nodes_of_four_drives_take_one_loss() {
        let pool = pool(4, 4, 12, 4);
        let all = without(&pool, &[]);
        assert_eq!(
            (
                all.nodes,
                all.nodes_available,
                all.disks,
                all.disks_available
            ),
            (4, 4, 16, 16)
        );
        assert_eq!(losses(&all), [(16, 1, 1)]);
        let one = without(&pool, &[4]);
        assert_eq!((one.nodes_available, one.disks_available), (3, 12));
        assert_eq!(losses(&one), [(12, 0, 0)]);
        assert!(one.sets[0].writable);
        let two = without(&pool, &[3, 4]);
        assert_eq!(losses(&two), [(8, 0, 0)]);
        assert!(!two.sets[0].readable && !two.sets[0].writable);
    }

    #[test]
    fn half_parity_is_read_longer_than_it_is_written() {
        let pool = pool(4, 4, 8, 8);
        let set = without(&pool, &[]).sets[0];
        assert_eq!((set.read_quorum, set.write_quorum), (8, 9));
        assert_eq!(losses(&without(&pool, &[])), [(16, 2, 1)]);
        let two = without(&pool, &[1, 2]);
        assert!(two.sets[0].readable && !two.sets[0].writable);
        assert_eq!(losses(&two), [(8, 0, 0)]);
    }

    #[test]
    fn unequal_parity_needs_no_more_than_the_data() {
        let set = without(&pool(4, 4, 10, 6), &[]).sets[0];
        assert_eq!((set.read_quorum, set.write_quorum), (10, 10));
    }

    /// Six nodes with two drives each, in sets of four: nodes 1–4; 5, 6, 1, 2; 3–6.
    #[test]
    fn a_set_s_drives_are_interleaved_over_the_nodes() {
        let pool = pool(6, 2, 3, 1);
        assert_eq!(losses(&without(&pool, &[])), [(4, 1, 1); 3]);
        let one = without(&pool, &[1]);
        assert_eq!(losses(&one), [(3, 0, 0), (3, 0, 0), (4, 1, 1)]);
        assert_eq!(
            losses(&without(&pool, &[5, 6])),
            [(4, 1, 1), (2, 0, 0), (2, 0, 0)]
        );
    }

    /// Three nodes with four drives each, in one set of twelve: each node holds four of them.
    #[test]
    fn a_node_with_many_drives_of_a_set_takes_all_of_them_with_it() {
        let pool = pool(3, 4, 7, 5);
        assert_eq!(losses(&without(&pool, &[])), [(12, 1, 1)]);
        assert_eq!(losses(&without(&pool, &[2])), [(8, 0, 0)]);
    }

    /// Five nodes with two drives each, in one set of ten.
    #[test]
    fn the_worst_losses_are_counted_one_by_one() {
        let pool = pool(5, 2, 5, 5);
        assert_eq!(losses(&without(&pool, &[])), [(10, 2, 2)]);
        assert_eq!(losses(&without(&pool, &[1])), [(8, 1, 1)]);
        assert_eq!(losses(&without(&pool, &[1, 2])), [(6, 0, 0)]);
    }
}
