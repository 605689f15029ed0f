//! The cgroups of Kubernetes pods, as the kubelet names them.
//!
//! Its driver `cgroupfs` makes `kubepods/burstable/podUID/CONTAINER`; its driver `systemd` makes
//! `kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice/RUNTIME-CONTAINER.scope`,
//! with underscores in the UID. What a pod is called is in the name of its folder of logs,
//! `/var/log/pods/NAMESPACE_NAME_UID`, which the kubelet makes too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use super::{SERVES_ANYWAY, SERVES_FOR};
use crate::{cgroup::Tree, clock, model::Time};

const LOGS: &str = "/var/log/pods";

/// The most pods of a host that are looked at.
const MAX_PODS: usize = 4096;

/// The cgroups that were last found for each pod.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// Where the folders of logs are, if not in their usual place.
    logs: Option<PathBuf>,
    found: BTreeMap<String, (Time, Vec<PathBuf>)>,
}

impl Pods {
    #[cfg(test)]
    pub(super) fn with_logs(logs: &Path) -> Self {
        Self {
            logs: Some(logs.to_owned()),
            ..Self::default()
        }
    }

    /// The cgroups of the pods with this UID or name.
    pub(super) fn find(&mut self, tree: &Tree, pod: &str) -> Vec<PathBuf> {
        if let Some((at, found)) = self.found.get(pod) {
            let are_there = !found.is_empty() && found.iter().all(|path| path.is_dir());
            let serves = match are_there {
                true => SERVES_FOR,
                false => SERVES_ANYWAY,
            };
            if clock::now().since(*at) < serves && (are_there || found.is_empty()) {
                return found.clone();
            }
        }
        let logs = self.logs.as_deref().unwrap_or(Path::new(LOGS));
        let uids = uids(logs, pod);
        let mut found =
            tree.directories(|name| uid_of(name).is_some_and(|uid| uids.contains(&uid)));
        found.truncate(MAX_PODS);
        self.found
            .insert(pod.to_owned(), (clock::now(), found.clone()));
        found
    }
}

/// The UIDs that are meant: the text itself, or those of the pods that are called so.
fn uids(logs: &Path, pod: &str) -> BTreeSet<String> {
    let is_meant = |name: &str| match pod.strip_suffix('*') {
        Some(stem) => name.starts_with(stem),
        None => name == pod,
    };
    let folders = fs::read_dir(logs).into_iter().flatten().flatten();
    let named = folders.take(MAX_PODS).filter_map(|folder| {
        let folder = folder.file_name();
        let mut parts = folder.to_str()?.split('_');
        let (_namespace, name, uid) = (parts.next()?, parts.next()?, parts.next()?);
        is_meant(name).then(|| uid.to_owned())
    });
    named.chain([pod.to_owned()]).collect()
}

/// The UID of the pod whose cgroup is called so.
pub(super) fn uid_of(cgroup: &str) -> Option<String> {
    let uid = match cgroup.strip_suffix(".slice") {
        Some(slice) if slice.starts_with("kubepods") => {
            slice.split_once("-pod")?.1.replace('_', "-")
        }
        Some(_) => return None,
        None => cgroup.strip_prefix("pod")?.to_owned(),
    };
    // A UUID, or the hash of a static pod's file.
    let is_uid = uid.len() >= 32 && uid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    is_uid.then_some(uid)
}
