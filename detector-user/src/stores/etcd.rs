//! etcd: its members from `--initial-cluster`, as in `a=http://10.0.0.1:2380,b=http://10.0.0.2:2380`,
//! and from the running program, which alone knows those that joined later.

mod members;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use self::members::{Members, Question};
use super::{Cluster, Environment, ReadFile, Started, StoreError, arguments::Arguments, yaml};
use crate::config::parse_peer_name;

/// The options without a value; others that are not known are taken to have one.
const FLAGS: [&str; 8] = [
    "version",
    "help",
    "h",
    "client-cert-auth",
    "peer-client-cert-auth",
    "auto-tls",
    "peer-auto-tls",
    "strict-reconfig-check",
];

/// etcd's own name of a member that is given none, and where it listens.
const DEFAULT_NAME: &str = "default";
const PEERS_AT: &str = "http://localhost:2380";
const CLIENTS_AT: &str = "http://localhost:2379";

/// What its configuration says.
struct Settings {
    named_in: &'static str,
    initial_cluster: Option<String>,
    name: Option<String>,
    listen_peer_urls: Option<String>,
    listen_client_urls: Option<String>,
}

pub fn cluster(started: &Started, read: &ReadFile<'_>) -> Result<Cluster, StoreError> {
    let arguments = Arguments::parse(&started.arguments, &FLAGS);
    if ["version", "help", "h"]
        .iter()
        .any(|flag| arguments.get(flag).is_some())
    {
        return Err(StoreError::NoServer);
    }
    let variable = |name| started.environment.get(name).map_err(StoreError::Wrong);
    let file = match arguments.get("config-file") {
        Some(file) => Some(file),
        None => variable("ETCD_CONFIG_FILE")?,
    };
    let settings = match file {
        // All other options and variables are then ignored, by etcd too.
        Some(file) => Settings::of_file(Path::new(file), read)?,
        None => Settings::given(&arguments, &started.environment)?,
    };
    let members = settings.members();
    let mut cluster = settings.initial()?;
    cluster.may_change = file.is_some() || members.is_some();
    cluster.members = members;
    if cluster.nodes.is_empty() && cluster.members.is_none() {
        return Err(StoreError::wrong(
            "names no members, neither by --initial-cluster nor in ETCD_INITIAL_CLUSTER or its \
             --config-file, and cannot be asked, because it listens by TLS alone; name its peers \
             (--peer)",
        ));
    }
    Ok(cluster)
}

impl Settings {
    fn of_file(file: &Path, read: &ReadFile<'_>) -> Result<Self, StoreError> {
        let wrong = |error: String| StoreError::wrong(format!("{}: {error}", file.display()));
        let text = read(file).map_err(|error| wrong(error.to_string()))?;
        let mut all = yaml::settings(&text).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            named_in: "initial-cluster in the configuration file",
            initial_cluster: all.remove("initial-cluster"),
            name: all.remove("name"),
            listen_peer_urls: all.remove("listen-peer-urls"),
            listen_client_urls: all.remove("listen-client-urls"),
        })
    }

    /// From the command line, and what it leaves out from the environment.
    fn given(arguments: &Arguments<'_>, environment: &Environment) -> Result<Self, StoreError> {
        let set = |option, variable| match arguments.get(option) {
            Some(value) => Ok(Some(value.to_owned())),
            None => {
                let value = environment.get(variable).map_err(StoreError::Wrong)?;
                Ok(value.map(str::to_owned))
            }
        };
        Ok(Self {
            named_in: match arguments.get("initial-cluster") {
                Some(_) => "--initial-cluster",
                None => "ETCD_INITIAL_CLUSTER",
            },
            initial_cluster: set("initial-cluster", "ETCD_INITIAL_CLUSTER")?,
            name: set("name", "ETCD_NAME")?,
            listen_peer_urls: set("listen-peer-urls", "ETCD_LISTEN_PEER_URLS")?,
            listen_client_urls: set("listen-client-urls", "ETCD_LISTEN_CLIENT_URLS")?,
        })
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_NAME)
    }

    /// How the running program is asked for its members.
    fn members(&self) -> Option<Members> {
        let peers_at = self.listen_peer_urls.as_deref().unwrap_or(PEERS_AT);
        let clients_at = self.listen_client_urls.as_deref().unwrap_or(CLIENTS_AT);
        Members::at(peers_at, clients_at, self.name())
    }

    /// The members of the first start; none where they are found by a discovery service.
    fn initial(&self) -> Result<Cluster, StoreError> {
        let named_in = self.named_in;
        let mut cluster = Cluster {
            named_in,
            ..Cluster::default()
        };
        let members = self.initial_cluster.as_deref().unwrap_or_default();
        let members = members.split(',').map(str::trim);
        for member in members.filter(|member| !member.is_empty()) {
            let Some((name, url)) = member.split_once('=') else {
                return Err(StoreError::wrong(format!(
                    "{named_in}: {member:?} is no member; one is written name=http://host:2380"
                )));
            };
            let spec = parse_peer_name(url).map_err(|error| {
                StoreError::wrong(format!("{named_in}: member {name:?}: {error}"))
            })?;
            if name == self.name() {
                cluster.own.push(spec.name.clone());
            }
            cluster.add(spec)?;
        }
        Ok(cluster.of_one_pool())
    }
}
