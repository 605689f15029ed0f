//! A demonstration in one minute: traffic, cut, verdict, recovery.

use std::{
    io::{self, Write as _, stdout},
    time::Duration,
};

use anyhow::Context as _;
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{Cut, DaemonOptions, Scene, SceneOptions, Traffic, clock, peer::Kind};
use tokio::time::interval;

/// RustFS's settings notice at 20 to 25 s after the cut; 30 s is their RPC time-out.
const CLIENT_NOTICES_WITHIN: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(15);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Tells it, with the times as they are measured.
pub async fn play(options: DaemonOptions) -> anyhow::Result<()> {
    let begun = clock::now_ns();
    let say = |text: String| {
        let at = clock::between(begun, clock::now_ns()).as_secs_f64();
        writeln!(stdout(), "{at:>6.2} s  {text}")
    };
    say("Three hosts on one switch. h1 runs the detector and calls h2 and h3.".to_owned())?;
    let scene = Scene::new(SceneOptions {
        hosts: 3,
        daemon: options,
    })
    .await?;
    let _busy = scene.traffic_to(2).await?;
    let other = scene.traffic_to(3).await?;
    let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
    let client = Traffic::grpc_client(us, &peer.url(), Kind::Ping, 1, 20).await?;
    say(
        "Traffic flows: four uploads to each, and a gRPC client with RustFS's settings to h2"
            .to_owned(),
    )?;
    say(
        "  (HTTP/2 PING every 5 s, 20 s to answer it, 30 s for a call). All peers are alive."
            .to_owned(),
    )?;

    let cut = scene.cut(2, Cut::PortDown)?;
    say("h2 loses power. No FIN, no RST: its port at the switch goes dark.".to_owned())?;
    let suspect = |s: &PeerState| matches!(s.verdict(), Verdict::Suspect | Verdict::Dead);
    let suspect = scene
        .daemon
        .await_since(cut.at_ns, &peer.url(), SOON, suspect)
        .await?;
    let suspect = clock::between(cut.at_ns, suspect.at_ns);
    let (open, opened) = scene.open_after(cut, 2, SOON).await?;
    say(format!(
        "A gRPC watcher on h1 was told: suspect {suspect:.0?} after the cut,"
    ))?;
    say(format!(
        "  {} and breaker {} after {opened:.0?}: {}.",
        open.state.verdict(),
        open.state.breaker(),
        open.state.reason(),
    ))?;
    let explained = scene.daemon.explain(&peer.url()).await?;
    say(format!("The evidence: {}", explained.summary))?;
    other
        .ok_since(clock::now_ns(), SOON)
        .await
        .context("h3 must go on")?;
    say("h3 is alive, its traffic goes on.".to_owned())?;

    say("Now the client with RustFS's settings. Nobody told it; its calls hang …".to_owned())?;
    let (noticed, error) = notices(&client, cut.at_ns, &say).await?;
    say(format!("It noticed {noticed:.1?} after the cut: {error}"))?;

    let heal = scene.heal(2)?;
    say("h2 is back.".to_owned())?;
    let (closed, recovered) = scene.closed_after(heal, 2, SOON).await?;
    say(format!(
        "Breaker closed {recovered:.0?} after the return: {}.",
        closed.state.reason()
    ))?;
    client.ok_since(heal.at_ns, CLIENT_NOTICES_WITHIN).await?;
    say("Calls to h2 succeed again.".to_owned())?;
    scene.daemon.stop().await?;

    let ratio = noticed.as_secs_f64() / opened.as_secs_f64();
    writeln!(
        stdout(),
        "\n  cut → open breaker at a watcher       {opened:>9.0?}"
    )?;
    writeln!(
        stdout(),
        "  cut → noticed with RustFS's settings  {noticed:>9.1?}   {ratio:.0} times as long"
    )?;
    writeln!(
        stdout(),
        "  peer back → closed breaker            {recovered:>9.0?}"
    )?;
    Ok(())
}

/// When the client notices by itself; says now and then that it has not.
async fn notices(
    client: &Traffic,
    cut_ns: u64,
    say: &impl Fn(String) -> io::Result<()>,
) -> anyhow::Result<(Duration, String)> {
    let noticing = client.error_since(cut_ns, CLIENT_NOTICES_WITHIN);
    tokio::pin!(noticing);
    let mut ticks = interval(PROGRESS_EVERY);
    ticks.tick().await;
    loop {
        tokio::select! {
            noticed = &mut noticing => {
                let (at_ns, error) = noticed?;
                return Ok((clock::between(cut_ns, at_ns), error));
            }
            _ = ticks.tick() => {
                let so_far = clock::between(cut_ns, clock::now_ns());
                say(format!("  … still waiting {so_far:.0?} after the cut"))?;
            }
        }
    }
}
