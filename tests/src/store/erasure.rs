//! Rows of shards: what one block of an object becomes, and back.

use anyhow::{Context as _, ensure};
use bytes::Bytes;

/// How many shards of each row hold data, and how many hold parity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub data: usize,
    pub parity: usize,
}

impl Code {
    pub fn shards(self) -> usize {
        self.data + self.parity
    }

    /// Drives that must take a write: as many as a read needs, and never half of them.
    pub fn write_quorum(self) -> usize {
        self.data + usize::from(self.data == self.parity)
    }

    /// Bytes of each shard of a block of so many: the code works on 16-bit symbols.
    pub fn shard_bytes(self, block: usize) -> usize {
        block.div_ceil(self.data).next_multiple_of(2).max(2)
    }

    /// The block's row of shards, data first.
    pub fn encode(self, block: &[u8]) -> anyhow::Result<Vec<Bytes>> {
        let size = self.shard_bytes(block.len());
        let mut padded = block.to_vec();
        padded.resize(size * self.data, 0);
        let padded = Bytes::from(padded);
        let mut shards: Vec<Bytes> = (0..self.data)
            .map(|n| padded.slice(n * size..(n + 1) * size))
            .collect();
        if self.parity > 0 {
            let parity = reed_solomon_simd::encode(self.data, self.parity, &shards)
                .context("cannot encode a block")?;
            shards.extend(parity.into_iter().map(Bytes::from));
        }
        Ok(shards)
    }

    /// The block of `length` bytes from any `data` of its shards, by their numbers.
    pub fn decode(self, shards: &[(usize, Bytes)], length: usize) -> anyhow::Result<Bytes> {
        ensure!(
            shards.len() >= self.data,
            "{} shards are too few: {} are needed",
            shards.len(),
            self.data
        );
        let (data, parity): (Vec<_>, Vec<_>) = shards
            .iter()
            .map(|(number, bytes)| (*number, bytes))
            .partition(|(number, _)| *number < self.data);
        let mut row: Vec<Option<Bytes>> = vec![None; self.data];
        for (number, bytes) in &data {
            row[*number] = Some((*bytes).clone());
        }
        if row.iter().any(Option::is_none) {
            let parity = parity.iter().map(|(n, bytes)| (n - self.data, bytes));
            let restored = reed_solomon_simd::decode(self.data, self.parity, data, parity)
                .context("cannot decode a block")?;
            for (number, bytes) in restored {
                row[number] = Some(bytes.into());
            }
        }
        let mut block = Vec::with_capacity(length);
        for shard in row.into_iter().flatten() {
            block.extend_from_slice(&shard);
        }
        ensure!(
            block.len() >= length,
            "a block of {} bytes has shards of {} together",
            length,
            block.len()
        );
        block.truncate(length);
        Ok(block.into())
    }
}
