//! The effects of a cut on unchanged programs: how long they hang, with and without the daemon's
//! protection.

use std::time::Duration;

use anyhow::Context as _;
use detector_api::v1::{Breaker, PeerState};
use detector_tests::{Cut, Traffic, clock, peer::Event};
use serde::Serialize;
use tokio::time::sleep;

use crate::{
    options::Options,
    run::EffectRow,
    site::{Setting, Site},
    summary::{Summary, milliseconds},
    table::Table,
    verdicts::Verdict,
};

/// The effects that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A blocking read returns, and connects fail at once.
    BlockedRead,
    /// 50 callers behind one tonic channel with RustFS's settings.
    Queue,
}

/// One cut; times are in milliseconds, and absent if the event did not occur during the cut.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Freed {
    pub kind: &'static str,
    pub open_ms: Option<f64>,
    /// From the cut to the return of the blocking read.
    pub returned_ms: Option<f64>,
    /// The longest connect that was begun more than 10 ms after Open was received.
    pub slowest_connect_ms: Option<f64>,
    /// The longest call that was under way during the cut.
    pub longest_call_ms: Option<f64>,
    /// The same for a service without protection, if it was awaited.
    pub unprotected_ms: Option<f64>,
}

/// How long a cut lasts: the longer destroy delay, plus time to see the effect on connects.
const CUT_FOR: Duration = Duration::from_secs(4);
/// The time after which RustFS's own time-outs have ended every earlier call.
const UNPROTECTED_FOR: Duration = Duration::from_secs(45);
const CALLERS: u32 = 50;
const AFTER_OPEN: Duration = Duration::from_millis(10);

impl Effect {
    pub const ALL: [Self; 2] = [Self::BlockedRead, Self::Queue];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlockedRead => "blocked-read",
            Self::Queue => "queue-50",
        }
    }
}

pub async fn run(effect: Effect, options: &Options) -> anyhow::Result<Vec<Freed>> {
    let setting = Setting {
        http: effect == Effect::BlockedRead,
        protected: true,
        ..Setting::default()
    };
    let site = Site::new(options, setting).await?;
    let mut all = Vec::new();
    for number in 0..options.cuts {
        let unprotected = options.is_baseline_cut(number);
        let freed = measure(effect, &site, number, unprotected)
            .await
            .with_context(|| format!("cut {} of {}", number + 1, options.cuts))?;
        println!(
            "{:<20} {:>3}/{}  {freed:?}",
            effect.as_str(),
            number + 1,
            options.cuts
        );
        all.push(freed);
    }
    site.daemon.stop().await?;
    Ok(all)
}

async fn measure(
    effect: Effect,
    site: &Site,
    number: u32,
    unprotected: bool,
) -> anyhow::Result<Freed> {
    let (us, url, http) = (site.us(), site.grpc(), site.http().to_string());
    let calls = CALLERS.to_string();
    let args: &[&str] = match effect {
        Effect::BlockedRead => &["blocking-client", "--target", &http],
        Effect::Queue => &["queue", "--target", &url, "--calls", &calls],
    };
    let mut program = Traffic::start(us, args)?.succeeding().await?;
    // The same on a host whose daemon is not there.
    let other = match effect {
        Effect::Queue if unprotected => Some(Traffic::queue(site.observer(), &url, CALLERS).await?),
        _ => None,
    };
    site.settled().await?;
    site.before_cut(number).await;

    let kind = Cut::ALL[number as usize % Cut::ALL.len()];
    let cut = site.cut(kind)?;
    let is_open = |s: &PeerState| s.breaker() == Breaker::Open;
    let open = site
        .told(cut.at_ns, CUT_FOR, is_open)
        .await
        .map(|(at_ns, _)| at_ns);
    let left = |of: Duration| of.saturating_sub(clock::between(cut.at_ns, clock::now_ns()));
    sleep(left(CUT_FOR)).await;
    let ended = clock::now_ns();
    // Before the other is waited for: calls that fail at once say so much that what the
    // program said first is forgotten.
    let events = events(&program);
    if other.is_some() {
        sleep(left(UNPROTECTED_FOR)).await;
    }
    let heal = site.heal()?;

    let since_cut = |at_ns: u64| milliseconds(clock::between(cut.at_ns, at_ns));
    let freed = Freed {
        kind: kind.as_str(),
        open_ms: open.map(since_cut),
        returned_ms: returned(&events, cut.at_ns, ended).map(since_cut),
        slowest_connect_ms: open.and_then(|open| slowest_connect(&events, open, ended)),
        longest_call_ms: longest_call(&events, cut.at_ns, ended),
        unprotected_ms: other.and_then(|o| longest_call(&self::events(&o), cut.at_ns, heal.at_ns)),
    };
    program.process.kill().await?;
    Ok(freed)
}

fn events(program: &Traffic) -> Vec<Event> {
    let lines = program.process.stdout().all();
    lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// When the read that hung at the cut returned, if it did before the peer was back.
fn returned(events: &[Event], cut_ns: u64, until_ns: u64) -> Option<u64> {
    events.iter().find_map(|event| match event {
        Event::Error {
            at_ns,
            started_ns,
            error,
            ..
        } => {
            let is_in_time = *started_ns < cut_ns && (cut_ns..until_ns).contains(at_ns);
            (is_in_time && error.starts_with("read")).then_some(*at_ns)
        }
        _ => None,
    })
}

fn slowest_connect(events: &[Event], open_ns: u64, until_ns: u64) -> Option<f64> {
    let from = open_ns + AFTER_OPEN.as_nanos() as u64;
    let connects = events.iter().filter_map(|event| match event {
        Event::Error {
            at_ns,
            started_ns,
            error,
            ..
        } => ((from..until_ns).contains(started_ns) && error.starts_with("connect"))
            .then(|| milliseconds(clock::between(*started_ns, *at_ns))),
        _ => None,
    });
    connects.max_by(f64::total_cmp)
}

/// Of the calls that ended after the cut and were begun before the peer was back.
fn longest_call(events: &[Event], cut_ns: u64, heal_ns: u64) -> Option<f64> {
    let calls = events.iter().filter_map(|event| match event {
        Event::Call {
            at_ns, started_ns, ..
        } => (*at_ns > cut_ns && *started_ns < heal_ns)
            .then(|| milliseconds(clock::between(*started_ns, *at_ns))),
        _ => None,
    });
    calls.max_by(f64::total_cmp)
}

/// What the project asks of protected programs: the longer destroy delay, 1 s, and a little.
const RETURNED_LIMIT_MS: f64 = 1010.0;
const CONNECT_LIMIT_MS: f64 = 10.0;
const LONGEST_CALL_LIMIT_MS: f64 = 1300.0;

fn summary(row: &EffectRow, get: fn(&Freed) -> Option<f64>) -> Option<Summary> {
    Summary::new(row.cuts.iter().map(get))
}

/// Each row's targets.
pub fn verdicts(row: &EffectRow) -> Vec<Verdict> {
    type Get = fn(&Freed) -> Option<f64>;
    let wanted: &[(&str, Get, f64)] = match row.effect {
        Effect::BlockedRead => &[
            (
                "cut → read returns, max",
                |f| f.returned_ms,
                RETURNED_LIMIT_MS,
            ),
            (
                "connect after open, max",
                |f| f.slowest_connect_ms,
                CONNECT_LIMIT_MS,
            ),
        ],
        Effect::Queue => &[(
            "longest call, max",
            |f| f.longest_call_ms,
            LONGEST_CALL_LIMIT_MS,
        )],
    };
    wanted
        .iter()
        .filter_map(|&(what, get, limit_ms)| {
            let max_ms = summary(row, get)?.max_ms;
            Some(Verdict {
                row: row.effect.as_str().to_owned(),
                what: what.to_owned(),
                limit: format!("{limit_ms} ms"),
                measured: max_ms.map_or("never".to_owned(), |ms| format!("{ms:.1} ms")),
                met: max_ms.is_some_and(|ms| ms <= limit_ms),
            })
        })
        .collect()
}

pub fn table(rows: &[EffectRow]) -> String {
    let heads = ["cuts", "p50", "p90", "p99", "max", "never"];
    let mut table = Table::new("programs that were never changed: milliseconds", &heads);
    type Get = fn(&Freed) -> Option<f64>;
    for row in rows {
        let measured: &[(&str, Get, bool)] = match row.effect {
            Effect::BlockedRead => &[
                ("cut → open", |f| f.open_ms, false),
                ("cut → a blocked read returns", |f| f.returned_ms, false),
                (
                    "the slowest connect after open",
                    |f| f.slowest_connect_ms,
                    false,
                ),
            ],
            Effect::Queue => &[
                (
                    "the longest of 50 queued calls",
                    |f| f.longest_call_ms,
                    false,
                ),
                ("the same, unprotected", |f| f.unprotected_ms, true),
            ],
        };
        for &(name, get, only_some) in measured {
            let values = row
                .cuts
                .iter()
                .map(get)
                .filter(|v| !only_some || v.is_some());
            if let Some(s) = Summary::new(values) {
                let show = |ms: Option<f64>| ms.map_or("never".to_owned(), |ms| format!("{ms:.1}"));
                let mut cells = vec![s.count.to_string()];
                cells.extend([s.p50_ms, s.p90_ms, s.p99_ms, s.max_ms].map(show));
                cells.push(s.never.to_string());
                table.row(name, cells);
            }
        }
    }
    table.text()
}
