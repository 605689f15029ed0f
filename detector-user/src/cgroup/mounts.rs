//! Where the cgroup v2 tree is mounted, as this process sees it; and if it sees none, why.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

pub(super) const MOUNTINFO: &str = "/proc/self/mountinfo";

/// Where `ip netns add` mounts the namespaces.
const NAMESPACES: &str = "/run/netns";

/// Why no cgroup v2 tree is seen.
#[derive(Debug, PartialEq, Eq)]
pub enum NoTree {
    /// This process was started by `ip netns exec NAME`, which unmounts /sys with all that is
    /// mounted below, and mounts a sysfs named after the namespace (ip-netns(8)).
    Hidden {
        namespace: String,
    },
    NotMounted,
}

impl NoTree {
    pub fn reason() -> Self {
        let mountinfo = fs::read(MOUNTINFO).unwrap_or_default();
        let is_namespace = |name: &str| Path::new(NAMESPACES).join(name).exists();
        Self::of(&String::from_utf8_lossy(&mountinfo), is_namespace)
    }

    fn of(mountinfo: &str, is_namespace: impl Fn(&str) -> bool) -> Self {
        let is_sys = |mount: &Mount<'_>| mount.point == "/sys" && mount.filesystem == "sysfs";
        let sys = mounts(mountinfo).find(is_sys);
        let name = sys.map(|sys| unescape(sys.source));
        match name.filter(|name| is_namespace(name)) {
            Some(namespace) => Self::Hidden { namespace },
            None => Self::NotMounted,
        }
    }
}

impl fmt::Display for NoTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hidden { namespace } => write!(
                f,
                "`ip netns exec {namespace}` hides it, because it mounts /sys anew; start the \
                 daemon with `nsenter --net={NAMESPACES}/{namespace}` instead"
            ),
            Self::NotMounted => {
                f.write_str("mount it: mount -t cgroup2 none /sys/fs/cgroup/unified")
            }
        }
    }
}

/// One line of a `/proc/PID/mountinfo` (proc_pid_mountinfo(5)), not decoded.
#[derive(Clone, Copy)]
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    filesystem: &'a str,
    source: &'a str,
}

fn mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let mut of_filesystem = filesystem.split(' ');
        Some(Mount {
            root: fields.next()?,
            point: fields.next()?,
            filesystem: of_filesystem.next()?,
            source: of_filesystem.next()?,
        })
    })
}

/// The mount point of the cgroup v2 tree. A mount of the whole tree is preferred, and most of all
/// the host's in a container, whose root is above that of the container's own cgroup namespace.
pub(super) fn tree_of(mountinfo: &str) -> Option<PathBuf> {
    let (mut whole, mut part) = (None, None);
    for mount in mounts(mountinfo).filter(|mount| mount.filesystem == "cgroup2") {
        let point = PathBuf::from(unescape(mount.point));
        if mount.root.starts_with("/..") {
            return Some(point);
        }
        match mount.root {
            "/" => whole.get_or_insert(point),
            _ => part.get_or_insert(point),
        };
    }
    whole.or(part)
}

/// Decodes octal escapes, such as the `\040` of a space.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1 with the unified tree next to it.
    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const UNIFIED: &str = "\
25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 25 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";
    /// A container that sees its own part of the tree; the host's tree is also mounted in it.
    const CONTAINER: &str = "\
700 699 0:26 /kubepods/pod1 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
812 690 0:26 / /host\\040sys/cgroup rw,nosuid shared:3 - cgroup2 cgroup2 rw
";

    #[test]
    fn the_tree_is_found_where_it_is_mounted() {
        let mount = |text| tree_of(text).map(|path| path.display().to_string());
        assert_eq!(mount(HYBRID).unwrap(), "/sys/fs/cgroup/unified");
        assert_eq!(mount(UNIFIED).unwrap(), "/sys/fs/cgroup");
        assert_eq!(mount(CONTAINER).unwrap(), "/host sys/cgroup");
        let part = CONTAINER.lines().next().unwrap();
        assert_eq!(mount(part).unwrap(), "/sys/fs/cgroup");
        assert_eq!(mount(HYBRID.split("41 31").next().unwrap()), None);
        let private = UNIFIED.to_owned() + "9 8 0:26 /../.. /host rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mount(&private).unwrap(), "/host");
        assert_eq!(mount("a - cgroup2\n - \n\\"), None);
    }

    #[test]
    fn an_entered_namespace_hides_the_tree() {
        let entered = "72 69 0:39 / /sys rw,relatime - sysfs r1 rw\n";
        assert_eq!(tree_of(entered), None);
        let hidden = NoTree::of(entered, |name| name == "r1");
        let namespace = "r1".to_owned();
        assert_eq!(hidden, NoTree::Hidden { namespace });
        let advice = hidden.to_string();
        assert!(advice.contains("nsenter --net=/run/netns/r1"), "{advice}");
        let other_name = NoTree::of(entered, |name| name == "r2");
        assert_eq!(other_name, NoTree::NotMounted);
        for other in [HYBRID, "", "1 2 0:3 / /sys rw - tmpfs r1", "a - b"] {
            assert_eq!(NoTree::of(other, |_| true), NoTree::NotMounted, "{other}");
        }
    }
}
