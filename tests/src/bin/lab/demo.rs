//! A demonstration in one minute: traffic, cut, verdict, recovery.

use std::{
    io::{self, Write as _, stdout},
    time::Duration,
};

use anyhow::Context as _;
use detector_api::v1::{PeerState, Verdict};
use detector_tests::{
    Cut, CutMoment, DaemonOptions, Scene, SceneOptions, Traffic, clock, peer::Kind,
};
use tokio::time::interval;

/// RustFS's settings notice at 20 to 25 s after the cut; 30 s is their RPC time-out.
const CLIENT_NOTICES_WITHIN: Duration = Duration::from_secs(40);
const SOON: Duration = Duration::from_secs(15);
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// The story, told with the times since it began.
#[derive(Clone, Copy, Debug)]
struct Story {
    begun_ns: u64,
}

impl Story {
    fn say(self, text: &str) -> io::Result<()> {
        let at = clock::between(self.begun_ns, clock::now_ns()).as_secs_f64();
        writeln!(stdout(), "{at:>6.2} s  {text}")
    }
}

/// Tells the story, with the times as they are measured.
pub async fn play(options: DaemonOptions) -> anyhow::Result<()> {
    let begun_ns = clock::now_ns();
    let story = Story { begun_ns };
    story.say("Three hosts on one switch. h1 runs the detector and calls h2 and h3.")?;
    let options = SceneOptions {
        hosts: 3,
        // Otherwise the client's calls would end with its sockets, at the destroy delay.
        daemon: options.args(["--destroy-sockets=off"]),
    };
    let scene = Scene::new(options).await?;
    let _busy = scene.traffic_to(2).await?;
    let other = scene.traffic_to(3).await?;
    let (us, peer) = (scene.lab.host(1), scene.lab.host(2));
    let client = Traffic::grpc_client(us, &peer.url(), Kind::Ping, 1, 20).await?;
    story.say(
        "Traffic flows: four uploads to each, and a gRPC client with RustFS's settings to h2",
    )?;
    story.say(
        "  (HTTP/2 PING every 5 s, 20 s to answer it, 30 s for a call). All peers are alive.",
    )?;

    let cut = scene.cut(2, Cut::PortDown)?;
    story.say("h2 loses power. No FIN, no RST: its port at the switch goes dark.")?;
    let opened = dies(story, &scene, cut).await?;
    let goes_on = other.ok_since(clock::now_ns(), SOON).await;
    goes_on.context("h3 must go on")?;
    story.say("h3 is alive, its traffic goes on.")?;
    story
        .say("Now the client with RustFS's settings. Here the detector destroys no sockets, so")?;
    story.say("  the client has to notice by itself; its calls hang …")?;
    let (noticed, error) = notices(story, &client, cut.at_ns).await?;
    story.say(&format!("It noticed {noticed:.1?} after the cut: {error}"))?;

    let heal = scene.heal(2)?;
    story.say("h2 is back.")?;
    let (closed, recovered) = scene.closed_after(heal, 2, SOON).await?;
    let reason = closed.state.reason();
    story.say(&format!(
        "Breaker closed {recovered:.0?} after the return: {reason}."
    ))?;
    client.ok_since(heal.at_ns, CLIENT_NOTICES_WITHIN).await?;
    story.say("Calls to h2 succeed again.")?;
    scene.daemon.stop().await?;
    Ok(sum_up(opened, noticed, recovered)?)
}

/// The verdict on h2 at a watcher; returns how long after the cut its breaker was open.
async fn dies(story: Story, scene: &Scene, cut: CutMoment) -> anyhow::Result<Duration> {
    let url = scene.lab.host(2).url();
    let suspect = |s: &PeerState| matches!(s.verdict(), Verdict::Suspect | Verdict::Dead);
    let suspect = scene.daemon.await_since(cut.at_ns, &url, SOON, suspect);
    let suspect = clock::between(cut.at_ns, suspect.await?.at_ns);
    let (open, opened) = scene.open_after(cut, 2, SOON).await?;
    let (verdict, breaker) = (open.state.verdict(), open.state.breaker());
    let reason = open.state.reason();
    story.say(&format!(
        "A gRPC watcher on h1 received: suspect {suspect:.0?} after the cut,"
    ))?;
    story.say(&format!(
        "  {verdict} and breaker {breaker} after {opened:.0?}: {reason}."
    ))?;
    let explained = scene.daemon.explain(&url).await?;
    story.say(&format!("The evidence: {}", explained.summary))?;
    Ok(opened)
}

fn sum_up(opened: Duration, noticed: Duration, recovered: Duration) -> io::Result<()> {
    let ratio = noticed.as_secs_f64() / opened.as_secs_f64();
    writeln!(
        stdout(),
        "
  cut → open breaker at a watcher       {opened:>9.0?}
  cut → noticed with RustFS's settings  {noticed:>9.1?}   {ratio:.0} times as long
  peer back → closed breaker            {recovered:>9.0?}"
    )
}

/// When the client notices by itself; says now and then that it has not.
async fn notices(
    story: Story,
    client: &Traffic,
    cut_ns: u64,
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
                story.say(&format!("  … still waiting {so_far:.0?} after the cut"))?;
            }
        }
    }
}
