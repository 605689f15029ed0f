//! What is remembered of dead peers, and files that hold something else.

use std::fs;

use super::*;
use crate::model::{ProbeAnswer, ProbeTarget, Remembered, Time};

fn dead() -> BTreeMap<PeerName, Vec<Memory>> {
    let endpoint = "10.0.0.2:9000".parse::<std::net::SocketAddr>().unwrap();
    let target = ProbeTarget::Neighbour {
        addr: endpoint.ip(),
        link: 2,
    };
    let answers = vec![Remembered {
        target,
        at: Time::from_nanos(7),
        answer: ProbeAnswer::SynAck,
    }];
    let memory = Memory {
        addr: endpoint.ip(),
        answers,
    };
    let peer = PeerName::from_canonical("http://node2:9000");
    BTreeMap::from([(peer, vec![memory])])
}

#[test]
fn what_is_kept_is_read_in_the_same_boot_only() {
    let directory = tempfile::tempdir().unwrap();
    assert!(file::load(directory.path()).unwrap().is_empty());
    file::save(directory.path(), &dead()).unwrap();
    assert_eq!(file::load(directory.path()).unwrap(), dead());
    let path = directory.path().join("dead.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&crate::clock::boot(), "another boot")).unwrap();
    assert!(file::load(directory.path()).unwrap().is_empty());
}

#[test]
fn a_damaged_file_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("dead.json"), "{").unwrap();
    let error = file::load(directory.path()).unwrap_err();
    assert!(error.to_string().contains("remove it"), "{error:#}");
}
