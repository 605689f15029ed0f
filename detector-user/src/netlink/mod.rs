//! The kernel's netlink interface: sources read with it, and effects act with it. Neither imports
//! the other, so what both need is here. It imports only the model, the clock and the network
//! namespaces.

pub mod sock_diag;
pub mod socket;
