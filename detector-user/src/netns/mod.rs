//! Other network namespaces than the daemon's own, for nodes that run in containers.
//!
//! ```text
//!   network_namespaces ─ find ─▶ Follower, each second ─▶ Set ─┬─▶ netlink: looks, destroying
//!   (files, units, cgroups)        └ Namespace, held open      ├─▶ probes
//!                                                              └─▶ the programs' filter
//! ```
//!
//! A [`Namespace`] is held open by the [`Set`] alone, and so are its number and its place in
//! the filter: while it is held the kernel gives the number to no other. Whatever is opened in
//! it (netlink sockets, probes) lives for one look or one probe. So when its container goes,
//! the next look lets go of the last of it, and the kernel can take it down: unless the
//! container's own connections still wait for ACKs, which hold it for as long as they do.
//!
//! A namespace that is gone, or cannot be read, takes its flows out of the evidence with all
//! that they left unanswered ([`Signal::Namespace`](crate::core::Signal::Namespace)): a
//! container that is stopped, or cut off just before, says nothing about its peers. What was
//! heard there stays heard.
//!
//! An address means the same host in all of them: whoever names a namespace says so.

mod enter;
mod find;
mod follow;

use std::{path::PathBuf, sync::Arc};

pub use self::{
    enter::{Namespace, NamespaceError, own},
    follow::{Following, Namespaces, Set},
};
use crate::{cgroup::Tree, config::Target};

/// The namespaces of a target as they are now, the calling thread's own among them.
pub fn open(tree: Option<&Tree>, target: &Target) -> Result<Set, NamespaceError> {
    let found = find::find(tree, target)?;
    let open = |path: PathBuf| {
        let namespace = Namespace::open(&path)?;
        Ok((namespace.id(), Arc::new(namespace)))
    };
    found.into_values().map(open).collect()
}
