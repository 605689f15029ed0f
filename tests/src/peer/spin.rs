//! A busy loop.

use std::hint::black_box;

/// Keeps one processor busy until killed.
#[derive(Debug, clap::Args)]
pub struct Spin {}

impl Spin {
    pub(super) fn run(self) -> ! {
        let mut turns = 0_u64;
        loop {
            turns = black_box(turns.wrapping_add(1));
        }
    }
}
