//! The board: where the driver publishes and everyone else reads.
