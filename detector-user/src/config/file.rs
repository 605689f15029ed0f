//! Reads the TOML file: what it sets, and where.

use std::{collections::BTreeSet, net::IpAddr, ops::Range, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    ConfigError, PeerSpec, Place,
    keys::{self, KEYS, Value},
    parse_peer_name,
    pool::{POOL, PlacedPool},
    suggest::did_you_mean,
};
use crate::model::MAX_ADDRESSES;

/// One key that the file sets.
#[derive(Debug)]
pub struct Setting {
    pub key: &'static keys::Key,
    pub value: Value,
    pub place: Place,
}

/// The contents of the file, and its errors.
#[derive(Debug, Default)]
pub struct Contents {
    pub settings: Vec<Setting>,
    pub peers: Vec<(PeerSpec, Place)>,
    pub pools: Vec<PlacedPool>,
    pub errors: Vec<ConfigError>,
}

const PEER: &str = "peer";
const PEER_KEYS: [&str; 2] = ["url", "addresses"];

/// Reads the text of the file at `path`.
pub fn read(path: &Path, text: &str) -> Contents {
    let mut reader = Reader {
        path,
        text,
        broken_lines: BTreeSet::new(),
        contents: Contents::default(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.syntax_error(&error);
    }
    reader.top(table.get_ref());
    reader.contents
}

pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// Lines with a syntax error. What the parser made of them is not checked further.
    broken_lines: BTreeSet<usize>,
    pub(super) contents: Contents,
}

impl Reader<'_> {
    fn syntax_error(&mut self, error: &toml::de::Error) {
        let at = error.span().map_or(0, |span| span.start);
        let (line, _) = line_and_column(self.text, at);
        if self.broken_lines.insert(line) {
            let place = self.place(at);
            self.push(place, None, error.message().to_owned());
        }
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = name.get_ref().as_ref();
            if key == PEER {
                self.peers(name.span(), value);
            } else if key == POOL {
                self.pools(name.span(), value);
            } else if let Some(key) = keys::find(key) {
                self.setting(key, value);
            } else {
                let known = KEYS.iter().map(|key| key.name).chain([PEER, POOL]);
                let hint = match key {
                    "peers" => "; write each peer as [[peer]] with its url".to_owned(),
                    "pools" => "; write each pool as [[pool]]".to_owned(),
                    _ => did_you_mean(key, known),
                };
                self.error(name.span(), key, format!("unknown key{hint}"));
            }
        }
    }

    fn setting(&mut self, key: &'static keys::Key, value: &Spanned<DeValue<'_>>) {
        match plain(value.get_ref()) {
            Ok(plain) => {
                let place = self.place(value.span().start);
                if !self.is_broken(&place) {
                    self.contents.settings.push(Setting {
                        key,
                        value: plain,
                        place,
                    });
                }
            }
            Err(message) => self.error(value.span(), key.name, message),
        }
    }

    fn peers(&mut self, name: Range<usize>, value: &Spanned<DeValue<'_>>) {
        let DeValue::Array(peers) = value.get_ref() else {
            let message = "write each peer as [[peer]], in double brackets".to_owned();
            return self.error(name, PEER, message);
        };
        for peer in peers.iter() {
            match peer.get_ref() {
                DeValue::Table(table) => self.peer(peer.span(), table),
                _ => self.error(
                    peer.span(),
                    PEER,
                    "write each peer as [[peer]] with its url".to_owned(),
                ),
            }
        }
    }

    fn peer(&mut self, span: Range<usize>, table: &DeTable<'_>) {
        let mut spec = None;
        let mut addresses = Vec::new();
        for (name, value) in table {
            match name.get_ref().as_ref() {
                "url" => spec = self.url(value),
                "addresses" => addresses = self.addresses(value),
                unknown => {
                    let hint = match unknown {
                        "name" | "host" => "; did you mean \"url\"?".to_owned(),
                        _ => did_you_mean(unknown, PEER_KEYS),
                    };
                    self.error(
                        name.span(),
                        &format!("peer.{unknown}"),
                        format!("unknown key{hint}"),
                    );
                }
            }
        }
        if !table.contains_key("url") {
            let message = "has no url; write url = \"http://node4:9000\"".to_owned();
            return self.error(span, PEER, message);
        }
        if let Some((mut spec, place)) = spec {
            if !addresses.is_empty() {
                spec.addresses = addresses;
            }
            self.contents.peers.push((spec, place));
        }
    }

    fn url(&mut self, value: &Spanned<DeValue<'_>>) -> Option<(PeerSpec, Place)> {
        match peer_name(value.get_ref()) {
            Ok(spec) => Some((spec, self.place(value.span().start))),
            Err(message) => {
                self.error(value.span(), "peer.url", message);
                None
            }
        }
    }

    fn addresses(&mut self, value: &Spanned<DeValue<'_>>) -> Vec<IpAddr> {
        const KEY: &str = "peer.addresses";
        let Some(items) = self.list(value, KEY, "10.0.0.4") else {
            return Vec::new();
        };
        let mut addresses = BTreeSet::new();
        for item in items.iter() {
            let parsed = string(item.get_ref()).and_then(|text| {
                text.parse::<IpAddr>()
                    .map_err(|_| format!("{text:?} is not an IP address; names go into url"))
            });
            match parsed {
                Ok(address) => {
                    addresses.insert(address.to_canonical());
                }
                Err(message) => self.error(item.span(), KEY, message),
            }
        }
        if addresses.len() > MAX_ADDRESSES {
            let most = MAX_ADDRESSES;
            let message = format!("{} addresses; a peer has {most} at most", addresses.len());
            self.error(value.span(), KEY, message);
        }
        addresses.into_iter().collect()
    }

    /// The items of a list of strings, as in `["example"]`.
    pub(super) fn list<'v>(
        &mut self,
        value: &'v Spanned<DeValue<'_>>,
        key: &str,
        example: &str,
    ) -> Option<&'v [Spanned<DeValue<'v>>]> {
        if let DeValue::Array(items) = value.get_ref() {
            return Some(items);
        }
        let found = kind(value.get_ref());
        let message = format!("expected a list, as in [{example:?}], found {found}");
        self.error(value.span(), key, message);
        None
    }

    pub(super) fn error(&mut self, span: Range<usize>, key: &str, message: String) {
        let place = self.place(span.start);
        if !self.is_broken(&place) {
            self.push(place, Some(key), message);
        }
    }

    fn push(&mut self, place: Place, key: Option<&str>, message: String) {
        let error = ConfigError::new(place, key, message);
        self.contents.errors.push(error);
    }

    fn is_broken(&self, place: &Place) -> bool {
        matches!(place, Place::File { line, .. } if self.broken_lines.contains(line))
    }

    pub(super) fn place(&self, at: usize) -> Place {
        let (line, column) = line_and_column(self.text, at);
        Place::File {
            path: self.path.to_owned(),
            line,
            column,
        }
    }
}

fn plain(value: &DeValue<'_>) -> Result<Value, String> {
    match value {
        DeValue::String(text) => Ok(Value::Text(text.to_string())),
        DeValue::Boolean(boolean) => Ok(Value::Boolean(*boolean)),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::Integer)
            .map_err(|_| format!("{integer} is out of bounds")),
        DeValue::Array(items) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err(format!("expected a list of strings, found {}", kind(other))),
            })
            .collect::<Result<_, _>>()
            .map(Value::List),
        other => Err(format!("expected a single value, found {}", kind(other))),
    }
}

fn string<'v>(value: &'v DeValue<'_>) -> Result<&'v str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(format!("expected a string, found {}", kind(other))),
    }
}

pub(super) fn peer_name(value: &DeValue<'_>) -> Result<PeerSpec, String> {
    parse_peer_name(string(value)?).map_err(|error| error.to_string())
}

pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The line and column of a byte, both counted from 1; columns count characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[start..].chars().count() + 1,
    )
}
