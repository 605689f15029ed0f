//! The page of a real daemon, while a host is really cut off.

use anyhow::ensure;
use detector_api::{
    PeerWatch, Report,
    v1::{Operation, Outcome},
};
use detector_tests::{Cut, DaemonOptions, METRICS, Scene, SceneOptions, browser::Browser, testbed};
use serde_json::json;

use super::{
    DESK, FITS, LIGHTS, LIMIT, PHONE, PLACES, SOON, WATCH_SHIFTS, for_readme, is_for_readme, kept,
};

/// A lock as an attacker would name it: as markup it would change the page.
const LOCK: &str = r##"<img src=x onerror="document.title='owned'">"##;

/// Why a breaker is held, as an attacker would write it.
const WHY: &str = "a <em>false</em> alarm";

/// The verdict in the row of this peer.
fn row_is(peer: &str, verdict: &str) -> String {
    format!(
        r##"[...document.querySelectorAll("#rows tr")].some(row =>
            row.querySelector(".peer button").title === {peer} && row.dataset.verdict === {verdict})"##,
        peer = json!(peer),
        verdict = json!(verdict)
    )
}

fn count_is(verdict: &str, count: usize) -> String {
    format!(r##"document.querySelectorAll("#rows tr[data-verdict={verdict}]").length === {count}"##)
}

/// Four hosts, three of which are peers with traffic.
async fn scene() -> anyhow::Result<(Scene, Vec<detector_tests::Traffic>)> {
    let scene = Scene::new(SceneOptions {
        hosts: 4,
        daemon: DaemonOptions::default(),
    })
    .await?;
    let mut traffic = Vec::new();
    for host in 2..=4 {
        traffic.push(scene.traffic_to(host).await?);
    }
    Ok((scene, traffic))
}

async fn open(scene: &Scene) -> anyhow::Result<Browser> {
    let mut browser = Browser::start(scene.lab.host(1)).await?;
    browser.look(DESK.0, DESK.1, false).await?;
    browser.open(&format!("http://{METRICS}/")).await?;
    browser.until(&count_is("alive", 3), SOON).await?;
    Ok(browser)
}

/// Reports a lock that times out, under a name that is markup.
async fn report(scene: &Scene, browser: &mut Browser) -> anyhow::Result<()> {
    let watch = PeerWatch::start(scene.daemon.socket());
    ensure!(watch.ready(SOON).await, "{}", watch.status());
    let reporter = watch.reporter();
    for _ in 0..3 {
        reporter.report(Report {
            lock: LOCK,
            ..Report::new(Operation::Lock, Outcome::TimedOut, SOON)
        });
    }
    let shown = format!(
        r##"document.querySelector("#reported").textContent.includes({})"##,
        json!(LOCK)
    );
    browser.until(&shown, SOON).await?;
    let images = browser.eval("document.images.length").await?;
    ensure!(images == 0, "the lock's name was taken for markup");
    let title = browser.eval("document.title").await?;
    ensure!(title != "owned");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_is_seen_without_a_reload_and_nothing_else_moves() -> anyhow::Result<()> {
    testbed::run(LIMIT, async {
        let (scene, _traffic) = scene().await?;
        let mut browser = open(&scene).await?;
        report(&scene, &mut browser).await?;
        browser.eval("window.sameDocument = true").await?;
        browser.eval(WATCH_SHIFTS).await?;
        let before = browser.eval(PLACES).await?;

        if is_for_readme() {
            let line =
                r##"document.querySelector(".rtt path").getAttribute("d").split("L").length > 7"##;
            browser.until(line, LIMIT).await?;
        }
        let lost = scene.lab.host(3).url();
        let cut = scene.cut(3, Cut::SilentDrop)?;
        browser.until(&row_is(&lost, "dead"), SOON).await?;
        let shown = detector_tests::clock::now_ns() - cut.at_ns;
        println!("dead in the page {} ms after the cut", shown / 1_000_000);
        let said =
            r##"document.querySelector("#sentence").textContent === "1 of 3 peers is dead.""##;
        browser.until(said, SOON).await?;
        let listed = r##"document.querySelector("#transitions").textContent.includes("→ dead")"##;
        browser.until(listed, SOON).await?;
        ensure!(
            browser.eval("window.sameDocument").await? == true,
            "it was loaded again"
        );
        let after = browser.eval(PLACES).await?;
        ensure!(before == after, "something moved:\n{before}\n{after}");
        let moved = browser.eval("window.moved").await?;
        ensure!(moved == json!([]), "the browser saw it move: {moved}");

        pictures(&mut browser).await?;
        evidence(&mut browser, &lost).await?;
        overridden(&scene, &mut browser, &lost).await?;

        scene.heal(3)?;
        browser.until(&row_is(&lost, "alive"), SOON).await?;
        let complaints = browser.complaints().to_vec();
        ensure!(complaints.is_empty(), "{complaints:?}");

        scene.daemon.stop().await?;
        let away = r##"document.querySelector("#link").textContent.startsWith("no news")"##;
        browser.until(away, SOON).await?;
        browser.close().await
    })
    .await
}

/// An override of a dead peer's breaker: what, until when, by whom and why, without markup. In the
/// row, in what needs attention, and in the evidence.
async fn overridden(scene: &Scene, browser: &mut Browser, peer: &str) -> anyhow::Result<()> {
    let command = ["override", peer, "closed", "--for", "10m", "--reason", WHY];
    scene.daemon.cli(scene.lab.host(1), &command)?;
    let chosen = r##"document.querySelector("#rows tr[data-verdict=dead] button").click()"##;
    browser.eval(chosen).await?;
    for place in [
        "#rows tr[data-verdict=dead] td.wrong",
        "#attention",
        "#detail",
    ] {
        let said = format!(
            r##"(text => text.includes("held closed until ") && text.includes(" by user 0 (" + {} + ")"))
                (document.querySelector({}).textContent)"##,
            json!(WHY),
            json!(place)
        );
        browser.until(&said, SOON).await?;
    }
    let marked = browser
        .eval("document.querySelectorAll('em').length")
        .await?;
    ensure!(marked == 0, "the reason was taken for markup");
    browser.picture(&kept("override-desk-light")).await?;
    let close = r##"document.querySelector("#close").click()"##;
    browser.eval(close).await?;
    scene
        .daemon
        .cli(scene.lab.host(1), &["override", peer, "--end"])?;
    let over = r##"document.querySelector("#rows tr[data-held=yes]") === null"##;
    browser.until(over, SOON).await
}

/// At a desk and on a phone, in light and in the dark.
async fn pictures(browser: &mut Browser) -> anyhow::Result<()> {
    for (device, (width, height)) in [("desk", DESK), ("phone", PHONE)] {
        for (light, dark) in LIGHTS {
            browser.look(width, height, dark).await?;
            ensure!(
                browser.eval(FITS).await? == true,
                "{device}: it is wider than the window"
            );
            browser
                .picture(&kept(&format!("page-{device}-{light}")))
                .await?;
            if (device, light) == ("desk", "light") {
                browser.look(DESK.0, 490, false).await?;
                for_readme(browser, "status-page").await?;
                browser.look(DESK.0, DESK.1, false).await?;
            }
        }
    }
    browser.look(DESK.0, DESK.1, false).await
}

/// What is behind the verdict opens over the page, without moving it.
async fn evidence(browser: &mut Browser, peer: &str) -> anyhow::Result<()> {
    let before = browser.eval(PLACES).await?;
    let click = r##"document.querySelector("#rows tr[data-verdict=dead] button").click()"##;
    browser.eval(click).await?;
    for shown in [
        "silent long enough",
        "is dead when every clause holds",
        "→ dead",
        peer,
    ] {
        let there = format!(
            r##"document.querySelector("#detail").innerText.includes({})"##,
            json!(shown)
        );
        browser.until(&there, SOON).await?;
    }
    for (light, dark) in LIGHTS {
        browser.look(DESK.0, DESK.1, dark).await?;
        browser
            .picture(&kept(&format!("detail-desk-{light}")))
            .await?;
    }
    browser.look(PHONE.0, PHONE.1, false).await?;
    ensure!(
        browser.eval(FITS).await? == true,
        "the evidence is wider than a phone"
    );
    browser.picture(&kept("detail-phone-light")).await?;
    browser.look(DESK.0, DESK.1, false).await?;
    let after = browser.eval(PLACES).await?;
    ensure!(before == after, "the evidence moved the page");
    browser
        .eval(r##"document.querySelector("#close").click()"##)
        .await?;
    browser
        .until(r##"document.querySelector("#detail").hidden"##, SOON)
        .await
}
