//! Netlink as the kernel speaks it: what a source reads with and an effect acts with. Neither
//! imports the other, so what both need is here, and imports nothing but the core and the
//! clock.

pub mod sock_diag;
