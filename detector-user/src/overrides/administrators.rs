//! Who may override breakers and read recordings: by the credentials of the process at the other end
//! of the socket.

use std::collections::BTreeSet;

use nix::unistd::{Gid, Group, Uid, User};
use thiserror::Error;

/// The credentials of a client's process, as the kernel gives them (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    /// `None` where the process is in another pid namespace.
    pub pid: Option<i32>,
}

/// A configured administrator does not exist on this host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownAdministrator {
    #[error("admin_users: there is no user {0:?} on this host; name another one, or a user id")]
    User(String),
    #[error("admin_groups: there is no group {0:?} on this host; name another one, or a group id")]
    Group(String),
}

/// The users and groups who may override: always root and the daemon's own user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Administrators {
    uids: BTreeSet<u32>,
    gids: BTreeSet<u32>,
}

impl Administrators {
    /// Looks the names up. The members of a group are those that it has now.
    pub fn look_up(users: &[String], groups: &[String]) -> Result<Self, UnknownAdministrator> {
        let mut found = Self::default();
        found.uids.extend([0, Uid::effective().as_raw()]);
        for user in users {
            let uid = uid(user).ok_or_else(|| UnknownAdministrator::User(user.clone()))?;
            found.uids.insert(uid);
        }
        for group in groups {
            let (gid, members) =
                gid(group).ok_or_else(|| UnknownAdministrator::Group(group.clone()))?;
            found.gids.insert(gid);
            found
                .uids
                .extend(members.iter().filter_map(|name| uid(name)));
        }
        Ok(found)
    }

    pub fn include(&self, caller: Caller) -> bool {
        self.uids.contains(&caller.uid) || self.gids.contains(&caller.gid)
    }
}

/// The id of a user, by number or name.
fn uid(user: &str) -> Option<u32> {
    let by_name = || Some(User::from_name(user).ok()??.uid.as_raw());
    user.parse().ok().or_else(by_name)
}

/// The id of a group, by number or name, and the names of its members.
fn gid(group: &str) -> Option<(u32, Vec<String>)> {
    if let Ok(gid) = group.parse() {
        let found = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
        return Some((gid, found.map(|group| group.mem).unwrap_or_default()));
    }
    let found = Group::from_name(group).ok()??;
    Some((found.gid.as_raw(), found.mem))
}
