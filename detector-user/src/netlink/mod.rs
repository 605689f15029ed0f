//! Netlink as the kernel speaks it: what a source reads with and an effect acts with. Neither
//! imports the other, so what both need is here, and imports nothing but the core, the clock
//! and the network namespaces.

pub mod sock_diag;
