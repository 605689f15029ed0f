//! The page with 200 peers, some of which turn all the time: it stays calm and answers at once.

use std::{thread, time::Duration};

use anyhow::ensure;
use detector_tests::{Host, Lab, browser::Browser, testbed};
use detector_user::{
    clock,
    model::{
        Bounds, Breaker, Health, Measured, Mode, PathState, PeerName, PeerState, Reason, Verdict,
    },
    serve::{Metrics, board::Board, http},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{DESK, FITS, LIGHTS, LIMIT, PHONE, PLACES, SOON, WATCH_SHIFTS, kept};

const PEERS: usize = 200;
const ADDRESS: &str = "127.0.0.1:9464";

/// A peer that no parser would name like this.
const MARKUP: &str = r##"http://<img src=x onerror="document.title='owned'">:9000"##;

fn name(n: usize) -> String {
    match n {
        0 => MARKUP.to_owned(),
        n => format!("http://node{n}.rack{}.example:9000", n % 10),
    }
}

fn state(n: usize, revision: u64, verdict: Verdict) -> PeerState {
    let is_dead = verdict == Verdict::Dead;
    let breaker = if is_dead {
        Breaker::Open
    } else {
        Breaker::Closed
    };
    let (reason, stalled_flows) = match verdict {
        Verdict::Dead => (Reason::RtoUnanswered, 0),
        Verdict::Degraded => (Reason::FlowsStalled, 2),
        Verdict::Suspect => (Reason::TlpUnanswered, 0),
        _ => (Reason::PacketReceived, 0),
    };
    let now = clock::now();
    let measured = Measured {
        flows: 12,
        srtt: Some(Duration::from_micros(
            200 + (n as u64 * 37 + revision * 13) % 900,
        )),
        loss: 0.001 * (n % 5) as f64,
    };
    let path = PathState {
        address: [10, 0, (n / 250) as u8, (n % 250) as u8].into(),
        verdict,
        reason,
        breaker,
        last_heard: Some(now),
        measured,
    };
    PeerState {
        peer: PeerName::from_canonical(&name(n)),
        verdict,
        breaker,
        would_be_breaker: breaker,
        reason,
        isolated: false,
        generation: revision,
        revision,
        mode: Mode::Enforce,
        addresses: vec![path.address],
        changed_at: now,
        last_heard: Some(now),
        detection_latency: None,
        presumed_down: false,
        down_since: None,
        srtt: measured.srtt,
        rtt_variance: None,
        health: Some(Health::default()),
        breaker_reason: reason,
        stalled_flows,
        oldest_stall: (stalled_flows > 0).then_some(Duration::from_secs(3)),
        contested: false,
        overridden: None,
        paths: vec![path],
    }
}

/// Serves the page on this host as the daemon does, until the test's process ends.
fn serve(host: &Host, board: Board) -> anyhow::Result<()> {
    let pages = http::Pages {
        metrics: Metrics::new()?,
        board,
        requests: mpsc::channel(1).0,
    };
    let host = host.clone();
    thread::spawn(move || {
        host.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let address = ADDRESS.parse()?;
            runtime.block_on(http::serve(address, pages, std::future::pending()));
            anyhow::Ok(())
        })
    });
    Ok(())
}

/// The verdicts of a bad day: most are alive.
fn verdict(n: usize, turn: u64) -> Verdict {
    match (n as u64 * 7 + turn) % 40 {
        0 => Verdict::Dead,
        1 => Verdict::Degraded,
        2 => Verdict::Suspect,
        _ => Verdict::Alive,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_peers_that_turn_move_nothing() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let lab = Lab::new(1)?;
        let board = Board::new("many", Bounds::new(PEERS));
        let mut revision = 0;
        let mut publish = |turn: u64| {
            for n in 0..PEERS {
                revision += 1;
                board.publish(state(n, revision, verdict(n, turn)));
            }
        };
        publish(0);
        serve(lab.host(1), board.clone())?;
        let mut browser = Browser::start(lab.host(1)).await?;
        browser.look(DESK.0, DESK.1, false).await?;
        testbed::until("the page is served", SOON, async || {
            browser
                .open(&format!("http://{ADDRESS}/status"))
                .await
                .map(Some)
        })
        .await?;
        let all = format!(r##"document.querySelectorAll("#rows tr").length === {PEERS}"##);
        browser.until(&all, SOON).await?;
        ensure!(
            browser.eval("document.images.length").await? == 0,
            "a name was taken for markup"
        );
        let named = format!(
            r##"document.body.textContent.includes({})"##,
            json!(MARKUP.trim_start_matches("http://"))
        );
        ensure!(
            browser.eval(&named).await? == true,
            "the name is not shown as it is"
        );

        browser.eval(WATCH_SHIFTS).await?;
        let before = browser.eval(PLACES).await?;
        for turn in 1..=5 {
            publish(turn);
            let sample = (0..PEERS).find(|n| verdict(*n, turn) == Verdict::Dead);
            let sample = json!(name(sample.unwrap_or_default()));
            let shown = format!(
                r##"[...document.querySelectorAll("#rows tr[data-verdict=dead] .peer")]
                    .some(cell => cell.firstChild.title === {sample})"##
            );
            browser.until(&shown, SOON).await?;
        }
        let after = browser.eval(PLACES).await?;
        ensure!(before == after, "something moved:\n{before}\n{after}");
        let moved = browser.eval("window.moved").await?;
        ensure!(moved == json!([]), "the browser saw it move: {moved}");

        for (device, (width, height)) in [("desk", DESK), ("phone", PHONE)] {
            for (light, dark) in LIGHTS {
                browser.look(width, height, dark).await?;
                ensure!(
                    browser.eval(FITS).await? == true,
                    "{device}: wider than the window"
                );
                browser
                    .picture(&kept(&format!("many-{device}-{light}")))
                    .await?;
            }
        }
        let complaints = browser.complaints().to_vec();
        ensure!(complaints.is_empty(), "{complaints:?}");
        browser.close().await
    })
    .await
}
