//! Rows of shards: equal parts of a block, and their XOR. A node may be missing.

use bytes::Bytes;

/// The node with the parity. The last ones, which are cut off, have data: every download needs
/// them.
pub const PARITY: usize = 1;

/// The block as a row of shards, one for each node.
pub fn encode(block: &[u8], nodes: usize) -> Vec<Bytes> {
    let size = block.len().div_ceil(nodes - 1).max(1);
    let mut padded = block.to_vec();
    padded.resize(size * (nodes - 1), 0);
    let mut row: Vec<Bytes> = padded.chunks(size).map(Bytes::copy_from_slice).collect();
    row.insert(PARITY, xor(&row));
    row
}

/// The block of this length, from the shards of all nodes but one.
pub fn decode(row: &[(usize, Bytes)], length: usize) -> Vec<u8> {
    let shards: Vec<Bytes> = row.iter().map(|(_, shard)| shard.clone()).collect();
    let mut block = Vec::new();
    for node in (0..=row.len()).filter(|node| *node != PARITY) {
        match row.iter().find(|(number, _)| *number == node) {
            Some((_, shard)) => block.extend_from_slice(shard),
            None => block.extend_from_slice(&xor(&shards)),
        }
    }
    block.truncate(length);
    block
}

fn xor(shards: &[Bytes]) -> Bytes {
    let mut sum = vec![0; shards[0].len()];
    for shard in shards {
        sum.iter_mut()
            .zip(shard)
            .for_each(|(sum, byte)| *sum ^= byte);
    }
    sum.into()
}
