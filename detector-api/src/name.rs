//! A peer's name, however a program spells it.
//!
//! Storage nodes key one peer in several ways: by its grid host, by the URL of one of its
//! disks, with a suffix for each bulk connection. The daemon names it one way. This is the one
//! parser of such names: clients, the daemon's configuration and its requests all use it. Hosts
//! and ports are read by the `url` crate, as the URL standard says.

use std::{fmt, net::IpAddr};

use url::{Host, Url};

/// The longest host name that DNS can carry (RFC 1035, 2.3.4), in its textual form.
const MAX_HOST_LEN: usize = 253;

/// Why a text does not name a peer.
///
/// ```
/// use detector_api::{NameError, PeerName};
///
/// let refused = |text| PeerName::parse(text).unwrap_err();
/// assert_eq!(refused("http://user@node4:9000"), NameError::UserInfo);
/// assert_eq!(
///     refused("node4").to_string(),
///     "\"node4\" has no port; write node4:9000, or give a scheme to mean its default port"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no text.
    #[error("a peer's name is empty; write it as http://node4:9000")]
    Empty,
    /// A character that no name has.
    #[error("{0:?} is not allowed in a peer's name; write it as http://node4:9000")]
    Character(char),
    /// Something that a shell or MinIO would expand.
    #[error("{0:?} is a pattern; patterns are not expanded, write each peer out")]
    Pattern(String),
    /// A scheme that peers do not speak.
    #[error("scheme {0:?} is not known; a peer is http:// or https://")]
    Scheme(String),
    /// A user or a password before the host.
    #[error("a peer's name carries no user or password; write it as http://node4:9000")]
    UserInfo,
    /// A query or a fragment.
    #[error("a peer's name carries no query or fragment; write it as http://node4:9000")]
    Query,
    /// A bare host, which leaves open where it listens.
    #[error("{0:?} has no port; write {0}:9000, or give a scheme to mean its default port")]
    NoPort(String),
    /// A port on which nothing listens.
    #[error("port 0 is no peer's port")]
    PortZero,
    /// A host name that no resolver takes.
    #[error("the host is longer than {MAX_HOST_LEN} characters")]
    HostTooLong,
    /// A host or a port that is none.
    #[error("{text:?} is not a peer's name ({cause}); write it as http://node4:9000")]
    Malformed {
        /// What was to be read.
        text: String,
        /// What the URL standard has against it.
        cause: String,
    },
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
pub struct PeerName {
    text: String,
    host: Host,
    port: u16,
}

impl PeerName {
    /// Reads any spelling: a path is dropped, and so is a suffix behind a NUL; the scheme's
    /// default port is written out; a bare `node4:9000` means http.
    ///
    /// ```
    /// use detector_api::{NameError, PeerName};
    ///
    /// let name = PeerName::parse("http://10.0.0.4:9000/data/rustfs1")?;
    /// assert_eq!(name.as_str(), "http://10.0.0.4:9000");
    /// assert_eq!(PeerName::parse("ftp://node4:21"), Err(NameError::Scheme("ftp".into())));
    /// # Ok::<(), NameError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = without_suffix(text).trim();
        refuse_characters(text)?;
        let url = Url::parse(&absolute(text)?).map_err(|cause| malformed(text, cause))?;
        Self::from_url(&url, text)
    }

    fn from_url(url: &Url, text: &str) -> Result<Self, NameError> {
        if url.query().is_some() || url.fragment().is_some() {
            return Err(NameError::Query);
        }
        let no_host = || malformed(text, url::ParseError::EmptyHost);
        let host = url.host().ok_or_else(no_host)?.to_owned();
        if matches!(&host, Host::Domain(domain) if domain.len() > MAX_HOST_LEN) {
            return Err(NameError::HostTooLong);
        }
        match url.port_or_known_default() {
            None => Err(malformed(text, url::ParseError::InvalidPort)),
            Some(0) => Err(NameError::PortZero),
            Some(port) => Ok(Self::new(url.scheme(), host, port)),
        }
    }

    fn new(scheme: &str, host: Host, port: u16) -> Self {
        Self {
            text: format!("{scheme}://{host}:{port}"),
            host,
            port,
        }
    }

    /// The same endpoint by one of its host's addresses.
    pub(crate) fn at(&self, address: IpAddr) -> Self {
        let scheme = self.text.split(':').next().unwrap_or_default();
        let host = match address {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        Self::new(scheme, host, self.port)
    }

    /// The name as text.
    ///
    /// ```
    /// # use detector_api::PeerName;
    /// assert_eq!(PeerName::parse("node4:9000")?.as_str(), "http://node4:9000");
    /// # Ok::<(), detector_api::NameError>(())
    /// ```
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host as a resolver takes it: an IPv6 address stands without brackets.
    ///
    /// ```
    /// # use detector_api::PeerName;
    /// assert_eq!(PeerName::parse("http://Node4:9000")?.host(), "node4");
    /// assert_eq!(PeerName::parse("http://[fd00::4]:9000")?.host(), "fd00::4");
    /// # Ok::<(), detector_api::NameError>(())
    /// ```
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(domain) => domain.clone(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        }
    }

    /// The port, never 0.
    ///
    /// ```
    /// # use detector_api::PeerName;
    /// assert_eq!(PeerName::parse("https://node4")?.port(), 443);
    /// # Ok::<(), detector_api::NameError>(())
    /// ```
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host's address where the name gives it; an IPv4 address that is written as IPv6 is
    /// an IPv4 address.
    ///
    /// ```
    /// # use detector_api::PeerName;
    /// let address = PeerName::parse("http://[::ffff:10.0.0.4]:9000")?.address();
    /// assert_eq!(address, "10.0.0.4".parse().ok());
    /// assert_eq!(PeerName::parse("http://node4:9000")?.address(), None);
    /// # Ok::<(), detector_api::NameError>(())
    /// ```
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
            Host::Ipv6(ip) => Some(IpAddr::V6(ip).to_canonical()),
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl AsRef<str> for PeerName {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl From<PeerName> for String {
    fn from(name: PeerName) -> Self {
        name.text
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

/// What the URL standard would silently strip, or read as something else, is refused.
fn refuse_characters(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.contains(['{', '}', '*']) {
        return Err(NameError::Pattern(text.to_owned()));
    }
    let refused = |c: &char| c.is_whitespace() || c.is_control() || *c == '\\';
    match text.chars().find(refused) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

/// The text with a scheme that peers have.
fn absolute(text: &str) -> Result<String, NameError> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    // The URL standard takes any number of slashes for two.
    let rest = match scheme {
        "" => rest,
        _ => rest.trim_start_matches('/'),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err(NameError::UserInfo);
    }
    match scheme.to_ascii_lowercase().as_str() {
        "" if !has_port(authority) => Err(NameError::NoPort(authority.to_owned())),
        "" => Ok(format!("http://{rest}")),
        "http" | "https" => Ok(text.to_owned()),
        _ => Err(NameError::Scheme(scheme.to_owned())),
    }
}

/// Whether a port is written out, which [`Url`] does not tell for a default port.
fn has_port(authority: &str) -> bool {
    let after_host = match authority.rsplit_once(']') {
        Some((_, after)) => after,
        None => authority,
    };
    after_host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty())
}

fn malformed(text: &str, cause: url::ParseError) -> NameError {
    NameError::Malformed {
        text: text.to_owned(),
        cause: cause.to_string(),
    }
}

#[cfg(test)]
mod tests;
