//! Handles by names that are watched, and names that nobody watches.

use super::*;

/// Without the book's lock: the handle has to be the one that the book hands out, or it would miss
/// what comes after its peer was gone for a while.
#[tokio::test]
async fn a_handle_from_the_table_stays_the_names_own() {
    let states = states();
    states.replace(&[closed(NODE4)], TTL);
    let from_table = states.peer("http://node4:9000/data/rustfs1");
    states.remove(NODE4, TTL).unwrap();
    // Names come and go, and slots that nobody holds are dropped.
    for _ in 0..3 {
        states.change(&closed(NODE5), TTL).unwrap();
        states.remove(NODE5, TTL).unwrap();
    }
    let from_book = states.peer(NODE4);
    states.change(&open(NODE4), TTL).unwrap();
    assert!(from_table.down().is_some() && from_book.down().is_some());
}

/// The lock is held meanwhile, so a lookup that wanted it would not end.
#[tokio::test]
async fn a_watched_peer_is_found_without_the_lock() {
    let watched = states();
    watched.replace(&[open(NODE4)], TTL);
    for states in [watched, PeerStates::unwatched()] {
        let (tell, found) = std::sync::mpsc::channel();
        let book = states.book();
        let lookup = std::thread::spawn({
            let states = states.clone();
            move || {
                tell.send(
                    states
                        .peer("http://node4:9000/data/rustfs1")
                        .name()
                        .to_owned(),
                )
            }
        });
        let found = found.recv_timeout(Duration::from_secs(20));
        drop(book);
        assert_eq!(found.as_deref(), Ok(NODE4), "it waits for the lock");
        lookup.join().expect("no panic").expect("it is received");
    }
}

#[tokio::test]
async fn a_name_that_nobody_watches_is_told_with_those_of_its_host() {
    let states = states();
    let tls = "https://node4:9000/data/rustfs1";
    assert_eq!(states.not_watched(tls), None, "there is no daemon yet");
    states.replace(&[closed(NODE4), closed(NODE5)], TTL);
    assert_eq!(states.not_watched("NODE4:9000"), None);
    let gap = states.not_watched(tls).unwrap();
    assert_eq!(gap.similar, [NODE4]);
    assert_eq!(
        gap.to_string(),
        "the daemon does not watch https://node4:9000, but it watches http://node4:9000: name it \
         https://node4:9000 in the daemon's configuration, too"
    );
    let gap = states.not_watched("http://node6:9000").unwrap();
    assert_eq!(
        gap.to_string(),
        "the daemon does not watch http://node6:9000: add it to the daemon's peers as \
         http://node6:9000"
    );
    states.end();
    assert_eq!(states.not_watched(tls), None, "the daemon is away");
}
