//! Peer names, in the one form that the API, the log and the metric labels use.

use std::net::IpAddr;

use thiserror::Error;
use url::{Host, Url};

use super::PeerSpec;
use crate::core::PeerName;

/// The longest host name that DNS can carry (RFC 1035, 2.3.4), in its textual form.
const MAX_HOST_LEN: usize = 253;

/// Why a text does not name a peer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerNameError {
    #[error("a peer's name is empty; write it as http://node4:9000")]
    Empty,
    #[error("{0:?} is not allowed in a peer's name; write it as http://node4:9000")]
    Character(char),
    #[error("{0:?} is a pattern; patterns are not expanded, write each peer out")]
    Pattern(String),
    #[error("scheme {0:?} is not known; a peer is http:// or https://")]
    Scheme(String),
    #[error("a peer's name carries no user or password; write it as http://node4:9000")]
    UserInfo,
    #[error("a peer's name carries no query or fragment; write it as http://node4:9000")]
    Query,
    #[error("{0:?} has no port; write {0}:9000, or give a scheme to mean its default port")]
    NoPort(String),
    #[error("port 0 is no peer's port")]
    PortZero,
    #[error("the host is longer than {MAX_HOST_LEN} characters")]
    HostTooLong,
    #[error("{text:?} is not a peer's name ({cause}); write it as http://node4:9000")]
    Malformed {
        text: String,
        cause: url::ParseError,
    },
}

/// Reads a peer's name as RustFS writes it and makes it canonical: scheme, host in lower
/// case and port, as in `http://node4:9000`.
///
/// A path is dropped (RustFS's names carry the disk's), the scheme's default port is
/// written out, and a bare `node4:9000` means http.
pub fn parse_peer_name(text: &str) -> Result<PeerSpec, PeerNameError> {
    let text = text.trim();
    refuse_characters(text)?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    // The URL standard takes any number of slashes for two.
    let rest = match scheme {
        "" => rest,
        _ => rest.trim_start_matches('/'),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if authority.contains('@') {
        return Err(PeerNameError::UserInfo);
    }
    let absolute = match scheme.to_ascii_lowercase().as_str() {
        "" if !has_port(authority) => return Err(PeerNameError::NoPort(authority.to_owned())),
        "" => format!("http://{rest}"),
        "http" | "https" => text.to_owned(),
        _ => return Err(PeerNameError::Scheme(scheme.to_owned())),
    };
    let url = Url::parse(&absolute).map_err(|cause| PeerNameError::Malformed {
        text: text.to_owned(),
        cause,
    })?;
    canonical(&url, text)
}

/// What the URL standard would silently strip, or read as something else, is refused.
fn refuse_characters(text: &str) -> Result<(), PeerNameError> {
    if text.is_empty() {
        return Err(PeerNameError::Empty);
    }
    if text.contains(['{', '}', '*']) {
        return Err(PeerNameError::Pattern(text.to_owned()));
    }
    match text
        .chars()
        .find(|c| c.is_whitespace() || c.is_control() || *c == '\\')
    {
        Some(c) => Err(PeerNameError::Character(c)),
        None => Ok(()),
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

fn canonical(url: &Url, text: &str) -> Result<PeerSpec, PeerNameError> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err(PeerNameError::Query);
    }
    let malformed = |cause| PeerNameError::Malformed {
        text: text.to_owned(),
        cause,
    };
    let host = url.host().ok_or(malformed(url::ParseError::EmptyHost))?;
    let port = url
        .port_or_known_default()
        .ok_or(malformed(url::ParseError::InvalidPort))?;
    if port == 0 {
        return Err(PeerNameError::PortZero);
    }
    let name = format!("{}://{host}:{port}", url.scheme());
    let (host, addresses) = match host {
        Host::Domain(domain) if domain.len() > MAX_HOST_LEN => {
            return Err(PeerNameError::HostTooLong);
        }
        Host::Domain(domain) => (domain.to_owned(), Vec::new()),
        Host::Ipv4(ip) => (ip.to_string(), vec![IpAddr::V4(ip)]),
        Host::Ipv6(ip) => (ip.to_string(), vec![IpAddr::V6(ip).to_canonical()]),
    };
    Ok(PeerSpec {
        name: PeerName::from_canonical(&name),
        host,
        port,
        addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_canonical() {
        for (text, name, host, port) in [
            ("http://node4:9000", "http://node4:9000", "node4", 9000),
            ("http://node4:9000/", "http://node4:9000", "node4", 9000),
            (
                "http://node4:9000/data/disk1",
                "http://node4:9000",
                "node4",
                9000,
            ),
            (
                "  HTTP://Node4.Example.ORG:9000 ",
                "http://node4.example.org:9000",
                "node4.example.org",
                9000,
            ),
            ("node4:9000", "http://node4:9000", "node4", 9000),
            ("node4:80", "http://node4:80", "node4", 80),
            ("NODE4:9000/data", "http://node4:9000", "node4", 9000),
            ("http://node4", "http://node4:80", "node4", 80),
            ("https://node4", "https://node4:443", "node4", 443),
            ("https://node4:443/x", "https://node4:443", "node4", 443),
            ("http://node_4:9000", "http://node_4:9000", "node_4", 9000),
            (
                "http://10.0.0.4:9000",
                "http://10.0.0.4:9000",
                "10.0.0.4",
                9000,
            ),
            ("10.0.0.4:9000", "http://10.0.0.4:9000", "10.0.0.4", 9000),
            (
                "http://[FD00::0:4]:9000/d",
                "http://[fd00::4]:9000",
                "fd00::4",
                9000,
            ),
            ("[fd00::4]:9000", "http://[fd00::4]:9000", "fd00::4", 9000),
            (
                "http://bücher:9000",
                "http://xn--bcher-kva:9000",
                "xn--bcher-kva",
                9000,
            ),
        ] {
            let spec = parse_peer_name(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(spec.name.as_str(), name, "{text}");
            assert_eq!((spec.host.as_str(), spec.port), (host, port), "{text}");
            let again = parse_peer_name(name).unwrap();
            assert_eq!(again.name, spec.name, "canonical names are fixed points");
        }
    }

    #[test]
    fn literals_are_their_own_addresses() {
        let addresses = |text| parse_peer_name(text).unwrap().addresses;
        assert_eq!(
            addresses("http://10.0.0.4:1"),
            ["10.0.0.4".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(
            addresses("http://[fd00::4]:1"),
            ["fd00::4".parse::<IpAddr>().unwrap()]
        );
        let mapped = addresses("http://[::ffff:10.0.0.4]:1");
        assert_eq!(mapped, ["10.0.0.4".parse::<IpAddr>().unwrap()]);
        assert!(addresses("http://node4:1").is_empty());
    }

    #[test]
    fn what_names_no_peer_is_refused_with_its_reason() {
        use PeerNameError as E;
        let malformed = |text: &str, cause| E::Malformed {
            text: text.to_owned(),
            cause,
        };
        for (text, error) in [
            ("", E::Empty),
            ("   ", E::Empty),
            ("node4", E::NoPort("node4".into())),
            ("node4:", E::NoPort("node4:".into())),
            ("node4/data", E::NoPort("node4".into())),
            ("[fd00::4]", E::NoPort("[fd00::4]".into())),
            ("ftp://node4:21", E::Scheme("ftp".into())),
            ("http://root:x@node4:9000", E::UserInfo),
            ("http://@node4:9000", E::UserInfo),
            ("http:///root@node4:9000", E::UserInfo),
            ("http://node4:9000/?x=1", E::Query),
            ("http://node4:9000/#x", E::Query),
            ("http://node4:0", E::PortZero),
            (
                "http://node{1...4}:9000",
                E::Pattern("http://node{1...4}:9000".into()),
            ),
            ("http://no\tde4:9000", E::Character('\t')),
            ("http://no de4:9000", E::Character(' ')),
            ("http://node4\\x:9000", E::Character('\\')),
            (
                "http://node4:70000",
                malformed("http://node4:70000", url::ParseError::InvalidPort),
            ),
            (
                "fd00::4",
                malformed("fd00::4", url::ParseError::InvalidPort),
            ),
            (
                "http://:9000",
                malformed("http://:9000", url::ParseError::EmptyHost),
            ),
            (
                "http://[fd00:9000",
                malformed("http://[fd00:9000", url::ParseError::InvalidIpv6Address),
            ),
        ] {
            assert_eq!(parse_peer_name(text), Err(error), "{text:?}");
        }
        let long = format!("http://{}:1", "a.".repeat(150));
        assert_eq!(parse_peer_name(&long), Err(E::HostTooLong));
    }

    /// What the client crate makes of a name must be what is made of it here, or a client asks
    /// for a peer that nobody knows.
    fn agrees_with_clients(text: &str) {
        let here = parse_peer_name(text);
        let there = detector_api::PeerName::parse(text);
        match (&here, &there) {
            (Ok(here), Ok(there)) => assert_eq!(here.name.as_str(), there.as_str(), "{text:?}"),
            (Err(_), Err(_)) => {}
            _ => panic!("{text:?}: {here:?} here, {there:?} at the client"),
        }
    }

    #[test]
    fn clients_read_names_alike() {
        for text in [
            "http://node4:9000",
            "http://node4:9000/data/rustfs1/",
            "  HTTP://Node4.Example.ORG:9000 ",
            "node4:9000",
            "node4:",
            "http://node4:",
            "http:///node4:9000",
            "://node4:9000",
            "//node4:9000",
            "https://node4/x",
            "http://node4:09000",
            "http://node4:65536",
            "http://node4:+1",
            "http://node4:0",
            "http://node4:9000:1",
            "http://node_4:1",
            "http://node4.:1",
            "http://node4..:1",
            "http://.:1",
            "http://-:1",
            "http://~!$&'()+,;=\"`:1",
            "http://n%6Fde4:1",
            "http://n%6fde%2e4:1",
            "http://node%:1",
            "http://node%4:1",
            "http://node%zz:1",
            "http://node%2F:1",
            "http://node%00:1",
            "http://node|4:1",
            "http://node^4:1",
            "http://node<4:1",
            "http://10.0.0.4:1",
            "http://10.4:1",
            "http://0xA.4:1",
            "http://0x:1",
            "http://012.0.0.010:1",
            "http://08.0.0.1:1",
            "http://167772164:1",
            "http://4294967295:1",
            "http://4294967296:1",
            "http://10.0.0.4.:1",
            "http://10.0.0.4..:1",
            "http://1.2.3.4.5:1",
            "http://256.0.0.1:1",
            "http://a.1:1",
            "http://1.a:1",
            "http://a.0x1g:1",
            "http://[::1]:1",
            "http://[FD00:0:0::4]",
            "http://[0:0:1:0:0:0:0:1]:1",
            "http://[1:0:1:0:1:0:1:0]:1",
            "http://[::ffff:10.0.0.4]:1",
            "http://[::10.0.0.4]:1",
            "http://[64:ff9b::10.0.0.4]:1",
            "http://[1:2:3:4:5:6:7::]:1",
            "http://[::2:3:4:5:6:7:8]:1",
            "http://[1:2:3:4:5:6:7:8:9]:1",
            "http://[fd00::00004]:1",
            "http://[::]:1",
            "http://[]:1",
            "http://[:]:1",
            "http://[fe80::1%2]:1",
            "http://[::1]x:1",
            "http://x[::1]:1",
            "[fd00::4]:9000",
            "[fd00::4]",
            "fd00::4",
            "ftp://node4:21",
            "http:node4:9000",
            "http://a/b://c",
            "http://u@h:1",
            "http://node4:9000/?q",
            "http://node4:9000#f",
            "http://node4:9000/a b",
            "http://node4:9000/{1...4}",
        ] {
            agrees_with_clients(text);
        }
    }

    proptest::proptest! {
        #[test]
        fn clients_read_any_ascii_name_alike(
            text in "(http://|https://|HTTP://|://|/|)[a-zA-Z0-9.:%x_/\\[\\]@~-]{0,24}(:[0-9]{0,6})?(/[a-z]{0,3})?",
        ) {
            // Whether an xn-- label is well formed needs tables that the client has no use for.
            proptest::prop_assume!(!text.to_ascii_lowercase().contains("xn--"));
            agrees_with_clients(&text);
        }

        #[test]
        fn clients_read_numbers_alike(host in "(0x|0|)[0-9a-f]{0,11}(\\.(0x|0|)[0-9a-f]{0,4}){0,4}\\.?") {
            agrees_with_clients(&format!("http://{host}:9000"));
        }

        #[test]
        fn clients_read_ipv6_alike(host in "[0-9a-fA-F]{0,4}(:[0-9a-f]{0,4}){1,8}(:[0-9]{1,3}(\\.[0-9]{1,3}){3})?") {
            agrees_with_clients(&format!("http://[{host}]:9000"));
        }
    }
}
