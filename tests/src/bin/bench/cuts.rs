//! One row of cuts.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use detector_api::v1::{Breaker, PeerState, Verdict};
use detector_tests::{Cut, Traffic, baseline::Method, clock};
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    baselines::Baselines, options::Options, rows::Row, site::Site, sniff::Sniffer,
    summary::milliseconds,
};

/// A cut that is not noticed in this time counts as never noticed.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
const CLOSED_WITHIN: Duration = Duration::from_secs(45);
/// How long every cut lasts at least: what the fast baselines need.
const CUT_FOR: Duration = Duration::from_millis(2500);
/// RustFS's settings: PING 5 s and 20 s, or 30 s for a call.
const BASELINE_WITHIN: Duration = Duration::from_secs(40);

/// The results of one cut; times are in milliseconds, and absent if the event never came.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub kind: &'static str,
    pub suspect_ms: Option<f64>,
    pub open_ms: Option<f64>,
    /// Why the breaker opened.
    pub reason: Option<String>,
    /// The silence and the unanswered transmissions that Dead needed, as explained when it was
    /// told.
    pub needed: Option<Needed>,
    /// From the peer's first frame to the Closed breaker.
    pub closed_ms: Option<f64>,
    /// From the heal to that frame.
    pub first_frame_ms: Option<f64>,
    /// From the cut to the first of the kernel's timers that expired: no method that waits
    /// for those can be sooner.
    pub first_timer_ms: Option<f64>,
    /// From the kernel's record, or the probe's answer, that closed the breaker to the
    /// watcher.
    pub record_ms: Option<f64>,
    /// Those that were awaited; one that did not notice in its time is null.
    pub baselines: BTreeMap<Method, Option<f64>>,
}

/// What the daemon needs before it calls a peer dead.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Needed {
    pub silence_ms: f64,
    pub transmissions: u32,
    pub loss_estimate: f64,
}

/// All cuts of a row, one after the other.
pub async fn run(row: &Row, options: &Options) -> anyhow::Result<Vec<Measured>> {
    let site = Site::new(options, row.setting).await?;
    let fast = Baselines::fast(&site).await?;
    let mut measured = Vec::new();
    for number in 0..options.cuts {
        let cut = measure(&site, row, &fast, number, options.is_baseline_cut(number))
            .await
            .with_context(|| format!("cut {} of {}", number + 1, options.cuts))?;
        println!("{}", progress(&row.name, number + 1, options.cuts, &cut));
        measured.push(cut);
    }
    site.daemon.stop().await?;
    Ok(measured)
}

async fn measure(
    site: &Site,
    row: &Row,
    fast: &Baselines,
    number: u32,
    with_slow: bool,
) -> anyhow::Result<Measured> {
    // New connections for each cut: those of the last one may be backed off for seconds.
    let mut load = row.load.start(site).await?;
    site.settled().await?;
    fast.settled().await?;
    let slow = match with_slow {
        true => Some(Baselines::slow(site).await?),
        false => None,
    };
    site.before_cut(number).await;
    site.settled().await?;

    let kind = Cut::ALL[number as usize % Cut::ALL.len()];
    let mut measured = cut(site, kind, fast, slow.as_ref()).await?;
    drop(slow);
    back(site, &load, &mut measured).await?;
    load.process.kill().await?;
    Ok(measured)
}

/// Cuts the peer off and takes the times until it is noticed.
async fn cut(
    site: &Site,
    kind: Cut,
    fast: &Baselines,
    slow: Option<&Baselines>,
) -> anyhow::Result<Measured> {
    let cut = site.cut(kind)?;
    let since_cut = |at_ns: u64| milliseconds(clock::between(cut.at_ns, at_ns));
    let doubted = |s: &PeerState| matches!(s.verdict(), Verdict::Suspect | Verdict::Dead);
    let suspect = site.told(cut.at_ns, OPEN_WITHIN, doubted).await;
    let first_timer = records(site, cut.at_ns, &TIMERS).await.into_iter().min();
    let is_open = |s: &PeerState| s.breaker() == Breaker::Open;
    let open = site.told(cut.at_ns, OPEN_WITHIN, is_open).await;

    let needed = match open {
        Some(_) => needed(site).await,
        None => None,
    };

    let lasted = clock::between(cut.at_ns, clock::now_ns());
    let mut noticed = BTreeMap::new();
    if let Some(slow) = slow {
        let left = BASELINE_WITHIN.saturating_sub(lasted);
        noticed.extend(slow.dead_since(cut.at_ns, left).await);
    }
    let left = CUT_FOR.saturating_sub(lasted);
    let fast = fast.dead_since(cut.at_ns, left).await;
    // A host that answers within a second after it was found dead counts as a false death, and the
    // daemon would take longer for the next cut.
    sleep(CUT_FOR.saturating_sub(clock::between(cut.at_ns, clock::now_ns()))).await;
    // Of what takes longer than the cut lasted, nothing is known: not even when it came early,
    // for then only the early ones would count.
    noticed.extend(
        fast.into_iter()
            .filter(|(method, _)| slow.is_some() || method.is_fast()),
    );
    Ok(Measured {
        kind: kind.as_str(),
        suspect_ms: suspect.map(|(at_ns, _)| since_cut(at_ns)),
        reason: open.as_ref().map(|(_, s)| s.reason().to_string()),
        open_ms: open.map(|(at_ns, _)| since_cut(at_ns)),
        needed,
        closed_ms: None,
        first_frame_ms: None,
        first_timer_ms: first_timer.map(since_cut),
        record_ms: None,
        baselines: noticed
            .into_iter()
            .map(|(method, at_ns)| (method, at_ns.map(since_cut)))
            .collect(),
    })
}

/// Brings the peer back and takes the times until it is Closed.
async fn back(site: &Site, load: &Traffic, measured: &mut Measured) -> anyhow::Result<()> {
    let sniffer = Sniffer::start(site.us(), site.peer().ip())?;
    let heal = site.heal()?;
    let is_closed = |s: &PeerState| s.breaker() == Breaker::Closed;
    if measured.open_ms.is_some() {
        let closed = site.told(heal.at_ns, CLOSED_WITHIN, is_closed).await;
        if let Some((closed, state)) = closed {
            measured.record_ms = record_latency(site, heal.at_ns, closed, &state).await;
            // The daemon may have had the frame before the sniffer's thread had its turn.
            let first = sniffer.heard().unwrap_or(heal.at_ns).min(closed);
            measured.first_frame_ms = Some(milliseconds(clock::between(heal.at_ns, first)));
            measured.closed_ms = Some(milliseconds(clock::between(first, closed)));
        }
    }
    if load.process.stderr().position() > 0 {
        eprintln!("{}", load.process.stderr_tail(3));
    }
    Ok(())
}

async fn needed(site: &Site) -> Option<Needed> {
    let explained = site.daemon.explain(&site.url()).await.ok()?;
    let silence = explained.silence?;
    Some(Needed {
        silence_ms: milliseconds(Duration::try_from(silence.detection_time?).ok()?),
        transmissions: silence.required_transmissions,
        loss_estimate: silence.loss_estimate,
    })
}

/// What the kernel's timers leave behind.
const TIMERS: [&str; 3] = ["tlp", "rto", "syn_retransmit"];
/// A reason for a return, and the records that give it.
const HEARD: [(&str, &[&str]); 3] = [
    ("packet_received", &["recovered"]),
    ("connect_succeeded", &["established"]),
    ("probe_answered", &["neighbour", "syn_ack", "reset"]),
];

/// How long the newest record that can have closed the breaker took to be told; none when the
/// reason is no record.
async fn record_latency(
    site: &Site,
    since_ns: u64,
    told_ns: u64,
    state: &PeerState,
) -> Option<f64> {
    let reason = state.reason().to_string();
    let (_, kinds) = HEARD.iter().find(|(r, _)| *r == reason)?;
    let records = records(site, since_ns, kinds).await;
    let at_ns = records
        .into_iter()
        .filter(|at_ns| *at_ns <= told_ns)
        .max()?;
    Some(milliseconds(clock::between(at_ns, told_ns)))
}

/// When the records of these kinds were made, of those that the daemon still shows.
async fn records(site: &Site, since_ns: u64, kinds: &[&str]) -> Vec<u64> {
    let Ok(explained) = site.daemon.explain(&site.url()).await else {
        return Vec::new();
    };
    let Some(as_of) = explained.as_of.and_then(|at| SystemTime::try_from(at).ok()) else {
        return Vec::new();
    };
    let as_of_ns = clock::of_wall(as_of);
    explained
        .events
        .iter()
        .filter(|event| ["ebpf", "probe"].contains(&event.source.as_str()))
        .filter(|event| kinds.contains(&event.kind.as_str()))
        .filter_map(|event| {
            let age = Duration::try_from(event.age?).ok()?;
            as_of_ns.checked_sub(age.as_nanos() as u64)
        })
        .filter(|at_ns| *at_ns >= since_ns)
        .collect()
}

fn progress(row: &str, number: u32, cuts: u32, cut: &Measured) -> String {
    let show = |ms: Option<f64>| ms.map_or("never".to_owned(), |ms| format!("{ms:.1}"));
    let baselines: String = cut
        .baselines
        .iter()
        .map(|(method, ms)| format!("  {} {}", method.label(), show(*ms)))
        .collect();
    let needed = cut.needed.map_or(String::new(), |needed| {
        format!(
            ", needed {:.0} ms and {}",
            needed.silence_ms, needed.transmissions
        )
    });
    format!(
        "{row:<20} {number:>3}/{cuts}  suspect {:>7}  open {:>7} ({}{needed})  closed {:>7}{baselines}",
        show(cut.suspect_ms),
        show(cut.open_ms),
        cut.reason.as_deref().unwrap_or("-"),
        show(cut.closed_ms),
    )
}
