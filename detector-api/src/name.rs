//! A peer's name, however a program spells it.
//!
//! Storage nodes key one peer in several ways: by its grid host, by the URL of one of its
//! disks, with a suffix for each bulk connection. The daemon names it one way. Here the many
//! become that one, by the rules of the URL standard that the daemon's own parser follows
//! (the daemon's tests compare the two), without a URL library and, as a rule, without
//! allocating.

mod host;
mod text;

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use self::{host::Host, text::Text};

/// The longest canonical name: `https://`, a host of 253 characters, `:65535`.
const MAX_NAME: usize = 8 + host::MAX + 6;

/// Why a text does not name a peer.
///
/// ```
/// use detector_api::{NameError, PeerName};
///
/// let refused = |text| PeerName::parse(text).unwrap_err();
/// assert_eq!(refused("node4"), NameError::NoPort);
/// assert_eq!(refused("http://user@node4:9000"), NameError::UserInfo);
/// assert_eq!(
///     refused("node4:0").to_string(),
///     "a peer's port is a number from 1 to 65535; write it as http://node4:9000"
/// );
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no text.
    #[error("a peer's name is empty; write it as http://node4:9000")]
    Empty,
    /// A character that no name has.
    #[error("{0:?} is not allowed in a peer's name; write it as http://node4:9000")]
    Character(char),
    /// A scheme that peers do not speak.
    #[error("a peer is http:// or https://; write it as http://node4:9000")]
    Scheme,
    /// A user or a password before the host.
    #[error("a peer's name carries no user or password; write it as http://node4:9000")]
    UserInfo,
    /// A query or a fragment.
    #[error("a peer's name carries no query or fragment; write it as http://node4:9000")]
    Query,
    /// A bare host, which leaves open where it listens.
    #[error("a peer's name has a port or a scheme; write it as http://node4:9000")]
    NoPort,
    /// A port that is none.
    #[error("a peer's port is a number from 1 to 65535; write it as http://node4:9000")]
    Port,
    /// A host that is none.
    #[error("a peer's host is a name or an address; write it as http://node4:9000")]
    Host,
    /// A host name that is not in ASCII.
    #[error("a host name outside ASCII is written in its xn-- form")]
    NotAscii,
    /// A host name that no resolver takes.
    #[error("a host name has at most 253 characters")]
    HostTooLong,
}

/// A peer's name in the one form that the daemon uses: scheme, host in lower case and port,
/// as in `http://node4:9000`; an IPv6 address stands in brackets.
///
/// ```
/// use detector_api::PeerName;
///
/// for spelling in [
///     "http://node4:9000",
///     "http://node4:9000/",
///     "http://node4:9000/data/rustfs1",
///     "http://node4:9000\0bulk\x002",
///     "HTTP://Node4:9000",
///     "node4:9000",
/// ] {
///     assert_eq!(PeerName::parse(spelling)?.as_str(), "http://node4:9000");
/// }
/// assert_eq!(PeerName::parse("https://node4")?.as_str(), "https://node4:443");
/// assert_eq!(PeerName::parse("[FD00::0:4]:9000")?.as_str(), "http://[fd00::4]:9000");
/// assert!(PeerName::parse("node4").is_err());
/// # Ok::<(), detector_api::NameError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName<'a>(Cow<'a, str>);

impl<'a> PeerName<'a> {
    /// Reads any spelling: a path is dropped, and so is a suffix behind a NUL; the scheme's
    /// default port is written out; a bare `node4:9000` means http. Allocates only where the
    /// name is not spelled canonically up to there.
    ///
    /// ```
    /// use detector_api::{NameError, PeerName};
    ///
    /// let name = PeerName::parse("http://10.0.0.4:9000/data/rustfs1")?;
    /// assert_eq!(name.as_str(), "http://10.0.0.4:9000");
    /// assert_eq!(PeerName::parse("ftp://node4:21"), Err(NameError::Scheme));
    /// # Ok::<(), NameError>(())
    /// ```
    pub fn parse(text: &'a str) -> Result<Self, NameError> {
        let text = without_suffix(text).trim();
        let name = canonical(text)?;
        // What is spelled canonically is borrowed.
        Ok(Self(match text.get(..name.len()) {
            Some(start) if start == name.as_str() => Cow::Borrowed(start),
            _ => Cow::Owned(name.as_str().to_owned()),
        }))
    }

    /// The name as text.
    ///
    /// ```
    /// # use detector_api::PeerName;
    /// assert_eq!(PeerName::parse("node4:9000")?.as_str(), "http://node4:9000");
    /// # Ok::<(), detector_api::NameError>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same name, free of what it was read from.
    ///
    /// ```
    /// # use detector_api::PeerName;
    /// let key: PeerName<'static> = {
    ///     let url = String::from("http://node4:9000/data");
    ///     PeerName::parse(&url)?.into_owned()
    /// };
    /// assert_eq!(key.as_str(), "http://node4:9000");
    /// # Ok::<(), detector_api::NameError>(())
    /// ```
    pub fn into_owned(self) -> PeerName<'static> {
        PeerName(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Display for PeerName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for PeerName<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<PeerName<'_>> for String {
    fn from(name: PeerName<'_>) -> Self {
        name.0.into_owned()
    }
}

/// A name up to its path or its suffix, which as a rule makes it canonical.
#[inline]
pub(crate) fn without_path(name: &str) -> &str {
    let bytes = name.as_bytes();
    // Behind the two slashes of `http://` or `https://`, wherever they are.
    let start = match bytes {
        [b'h', b't', b't', b'p', b':', b'/', b'/', ..] => 7,
        [b'h', b't', b't', b'p', b's', b':', b'/', b'/', ..] => 8,
        _ => return name,
    };
    let ends = |byte: &u8| matches!(byte, b'/' | 0);
    match bytes[start..].iter().position(ends) {
        Some(length) => &name[..start + length],
        None => name,
    }
}

/// The part before the first NUL: behind it stands which of a peer's connections is meant.
fn without_suffix(text: &str) -> &str {
    text.split('\0').next().unwrap_or(text)
}

fn canonical(text: &str) -> Result<Text<MAX_NAME>, NameError> {
    refuse_characters(text)?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    // The URL standard takes any number of slashes for two.
    let rest = if scheme.is_empty() {
        rest
    } else {
        rest.trim_start_matches('/')
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    let (host, port) = split_authority(authority);
    let (scheme, default_port) = match scheme {
        "" if port.is_none_or(str::is_empty) => return Err(NameError::NoPort),
        "" => ("http", 80),
        _ if scheme.eq_ignore_ascii_case("http") => ("http", 80),
        _ if scheme.eq_ignore_ascii_case("https") => ("https", 443),
        _ => return Err(NameError::Scheme),
    };
    if authority.contains('@') {
        return Err(NameError::UserInfo);
    }
    let port = match port {
        None | Some("") => default_port,
        Some(digits) => parse_port(digits)?,
    };
    let host = Host::parse(host)?;
    let mut name = Text::new();
    write!(name, "{scheme}://{host}:{port}").map_err(|_| NameError::HostTooLong)?;
    Ok(name)
}

/// What a URL library would silently strip, or read as something else, is refused.
fn refuse_characters(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let refused =
        |c: &char| matches!(c, '{' | '}' | '*' | '\\') || c.is_whitespace() || c.is_control();
    match text.chars().find(refused) {
        Some(c) => Err(NameError::Character(c)),
        None if text.contains(['?', '#']) => Err(NameError::Query),
        None => Ok(()),
    }
}

/// Host and port: the first colon outside brackets parts them.
fn split_authority(authority: &str) -> (&str, Option<&str>) {
    let mut in_brackets = false;
    for (index, byte) in authority.bytes().enumerate() {
        match byte {
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            b':' if !in_brackets => return (&authority[..index], Some(&authority[index + 1..])),
            _ => {}
        }
    }
    (authority, None)
}

fn parse_port(digits: &str) -> Result<u16, NameError> {
    // `parse` would take a sign.
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NameError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(NameError::Port),
        Ok(port) => Ok(port),
    }
}

#[cfg(test)]
mod tests;
