//! Spellings of a peer's name, and texts that name no peer.

use super::*;

fn parse(text: &str) -> Result<String, NameError> {
    PeerName::parse(text).map(String::from)
}

/// Each of these texts is this name, which has this host and port.
fn are_spellings_of(name: &str, host: &str, port: u16, texts: &[&str]) {
    for text in texts.iter().chain([&name]) {
        let read = PeerName::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let (read_host, read_port) = (read.host(), read.port());
        assert_eq!(read.as_str(), name, "{text:?}");
        assert_eq!((read_host.as_str(), read_port), (host, port), "{text:?}");
    }
}

#[test]
fn every_spelling_becomes_the_one_name() {
    let spellings = [
        "http://node4:9000/",
        "http://node4:9000/data/rustfs1",
        "http://node4:9000\0bulk\x000",
        "http://node4:9000/data\0bulk\x0017",
        "http://node4:09000",
        "http:///node4:9000",
        "node4:9000",
        "NODE4:9000/data",
        "http://n%6Fde4:9000",
    ];
    are_spellings_of("http://node4:9000", "node4", 9000, &spellings);
    let spellings = ["  HTTP://Node4.Org:9000 "];
    are_spellings_of("http://node4.org:9000", "node4.org", 9000, &spellings);
    let spellings = ["http://bücher:9000"];
    let encoded = "xn--bcher-kva";
    are_spellings_of("http://xn--bcher-kva:9000", encoded, 9000, &spellings);
    are_spellings_of("http://node_4:9000", "node_4", 9000, &[]);
    are_spellings_of("http://node4.:9000", "node4.", 9000, &[]);
}

#[test]
fn a_name_without_a_port_has_that_of_its_scheme() {
    let spellings = ["http://node4", "http://node4:", "node4:80"];
    are_spellings_of("http://node4:80", "node4", 80, &spellings);
    let spellings = ["https://node4", "https://node4:443/x"];
    are_spellings_of("https://node4:443", "node4", 443, &spellings);
    are_spellings_of("https://[::1]:443", "::1", 443, &["https://[::1]"]);
}

#[test]
fn every_spelling_of_an_address_becomes_the_one_name() {
    let spellings = [
        "http://10.0.0.4:9000/data",
        "10.0.0.4:9000",
        "http://0x0a.4:9000",
        "http://012.0.0.4:9000",
        "http://167772164:9000",
    ];
    are_spellings_of("http://10.0.0.4:9000", "10.0.0.4", 9000, &spellings);
    let spellings = [
        "http://[FD00::0:4]:9000/d",
        "http://[fd00:0:0:0:0:0:0:4]:9000",
        "[fd00::4]:9000",
    ];
    are_spellings_of("http://[fd00::4]:9000", "fd00::4", 9000, &spellings);
    let (name, host) = ("http://[::ffff:a00:4]:1", "::ffff:10.0.0.4");
    are_spellings_of(name, host, 1, &["http://[::ffff:10.0.0.4]:1"]);
}

#[test]
fn literals_are_their_own_addresses() {
    for (text, address) in [
        ("http://10.0.0.4:1", Some("10.0.0.4")),
        ("http://[fd00::4]:1", Some("fd00::4")),
        ("http://[::ffff:10.0.0.4]:1", Some("10.0.0.4")),
        ("http://node4:1", None),
    ] {
        let address = address.map(|text| text.parse().unwrap());
        assert_eq!(PeerName::parse(text).unwrap().address(), address, "{text}");
    }
}

#[test]
fn an_address_takes_the_host_s_place() {
    let at = |name: &str, address: &str| {
        String::from(PeerName::parse(name).unwrap().at(address.parse().unwrap()))
    };
    assert_eq!(at("https://node4", "10.0.0.4"), "https://10.0.0.4:443");
    assert_eq!(at("node4:9000", "fd00::4"), "http://[fd00::4]:9000");
    assert_eq!(
        at("http://10.0.0.3:1", "::ffff:10.0.0.4"),
        "http://[::ffff:a00:4]:1"
    );
}

#[test]
fn what_names_no_peer_is_refused_with_its_reason() {
    use NameError as E;
    for (text, error) in [
        ("", E::Empty),
        ("   ", E::Empty),
        ("\0bulk\x000", E::Empty),
        ("node4", E::NoPort("node4".into())),
        ("node4:", E::NoPort("node4:".into())),
        ("node4/data", E::NoPort("node4".into())),
        ("[fd00::4]", E::NoPort("[fd00::4]".into())),
        ("//node4:9000", E::NoPort("".into())),
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
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    let label = "a.".repeat(150);
    assert_eq!(parse(&format!("http://{label}:1")), Err(E::HostTooLong));
    let longest = format!("https://{}:65535", &label[..253]);
    assert_eq!(parse(&longest).as_deref(), Ok(longest.as_str()));
}

#[test]
fn what_the_url_standard_refuses_is_told_with_its_cause() {
    use url::ParseError as Cause;
    for (text, cause) in [
        ("http://node4:70000", Cause::InvalidPort),
        ("http://node4:+9000", Cause::InvalidPort),
        ("fd00::4", Cause::InvalidPort),
        ("http://:9000", Cause::EmptyHost),
        ("http://", Cause::EmptyHost),
        ("http://[fd00:9000", Cause::InvalidIpv6Address),
        ("http://[fe80::1%2]:9000", Cause::InvalidIpv6Address),
        ("http://no%3Ade4:9000", Cause::IdnaError),
        ("http://256.0.0.1.1:9000", Cause::InvalidIpv4Address),
        ("http://10.0.0.256:9000", Cause::InvalidIpv4Address),
        ("http://10.0.0.4294967296:9000", Cause::InvalidIpv4Address),
        ("http://a.5:9000", Cause::InvalidIpv4Address),
    ] {
        assert_eq!(parse(text), Err(malformed(text, cause)), "{text:?}");
    }
    assert_eq!(
        parse("http://node4:70000").unwrap_err().to_string(),
        "\"http://node4:70000\" is not a peer's name (invalid port number); write it as http://node4:9000"
    );
}

proptest::proptest! {
    #[test]
    fn a_name_is_its_own_name(
        text in "(http://|https://|HTTP://|://|/|)[a-zA-Z0-9.:%x_/\\[\\]@~ü-]{0,24}(:[0-9]{0,6})?(/[a-z]{0,3})?",
    ) {
        if let Ok(name) = PeerName::parse(&text) {
            proptest::prop_assert_eq!(PeerName::parse(name.as_str()), Ok(name));
        }
    }
}
