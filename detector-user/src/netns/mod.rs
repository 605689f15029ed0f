//! Network namespaces other than the daemon's own, for nodes that run in containers.
//!
//! ```text
//!   network_namespaces ─ find ─▶ Follower, each second ─▶ Set ─┬─▶ netlink: looks, destroying
//!   (files, selectors)             └ Namespace, held open      ├─▶ probes
//!                                                              └─▶ the programs' filter
//! ```
//!
//! Only the [`Set`] holds a [`Namespace`] open, and the namespace is in the programs' filter for
//! just as long. While it is held open, the kernel gives its number to no other namespace. Whatever
//! is opened in it (netlink sockets, probes) lives for one snapshot or one probe. So when its
//! container ends, the next look releases it, and the kernel can remove it, unless connections of
//! the container still wait for ACKs: these keep it until they end.
//!
//! When a namespace is gone or cannot be read, its flows are removed from the evidence, with all
//! their unanswered demands ([`Signal::Namespace`](crate::model::Signal::Namespace)): a container
//! that is stopped, or was cut off just before, says nothing about its peers. What was heard there
//! still counts.
//!
//! An address means the same host in all of these namespaces: the operator who names a namespace
//! states that.

mod enter;
mod find;
mod follow;

use std::{path::PathBuf, sync::Arc};

pub use self::{
    enter::{Namespace, NamespaceError, own},
    follow::{Following, Namespaces, Set},
};
use crate::{config::Target, process::Finder};

/// The namespaces of a target at this moment, including the calling thread's own.
pub fn open(finder: &Finder, target: &Target) -> Result<Set, NamespaceError> {
    let found = find::find(finder, target)?;
    let open = |path: PathBuf| {
        let namespace = Namespace::open(&path)?;
        Ok((namespace.id(), Arc::new(namespace)))
    };
    found.into_values().map(open).collect()
}
