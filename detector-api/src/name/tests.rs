use super::*;

fn parse(text: &str) -> Result<String, NameError> {
    PeerName::parse(text).map(String::from)
}

#[test]
fn every_spelling_becomes_the_one_name() {
    for (text, name) in [
        ("http://node4:9000", "http://node4:9000"),
        ("http://node4:9000/", "http://node4:9000"),
        ("http://node4:9000/data/rustfs1", "http://node4:9000"),
        ("http://node4:9000\0bulk\x000", "http://node4:9000"),
        ("http://node4:9000/data\0bulk\x0017", "http://node4:9000"),
        (
            "  HTTP://Node4.Example.ORG:9000 ",
            "http://node4.example.org:9000",
        ),
        ("http://node4:09000", "http://node4:9000"),
        ("http:///node4:9000", "http://node4:9000"),
        ("node4:9000", "http://node4:9000"),
        ("node4:80", "http://node4:80"),
        ("NODE4:9000/data", "http://node4:9000"),
        ("http://node4", "http://node4:80"),
        ("http://node4:", "http://node4:80"),
        ("https://node4", "https://node4:443"),
        ("https://node4:443/x", "https://node4:443"),
        ("http://node_4:9000", "http://node_4:9000"),
        ("http://node4.:9000", "http://node4.:9000"),
        ("http://n%6Fde4:9000", "http://node4:9000"),
        ("http://10.0.0.4:9000/data", "http://10.0.0.4:9000"),
        ("10.0.0.4:9000", "http://10.0.0.4:9000"),
        ("http://0x0a.4:9000", "http://10.0.0.4:9000"),
        ("http://012.0.0.4:9000", "http://10.0.0.4:9000"),
        ("http://167772164:9000", "http://10.0.0.4:9000"),
        ("http://[FD00::0:4]:9000/d", "http://[fd00::4]:9000"),
        ("http://[fd00:0:0:0:0:0:0:4]:9000", "http://[fd00::4]:9000"),
        ("[fd00::4]:9000", "http://[fd00::4]:9000"),
        (
            "http://[::ffff:10.0.0.4]:9000",
            "http://[::ffff:a00:4]:9000",
        ),
        ("https://[::1]", "https://[::1]:443"),
    ] {
        assert_eq!(parse(text).as_deref(), Ok(name), "{text:?}");
        assert_eq!(parse(name).as_deref(), Ok(name), "a name is its own");
    }
}

#[test]
fn what_is_spelled_canonically_is_not_copied() {
    let borrowed = |text| matches!(PeerName::parse(text), Ok(PeerName(Cow::Borrowed(_))));
    assert!(borrowed("http://node4:9000"));
    assert!(borrowed("http://node4:9000/data/rustfs1"));
    assert!(borrowed("http://[fd00::4]:9000\0bulk\x003"));
    assert!(!borrowed("http://Node4:9000"));
    assert!(!borrowed("node4:9000"));
}

#[test]
fn what_names_no_peer_is_refused_with_its_reason() {
    use NameError as E;
    for (text, error) in [
        ("", E::Empty),
        (" ", E::Empty),
        ("\0bulk\x000", E::Empty),
        ("node4", E::NoPort),
        ("node4:", E::NoPort),
        ("node4/data", E::NoPort),
        ("[fd00::4]", E::NoPort),
        ("//node4:9000", E::NoPort),
        ("ftp://node4:21", E::Scheme),
        ("http://root:x@node4:9000", E::UserInfo),
        ("http://@node4:9000", E::UserInfo),
        ("http:///root@node4:9000", E::UserInfo),
        ("http://node4:9000/?x=1", E::Query),
        ("http://node4:9000/#x", E::Query),
        ("http://node4:0", E::Port),
        ("http://node4:70000", E::Port),
        ("http://node4:+9000", E::Port),
        ("fd00::4", E::Port),
        ("http://node{1...4}:9000", E::Character('{')),
        ("http://no\tde4:9000", E::Character('\t')),
        ("http://node4\\x:9000", E::Character('\\')),
        ("http://:9000", E::Host),
        ("http://", E::Host),
        ("http://[fd00:9000", E::Host),
        ("http://[fe80::1%2]:9000", E::Host),
        ("http://no%3Ade4:9000", E::Host),
        ("http://256.0.0.1.1:9000", E::Host),
        ("http://10.0.0.256:9000", E::Host),
        ("http://10.0.0.4294967296:9000", E::Host),
        ("http://a.5:9000", E::Host),
        ("http://bücher:9000", E::NotAscii),
    ] {
        assert_eq!(parse(text), Err(error), "{text:?}");
    }
    let label = "a.".repeat(150);
    assert_eq!(parse(&format!("http://{label}:1")), Err(E::HostTooLong));
    let longest = format!("https://{}:65535", &label[..253]);
    assert_eq!(parse(&longest).as_deref(), Ok(longest.as_str()));
}
