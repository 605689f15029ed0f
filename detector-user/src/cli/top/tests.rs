//! What is drawn, and what keys do to it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use detector_api::v1::{
    Breaker, ExplainPeerResponse, Override, OverrideKind, PathState, PeerHistory, PeerState,
    Reason, Transition, Verdict,
};
use jiff::Timestamp;
use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::{
    app::{App, Order},
    draw::draw,
    follow::{News, Reading},
    keys::press,
    marks::sparkline,
};

fn state(peer: &str, verdict: Verdict) -> PeerState {
    PeerState {
        peer: peer.to_owned(),
        verdict: verdict.into(),
        reason: Reason::RtoUnanswered.into(),
        breaker: Breaker::Closed.into(),
        would_be_breaker: Breaker::Closed.into(),
        changed_at: Some(prost_types::Timestamp {
            seconds: 970,
            nanos: 0,
        }),
        paths: vec![PathState {
            flows: 7,
            srtt: Some(prost_types::Duration {
                seconds: 0,
                nanos: 250_000,
            }),
            loss: Some(0.021),
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn history(peer: &str) -> PeerHistory {
    PeerHistory {
        peer: peer.to_owned(),
        srtt_micros: vec![250; 60],
        loss_permille: vec![0; 60],
        transitions: vec![Transition {
            peer: peer.to_owned(),
            from: Verdict::Alive.into(),
            to: Verdict::Dead.into(),
            reason: Reason::RtoUnanswered.into(),
            revision: 3,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn read(reading: Reading) -> News {
    News::Read(Box::new(reading))
}

fn app(peers: &[(&str, Verdict)]) -> App {
    let mut app = App::new(true);
    app.now = Timestamp::from_second(1000).unwrap();
    app.take(read(Reading {
        peers: peers
            .iter()
            .map(|(peer, verdict)| state(peer, *verdict))
            .collect(),
        histories: peers.iter().map(|(peer, _)| history(peer)).collect(),
        explained: None,
    }));
    app
}

/// What is on a screen of this size.
fn screen(app: &mut App, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    terminal.backend().to_string()
}

fn type_in(app: &mut App, text: &str) {
    for letter in text.chars() {
        key(app, KeyCode::Char(letter));
    }
}

fn key(app: &mut App, code: KeyCode) {
    press(app, KeyEvent::new(code, KeyModifiers::NONE));
}

fn names(app: &App) -> Vec<&str> {
    app.shown().iter().map(|peer| peer.peer.as_str()).collect()
}

#[test]
fn a_dead_peer_comes_first_with_what_is_wrong_and_its_transition() {
    let mut app = app(&[
        ("http://a:1", Verdict::Alive),
        ("http://b:1", Verdict::Dead),
    ]);
    let screen = screen(&mut app, 140, 24);
    for shown in [
        "1 dead  0 suspect  0 degraded  0 unknown  1 alive",
        "rto unanswered",
        "30s",
        "250us ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇",
        "2.1% ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁",
        "alive → dead (rto_unanswered)",
        "s sort",
    ] {
        let shown = shown.replace('▇', "█");
        assert!(screen.contains(&shown), "{shown}\n{screen}");
    }
    let row = |peer: &str| screen.lines().position(|line| line.contains(peer)).unwrap();
    assert!(row("b:1  ") < row("a:1  "), "{screen}");
    let dead = screen.lines().nth(row("b:1  ")).unwrap();
    assert!(
        !dead.contains("250us"),
        "nothing is measured of a dead peer: {dead}"
    );
}

#[test]
fn an_override_is_shown_with_its_end_its_author_and_its_reason() {
    let held = |seconds, kind: OverrideKind, reason: &str| PeerState {
        r#override: Some(Override {
            kind: kind.into(),
            until: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            reason: reason.to_owned(),
            uid: 1000,
        }),
        ..state("http://a:1", Verdict::Dead)
    };
    let mut app = app(&[]);
    app.take(read(Reading {
        peers: vec![
            held(4600, OverrideKind::Maintenance, "new disk"),
            PeerState {
                peer: "http://b:1".to_owned(),
                ..held(200_000, OverrideKind::Closed, "")
            },
        ],
        ..Default::default()
    }));
    let wide = [
        "2 overridden",
        "maintenance by user 1000 until 01:16:40Z (new disk); rto unanswered",
        "held closed by user 1000 until 1970-01-03 07:33Z; rto unanswered",
    ];
    let narrow = [
        "a:1  maintenance by user 1000 until 01:16:40Z (new disk)",
        "b:1  held closed by user 1000 until 1970-01-03 07:33Z",
    ];
    for (width, texts) in [(180, &wide[..]), (70, &narrow)] {
        let shown = screen(&mut app, width, 24);
        for text in texts {
            assert!(shown.contains(text), "{text}\n{shown}");
        }
    }
    type_in(&mut app, "/maintenance");
    assert_eq!(names(&app), ["http://a:1"]);
}

#[test]
fn keys_sort_filter_choose_and_end() {
    let peers = [
        ("http://b:1", Verdict::Alive),
        ("http://a:1", Verdict::Alive),
        ("http://c:1", Verdict::Dead),
    ];
    let mut app = app(&peers);
    assert_eq!(names(&app), ["http://c:1", "http://a:1", "http://b:1"]);
    key(&mut app, KeyCode::Down);
    key(&mut app, KeyCode::Char('s'));
    assert_eq!(
        (app.order, app.chosen_row()),
        (Order::Name, Some(0)),
        "the peer stays chosen"
    );
    type_in(&mut app, "/C:1q");
    key(&mut app, KeyCode::Backspace);
    key(&mut app, KeyCode::Enter);
    assert_eq!(names(&app), ["http://c:1"]);
    assert!(!app.is_done && screen(&mut app, 80, 24).contains("filter: C:1"));
    key(&mut app, KeyCode::Esc);
    assert_eq!(names(&app).len(), 3);
    key(&mut app, KeyCode::End);
    assert_eq!(app.chosen_row(), Some(2));
    key(&mut app, KeyCode::Char('q'));
    assert!(app.is_done);
}

#[test]
fn the_explanation_is_what_explain_prints_and_scrolls() {
    let mut app = app(&[("http://a:1", Verdict::Dead)]);
    key(&mut app, KeyCode::Enter);
    assert_eq!(app.explained_peer().as_deref(), Some("http://a:1"));
    app.take(read(Reading {
        peers: vec![state("http://a:1", Verdict::Dead)],
        explained: Some(ExplainPeerResponse {
            peer: Some(state("http://a:1", Verdict::Dead)),
            summary: "http://a:1 is dead\u{1b}[2J.".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }));
    let shown = screen(&mut app, 100, 24);
    assert!(
        shown.contains("http://a:1 is dead[2J."),
        "no escape reaches the terminal: {shown}"
    );
    assert!(!shown.contains('\u{1b}'));
    key(&mut app, KeyCode::Down);
    assert!(!screen(&mut app, 100, 24).contains("is dead"));
    key(&mut app, KeyCode::Home);
    assert!(screen(&mut app, 100, 24).contains("is dead"));
    key(&mut app, KeyCode::Esc);
    assert!(app.explained.is_none() && !app.is_done);
}

#[test]
fn a_daemon_that_is_away_is_said_and_the_peers_stay() {
    let mut app = App::new(true);
    app.take(News::Away("nobody listens on /run/s".to_owned()));
    assert!(screen(&mut app, 80, 24).contains("The daemon is away, reconnecting: nobody listens"));
    let mut app = self::app(&[("http://a:1", Verdict::Alive)]);
    app.take(News::Away("it ended".to_owned()));
    let shown = screen(&mut app, 80, 24);
    assert!(shown.contains("away") && shown.contains("a:1"), "{shown}");
    app.take(read(Reading::default()));
    let shown = screen(&mut app, 80, 24);
    assert!(
        shown.contains("No peers are watched") && !shown.contains("away"),
        "{shown}"
    );
}

#[test]
fn every_size_is_drawn_and_no_color_has_none() {
    let many: Vec<_> = (0..200).map(|n| format!("http://node{n}:9000")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|peer| (peer.as_str(), Verdict::Degraded))
        .collect();
    let mut app = app(&many);
    for width in [1, 7, 40, 61, 80, 97, 120, 400] {
        for height in [1, 2, 3, 10, 18, 60] {
            screen(&mut app, width, height);
        }
    }
    app.has_color = false;
    let mut terminal = Terminal::new(TestBackend::new(140, 30)).unwrap();
    terminal.draw(|frame| draw(frame, &mut app)).unwrap();
    let cells = terminal.backend().buffer().content();
    assert!(
        cells
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
}

#[test]
fn a_sparkline_is_scaled_and_leaves_gaps() {
    let values = [Some(0), Some(50), None, Some(100)];
    assert_eq!(sparkline(&values, 4, 1), "▁▄ █");
    assert_eq!(sparkline(&values, 4, 200), "▁▂ ▄");
    assert_eq!(sparkline(&values, 2, 1), "▄█", "the highest of each two");
    assert_eq!(sparkline(&values, 6, 1), "  ▁▄ █");
    assert_eq!(sparkline(&[], 3, 1), "   ");
    assert_eq!(sparkline(&values, 0, 1), "");
}
