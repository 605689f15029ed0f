//! The flags of the command line, as the configuration takes them.

use super::{Profile, keys::Value};

/// The flag that names a peer.
pub const PEER_FLAG: &str = "--peer";

/// The flag that turns on every protection of a service.
pub const PROTECT_FLAG: &str = "--protect";

/// The flag that names a network namespace.
pub const NAMESPACE_FLAG: &str = "--network-namespace";

/// A flag and its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Flag {
    /// `--peer URL`.
    Peer(String),
    /// `--protect UNIT|CGROUP`: connects to dead peers are refused, connections are tuned, and
    /// those with a dead peer are destroyed.
    Protect(String),
    /// `--network-namespace PATH|UNIT|CGROUP`: watched in addition to those of the file.
    Namespace(String),
    /// `--rustfs` or `--profile NAME`: a program whose processes are looked for.
    Store {
        flag: &'static str,
        profile: Profile,
        target: String,
    },
    /// A flag that sets a key of the file.
    Key {
        flag: &'static str,
        key: &'static str,
        value: Value,
    },
}
