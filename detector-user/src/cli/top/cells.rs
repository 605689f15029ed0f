//! What is said of one peer, column by column.

use detector_api::v1::{Breaker, PeerState, Verdict};
use jiff::Timestamp;
use ratatui::{
    style::Modifier,
    text::{Line, Span},
    widgets::Cell,
};

use super::{
    app::{App, flows, loss, srtt},
    marks::{sparkline, style},
};
use crate::text::{self, notes};

/// How many columns a sparkline has.
pub const SPARK: usize = 15;

/// The least top of a sparkline: a microsecond, and 2 % of loss.
const LEAST_SRTT: u32 = 1;
const LEAST_LOSS: u32 = 20;

pub fn cells<'a>(app: &App, peer: &PeerState) -> [Cell<'a>; 9] {
    let verdict = style(peer.verdict(), app.has_color);
    let history = app.history(&peer.peer);
    let known = |values: &[u32], srtts: &[u32]| -> Vec<Option<u32>> {
        let both = values.iter().zip(srtts);
        both.map(|(value, srtt)| (*srtt > 0).then_some(*value))
            .collect()
    };
    let (srtts, losses) = history.map_or_else(Default::default, |history| {
        let srtts = &history.srtt_micros;
        (known(srtts, srtts), known(&history.loss_permille, srtts))
    });
    let srtt = text::optional(srtt(peer), text::duration);
    let loss = match peer.verdict() {
        Verdict::Dead | Verdict::Unknown => "-".to_owned(),
        _ => format!("{:.1}%", loss(peer) * 100.0),
    };
    let stalled = match peer.stalled_flows {
        0 => "-".to_owned(),
        stalled => stalled.to_string(),
    };
    [
        Cell::new(bare(&peer.peer).to_owned()),
        Cell::new(Span::styled(peer.verdict().to_string(), verdict)),
        Cell::new(breaker(peer)),
        Cell::new(text::optional(text::moment(peer.changed_at), |at| {
            age(app.now, at)
        })),
        Cell::new(format!(
            "{srtt:>7} {}",
            sparkline(&srtts, SPARK, LEAST_SRTT)
        )),
        Cell::new(format!(
            "{loss:>6} {}",
            sparkline(&losses, SPARK, LEAST_LOSS)
        )),
        Cell::new(format!("{:>5}", flows(peer))),
        Cell::new(Span::styled(format!("{stalled:>7}"), verdict)),
        wrong(app, peer),
    ]
}

/// What is wrong, after what an administrator holds the breaker at.
fn wrong<'a>(app: &App, peer: &PeerState) -> Cell<'a> {
    let verdict = style(peer.verdict(), app.has_color);
    let held = held(app.now, peer).map(|held| Span::styled(held, Modifier::BOLD));
    let wrong = notes::wrong(peer).into_iter();
    let wrong = wrong.map(|wrong| Span::styled(wrong, verdict));
    let mut spans = Vec::new();
    for span in held.into_iter().chain(wrong) {
        if !spans.is_empty() {
            spans.push(Span::raw("; "));
        }
        spans.push(span);
    }
    Cell::new(Line::from(spans))
}

/// The override, until when, by whom and why; the day only if it is another one.
pub fn held(now: Timestamp, peer: &PeerState) -> Option<String> {
    let today = now.strftime("%F").to_string();
    text::overridden_until(peer, |until| {
        let format = match until.strftime("%F").to_string() == today {
            true => "%H:%M:%SZ",
            false => "%F %H:%MZ",
        };
        until.strftime(format).to_string()
    })
}

/// Nearly every name begins with it, and room is scarce.
pub fn bare(peer: &str) -> &str {
    peer.strip_prefix("http://").unwrap_or(peer)
}

/// In observe mode a star marks what would be.
fn breaker(peer: &PeerState) -> String {
    match peer.would_be_breaker() {
        Breaker::Unspecified => peer.breaker().to_string(),
        would_be if would_be != peer.breaker() => format!("{would_be}*"),
        _ => peer.breaker().to_string(),
    }
}

fn age(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(at.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
