//! Rows of shards: equal parts of a block, and their XOR. One shard of a row may be missing.

use bytes::Bytes;

/// The block as a row of so many shards; the last one is the parity.
pub fn encode(block: &[u8], shards: usize) -> Vec<Bytes> {
    let size = block.len().div_ceil(shards - 1).max(1);
    let mut padded = block.to_vec();
    padded.resize(size * (shards - 1), 0);
    let padded = Bytes::from(padded);
    let mut row: Vec<Bytes> = (0..shards - 1)
        .map(|n| padded.slice(n * size..(n + 1) * size))
        .collect();
    row.push(xor(&row));
    row
}

/// The block of this length, from all its shards but one, with their numbers.
pub fn decode(row: &[(usize, Bytes)], length: usize) -> Vec<u8> {
    let shards: Vec<Bytes> = row.iter().map(|(_, shard)| shard.clone()).collect();
    let find = |number| row.iter().find(|(n, _)| *n == number);
    let mut block = Vec::with_capacity(length);
    for number in 0..row.len() {
        match find(number) {
            Some((_, shard)) => block.extend_from_slice(shard),
            None => block.extend_from_slice(&xor(&shards)),
        }
    }
    block.truncate(length);
    block
}

fn xor(shards: &[Bytes]) -> Bytes {
    let mut sum = shards.first().map(|shard| shard.to_vec());
    for shard in shards.iter().skip(1) {
        let sum = sum.iter_mut().flatten();
        sum.zip(shard).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum.unwrap_or_default().into()
}
