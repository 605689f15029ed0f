//! The page: what is served, who is cut, and that it costs nothing while nobody looks.

use axum::body::Bytes;
use serde_json::Value;
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::{feed::Feed, *};
use crate::{
    core::testing::unknown,
    model::{Bounds, PeerState, Reason, Verdict},
    serve::Locks,
};

fn board() -> Board {
    Board::new("one", Bounds::new(4))
}

fn state(name: &str, verdict: Verdict, revision: u64) -> PeerState {
    PeerState {
        verdict,
        reason: Reason::RtoUnanswered,
        revision,
        ..unknown(name)
    }
}

/// A driver that has nothing to report.
fn driver() -> mpsc::Sender<Request> {
    let (requests, mut asked) = mpsc::channel(4);
    tokio::spawn(async move {
        while let Some(request) = asked.recv().await {
            match request {
                Request::ListLocks { reply } => drop(reply.send(Locks::default())),
                Request::ListCascades { reply } => drop(reply.send(Vec::new())),
                Request::Explain { reply, .. } => drop(reply.send(None)),
                other => panic!("{other:?}"),
            }
        }
    });
    requests
}

/// The name and the data of an event.
fn parsed(event: &Bytes) -> (String, Value) {
    let text = std::str::from_utf8(event).unwrap();
    let (name, data) = text.split_once('\n').unwrap();
    let name = name.strip_prefix("event: ").unwrap().to_owned();
    let data = data.strip_prefix("data: ").unwrap();
    assert!(
        data.ends_with("\n\n") && data.lines().count() == 2,
        "{data}"
    );
    (name, serde_json::from_str(data).unwrap())
}

/// The next event that is no heartbeat.
async fn next(events: &mut mpsc::Receiver<Bytes>) -> (String, Value) {
    loop {
        let (name, data) = parsed(&events.recv().await.unwrap());
        if name == "snapshot" || data["peers"] != serde_json::json!([]) {
            return (name, data);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_viewer_gets_everything_and_then_each_change_with_its_transition() {
    let board = board();
    board.publish(state("http://a:1", Verdict::Alive, 1));
    let feed = Feed::new(board.clone(), driver());
    let mut events = feed.join(&Ticket::new()).unwrap();
    let (name, all) = next(&mut events).await;
    assert_eq!(
        (name.as_str(), &all["peers"][0]["state"]["verdict"]),
        ("snapshot", &"alive".into())
    );
    assert_eq!(all["histories"][0]["transitions"][0]["to"], "alive");
    assert_eq!(all["peers"][0]["wrong"], serde_json::json!([]));

    board.publish(state("http://a:1", Verdict::Dead, 2));
    board.publish(state("http://<b>:1", Verdict::Alive, 3));
    let (name, change) = next(&mut events).await;
    assert_eq!(name, "change");
    let names: Vec<_> = change["peers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["state"]["peer"])
        .collect();
    assert_eq!(names, ["http://<b>:1", "http://a:1"]);
    assert_eq!(
        change["peers"][1]["wrong"],
        serde_json::json!(["rto unanswered"])
    );
    let turns: Vec<_> = change["transitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| (&t["from"], &t["to"]))
        .collect();
    assert_eq!(
        turns,
        [
            (&"unknown".into(), &"alive".into()),
            (&"alive".into(), &"dead".into())
        ]
    );

    board.retract(unknown("http://<b>:1").peer, 4);
    let removed = loop {
        let (_, change) = parsed(&events.recv().await.unwrap());
        if change["removed"] != serde_json::json!([]) {
            break change;
        }
    };
    assert_eq!(removed["removed"], serde_json::json!(["http://<b>:1"]));
    assert_eq!(removed["peers"], serde_json::json!([]));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_cut_and_the_others_are_told() {
    let board = board();
    let feed = Feed::new(board.clone(), driver());
    let lazy_ticket = Ticket::new();
    let lazy = feed.join(&lazy_ticket).unwrap();
    let mut keen = feed.join(&Ticket::new()).unwrap();
    let reading = async {
        for _ in 0..100 {
            keen.recv().await.unwrap();
        }
    };
    // An hour would pass if only its own time ended the stream.
    let cut = async {
        tokio::time::timeout(std::time::Duration::from_secs(60), lazy_ticket.over()).await
    };
    let ((), cut) = tokio::join!(reading, cut);
    cut.expect("it was cut");
    assert!(lazy.len() <= 8, "{}", lazy.len());
}

#[tokio::test(start_paused = true)]
async fn viewers_are_bounded_and_those_that_left_make_room() {
    let feed = Feed::new(board(), driver());
    let mut held: Vec<_> = std::iter::from_fn(|| feed.join(&Ticket::new()))
        .take(100)
        .collect();
    assert_eq!(held.len(), 16);
    held.pop();
    assert!(feed.join(&Ticket::new()).is_some());
    feed.close();
    for events in &mut held {
        while events.recv().await.is_some() {}
        assert_eq!(events.try_recv(), Err(TryRecvError::Disconnected));
    }
    assert!(feed.join(&Ticket::new()).is_none(), "it stops");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_while_nobody_looks() {
    let (requests, mut asked) = mpsc::channel(4);
    let feed = Feed::new(board(), requests);
    assert!(asked.try_recv().is_err());
    drop(feed.join(&Ticket::new()).unwrap());
    // The task sees at its first turn that its only viewer is gone.
    while let Ok(Some(request)) =
        tokio::time::timeout(std::time::Duration::from_secs(5), asked.recv()).await
    {
        drop(request);
    }
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn a_peer_that_is_not_watched_is_not_explained() {
    let board = board();
    let explanations = Explanations::new(board.clone(), driver());
    let refused = async |peer| explanations.of(peer).await.unwrap_err().0;
    assert_eq!(refused("http://a:1").await, StatusCode::NOT_FOUND);
    assert_eq!(refused("<img>").await, StatusCode::NOT_FOUND);
    board.publish(state("http://a:1", Verdict::Alive, 1));
    assert_eq!(
        refused("http://a:1").await,
        StatusCode::NOT_FOUND,
        "gone meanwhile"
    );
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_holds_no_script() {
    for (path, kind, text) in FILES {
        let outside = text
            .match_indices("//")
            .filter(|(at, _)| text[..*at].ends_with(':'));
        let outside: Vec<_> = outside
            .map(|(at, _)| &text[at - 5..])
            .filter(|t| !t.contains("www.w3.org"))
            .collect();
        assert!(outside.is_empty(), "{path}");
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
        ] {
            assert!(!text.contains(sink), "{path} has {sink}");
        }
        if kind == HTML {
            let inline =
                ["style=", "onclick", "<style", "<script>"].map(|word| text.contains(word));
            assert_eq!(inline, [false; 4], "{path}");
        }
    }
}

/// What others say is put into the page as text, and never as markup.
#[test]
fn the_page_makes_no_markup_of_text() {
    let scripts = [
        include_str!("page/detail.js"),
        include_str!("page/status.js"),
        include_str!("page/text.js"),
    ];
    let sinks = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "srcdoc",
        "eval(",
        "Function(",
        ".href =",
    ];
    for sink in sinks {
        assert!(
            !scripts.iter().any(|script| script.contains(sink)),
            "{sink}"
        );
    }
}
