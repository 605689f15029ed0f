//! Merges the file and the flags: flags override the file, and peers are the union of both.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    Config, ConfigError, ConfigErrors, Flag, NAMESPACE_FLAG, PEER_FLAG, PROTECT_FLAG, PeerSpec,
    Place,
    file::{self, Contents},
    keys::{self, Value},
    parse_peer_name,
    pool::PlacedPool,
};
use crate::model::{MAX_ADDRESSES, PeerName};

/// The file that is read by default, if it exists.
pub const DEFAULT_FILE: &str = "/etc/detector/detector.toml";

const PROTECTED: Place = Place::Flag { flag: PROTECT_FLAG };

/// The keys to which `--protect` adds its service.
const PROTECT_KEYS: [&str; 2] = ["refuse_connects", "tune_sockets"];

const MAX_FILE_BYTES: u64 = 4 << 20;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    Set(Place),
}

/// A configuration without errors.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    places: BTreeMap<&'static str, Place>,
}

impl Loaded {
    /// Where the key's value comes from.
    pub fn origin(&self, key: &str) -> Origin {
        self.places
            .get(key)
            .map_or(Origin::Default, |place| Origin::Set(place.clone()))
    }
}

/// Reads `file`, or [`DEFAULT_FILE`] if that exists, and merges it with the flags.
pub fn load(file: Option<&Path>, flags: &[Flag]) -> Result<Loaded, ConfigErrors> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    match read_bounded(path) {
        Ok(text) => join(Some((path, &text)), flags),
        Err(e) if file.is_none() && e.kind() == io::ErrorKind::NotFound => join(None, flags),
        Err(e) => {
            let mut errors = vec![unreadable(path, &e)];
            // Errors in the flags are reported in the same run.
            if let Err(ConfigErrors(more)) = join(None, flags) {
                errors.extend(more);
            }
            Err(ConfigErrors(errors))
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigError {
    let path = path.to_owned();
    let message = format!("cannot be read: {error}");
    ConfigError::new(Place::WholeFile { path }, None, message)
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        let message = format!("it is larger than {MAX_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// Merges a file's text with the flags. Pure.
pub(super) fn join(file: Option<(&Path, &str)>, flags: &[Flag]) -> Result<Loaded, ConfigErrors> {
    let Contents {
        settings,
        peers,
        pools,
        errors,
    } = file
        .map(|(path, text)| file::read(path, text))
        .unwrap_or_default();
    let mut joiner = Joiner {
        config: Config::default(),
        index: HashMap::new(),
        places: BTreeMap::new(),
        errors,
    };
    for setting in settings {
        joiner.set(setting.key, &setting.value, setting.place);
    }
    for (spec, _) in peers {
        joiner.add_peer(spec);
    }
    for flag in flags {
        joiner.flag(flag);
    }
    joiner.add_pools(pools);
    joiner.check_max_peers();
    joiner.check_destroy_delay();
    joiner.finish(file.map(|(path, _)| path.to_owned()))
}

/// Reads any bytes as a file: see [`hostile`](crate::hostile).
pub fn any_text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match join(Some((Path::new(DEFAULT_FILE), &text)), &[]) {
        Ok(Loaded { config, .. }) => {
            assert!(config.peers.len() <= config.core.max_peers, "peers");
            for peer in &config.peers {
                assert!(peer.addresses.len() <= MAX_ADDRESSES, "{peer:?}");
            }
        }
        Err(ConfigErrors(errors)) => {
            assert!(!errors.is_empty(), "an error says what is wrong");
            for error in &errors {
                let told = error.to_string();
                assert!(
                    !told.contains(|c: char| c.is_control() && c != '\n'),
                    "{told:?}"
                );
            }
        }
    }
}

struct Joiner {
    config: Config,
    /// The position of each peer in the configuration's list.
    index: HashMap<PeerName, usize>,
    places: BTreeMap<&'static str, Place>,
    errors: Vec<ConfigError>,
}

impl Joiner {
    fn set(&mut self, key: &'static keys::Key, value: &Value, place: Place) {
        match key.set(&mut self.config, value) {
            Ok(()) => {
                self.places.insert(key.name, place);
            }
            Err(message) => self.error(place, Some(key.name), message),
        }
    }

    fn flag(&mut self, flag: &Flag) {
        match flag {
            Flag::Peer(url) => match parse_peer_name(url) {
                Ok(spec) => self.add_peer(spec),
                Err(error) => self.flag_error(PEER_FLAG, error.to_string()),
            },
            Flag::Protect(target) => self.protect(target),
            Flag::Namespace(target) => {
                self.add_target(NAMESPACE_FLAG, "network_namespaces", target);
            }
            Flag::Store {
                flag,
                profile,
                target,
            } => {
                self.add_target(flag, profile.key(), target);
            }
            Flag::Key { flag, key, value } => match keys::find(key) {
                Some(key) => {
                    if let Err(message) = key.set(&mut self.config, value) {
                        self.flag_error(flag, message);
                    } else {
                        self.places.insert(key.name, Place::Flag { flag });
                    }
                }
                None => self.flag_error(flag, format!("stands for {key}, which is no key")),
            },
        }
    }

    fn protect(&mut self, target: &str) {
        for name in PROTECT_KEYS {
            if !self.add_target(PROTECT_FLAG, name, target) {
                return;
            }
        }
        self.config.core.destroy_sockets = true;
        self.places.insert("destroy_sockets", PROTECTED);
    }

    /// Adds to the targets of the file; returns whether that succeeded.
    fn add_target(&mut self, flag: &'static str, name: &str, target: &str) -> bool {
        let Some(key) = keys::find(name) else {
            return false;
        };
        let mut targets = match key.get(&self.config) {
            Value::List(targets) => targets,
            _ => Vec::new(),
        };
        targets.push(target.to_owned());
        if let Err(message) = key.set(&mut self.config, &Value::List(targets)) {
            self.flag_error(flag, message);
            return false;
        }
        self.places.insert(key.name, Place::Flag { flag });
        true
    }

    fn flag_error(&mut self, flag: &'static str, message: String) {
        self.error(Place::Flag { flag }, None, message);
    }

    /// RustFS's own list names a host with several disks several times. Each name is kept once,
    /// with the addresses of all its entries.
    fn add_peer(&mut self, spec: PeerSpec) {
        let peers = &mut self.config.peers;
        let index = *self.index.entry(spec.name.clone()).or_insert(peers.len());
        let Some(known) = peers.get_mut(index) else {
            peers.push(spec);
            return;
        };
        known.addresses.extend(spec.addresses);
        known.addresses.sort_unstable();
        known.addresses.dedup();
        known.addresses.truncate(MAX_ADDRESSES);
    }

    /// Called when all peers are known, because the nodes of a pool are peers.
    fn add_pools(&mut self, pools: Vec<PlacedPool>) {
        for placed in pools {
            for (place, key, message) in placed.errors(&self.config) {
                self.error(place, Some(key), message);
            }
            self.config.pools.push(placed.pool);
        }
    }

    fn check_max_peers(&mut self) {
        let (peers, max_peers) = (self.config.peers.len(), self.config.core.max_peers);
        if peers > max_peers {
            let message = format!("{peers} peers are named, and {max_peers} is the most");
            self.error(self.place(&["max_peers"]), Some("max_peers"), message);
        }
    }

    /// A peer's sockets cannot be destroyed before the peer is dead.
    fn check_destroy_delay(&mut self) {
        let core = &self.config.core;
        if !core.destroy_sockets || core.destroy_delay >= core.detection_time {
            return;
        }
        let show = humantime::format_duration;
        let (destroy_delay, detection_time) = (show(core.destroy_delay), show(core.detection_time));
        let message = format!(
            "destroy_delay is {destroy_delay} and detection_time {detection_time}: a dead peer's sockets are destroyed \
             no sooner than it is dead; make destroy_delay {detection_time} or more, or detection_time less"
        );
        let place = self.place(&["destroy_delay", "detection_time"]);
        self.error(place, Some("destroy_delay"), message);
    }

    /// The place of the first of these keys that is set.
    fn place(&self, keys: &[&str]) -> Place {
        let place = keys.iter().find_map(|key| self.places.get(key));
        place.cloned().unwrap_or(Place::Together)
    }

    fn error(&mut self, place: Place, key: Option<&str>, message: String) {
        self.errors.push(ConfigError::new(place, key, message));
    }

    fn finish(mut self, file: Option<PathBuf>) -> Result<Loaded, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(Loaded {
                config: self.config,
                file,
                places: self.places,
            });
        }
        // The errors of the file come first, in the order of its lines, then those of the flags.
        self.errors.sort_by_key(|error| match error.place {
            Place::WholeFile { .. } => (0, 0, 0),
            Place::File { line, column, .. } => (1, line, column),
            Place::Flag { .. } => (2, 0, 0),
            Place::Together => (3, 0, 0),
        });
        Err(ConfigErrors(self.errors))
    }
}
