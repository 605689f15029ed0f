//! The storage programs whose peers the daemon finds by itself.

use super::{Config, MAX_TARGETS, Target, keys::Value, values::targets};

/// A program whose own configuration names its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    RustFs,
    Minio,
    Etcd,
    IpfsCluster,
}

impl Profile {
    pub const ALL: [Self; 4] = [Self::RustFs, Self::Minio, Self::Etcd, Self::IpfsCluster];

    /// The word of `--profile`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RustFs => "rustfs",
            Self::Minio => "minio",
            Self::Etcd => "etcd",
            Self::IpfsCluster => "ipfs-cluster",
        }
    }

    /// The key in the file.
    pub const fn key(self) -> &'static str {
        match self {
            Self::IpfsCluster => "ipfs_cluster",
            other => other.as_str(),
        }
    }

    /// The name of its executable.
    pub const fn executable(self) -> &'static str {
        match self {
            Self::IpfsCluster => "ipfs-cluster-service",
            other => other.as_str(),
        }
    }

    /// The default selector of its processes.
    pub fn default_target(self) -> Target {
        Target::Exe(self.executable().to_owned())
    }

    /// The file with its environment as packages install it: it is read while no process runs.
    pub const fn environment_file(self) -> &'static str {
        match self {
            Self::RustFs => "/etc/default/rustfs",
            Self::Minio => "/etc/default/minio",
            Self::Etcd => "/etc/default/etcd",
            Self::IpfsCluster => "/etc/default/ipfs-cluster",
        }
    }
}

/// The programs to look for, each with the selectors of its processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    pub rustfs: Vec<Target>,
    pub minio: Vec<Target>,
    pub etcd: Vec<Target>,
    pub ipfs_cluster: Vec<Target>,
}

impl Stores {
    pub fn of(&self, profile: Profile) -> &[Target] {
        match profile {
            Profile::RustFs => &self.rustfs,
            Profile::Minio => &self.minio,
            Profile::Etcd => &self.etcd,
            Profile::IpfsCluster => &self.ipfs_cluster,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.targets().next().is_none()
    }

    fn targets(&self) -> impl Iterator<Item = &Target> {
        Profile::ALL
            .into_iter()
            .flat_map(|profile| self.of(profile))
    }
}

/// What is named by hand, and what follows from the programs to look for.
impl Config {
    /// The services whose connects to dead peers are refused.
    pub fn refused(&self) -> Vec<Target> {
        self.with_stores(&self.refuse_connects)
    }

    /// The services whose connections with peers are tuned.
    pub fn tuned(&self) -> Vec<Target> {
        self.with_stores(&self.tune_sockets)
    }

    /// Those whose network namespaces are watched besides the daemon's own.
    pub fn namespaces(&self) -> Vec<Target> {
        self.with_stores(&self.network_namespaces)
    }

    fn with_stores(&self, named: &[Target]) -> Vec<Target> {
        let mut all = named.to_vec();
        for target in self.stores.targets() {
            if !all.contains(target) {
                all.push(target.clone());
            }
        }
        all
    }
}

/// True for the processes of the program's executable, false for none, or a list of selectors.
pub(super) fn store(value: &Value, profile: Profile) -> Result<Vec<Target>, String> {
    match value {
        Value::Boolean(false) => Ok(Vec::new()),
        Value::Boolean(true) => Ok(vec![profile.default_target()]),
        Value::List(_) => targets(value, MAX_TARGETS),
        other => Err(format!(
            "expected true, false or a list of selectors, as in [\"unit:{profile}.service\"], \
             found {}",
            other.kind(),
            profile = profile.as_str(),
        )),
    }
}

/// How such a key is shown.
pub(super) fn shown(targets: &[Target]) -> Value {
    match targets {
        [] => Value::Boolean(false),
        targets => Value::List(targets.iter().map(Target::to_string).collect()),
    }
}
