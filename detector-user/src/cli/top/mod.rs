//! `detector top`: the peers live in the terminal.
//!
//! ```text
//! daemon ──▶ follow ──News──▶ App ──▶ draw ──▶ terminal
//!                     keys ──▶ keys ──┘
//! ```

mod app;
mod cells;
mod draw;
mod follow;
mod keys;
mod marks;

#[cfg(test)]
mod tests;

use std::{
    env,
    io::{self, IsTerminal as _},
    time::Duration,
};

use anyhow::Context as _;
use crossterm::event::{Event, EventStream, KeyEventKind};
use jiff::Timestamp;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::interval,
};
use tokio_stream::StreamExt as _;

use self::app::App;
use super::{
    args::{Global, TopArgs},
    client,
    exit::{Exit, Failure},
};
use crate::clock;

/// How often it is drawn although nothing has changed: ages grow.
const DRAWN_EVERY: Duration = Duration::from_secs(1);

/// Shows the peers until `q`. The terminal is as before afterwards, also after a panic or a signal.
pub async fn top(global: &Global, args: &TopArgs) -> Result<Exit, Failure> {
    if !io::stdout().is_terminal() {
        return Err(anyhow::anyhow!(
            "detector top needs a terminal; `detector peers` and `detector watch` print to a file \
             or a pipe"
        )
        .into());
    }
    let socket = client::socket(global)?;
    let stop = Stop::listen().context("cannot listen for signals")?;
    let no_color = args.no_color || env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    let (wanted, asked) = watch::channel(None);
    let (tell, news) = mpsc::channel(1);
    let following = tokio::spawn(follow::follow(socket, tell, asked));
    let _restored = Restored;
    let shown = show(App::new(!no_color), news, wanted, stop).await;
    following.abort();
    shown.map(|()| Exit::Done)
}

async fn show(
    mut app: App,
    mut news: mpsc::Receiver<follow::News>,
    wanted: watch::Sender<Option<String>>,
    mut stop: Stop,
) -> Result<(), Failure> {
    let mut terminal = ratatui::try_init()?;
    let mut events = EventStream::new();
    let mut ticks = interval(DRAWN_EVERY);
    while !app.is_done {
        app.now = Timestamp::try_from(clock::wall(clock::now())).unwrap_or_default();
        terminal.draw(|frame| draw::draw(frame, &mut app))?;
        tokio::select! {
            event = events.next() => match event.transpose()? {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => keys::press(&mut app, key),
                // A new size is seen when it is drawn.
                Some(_) => {}
                None => return Ok(()),
            },
            Some(news) = news.recv() => app.take(news),
            _ = ticks.tick() => {}
            () = stop.signalled() => return Ok(()),
        }
        let asked = app.explained_peer();
        wanted.send_if_modified(|wanted| {
            let is_new = *wanted != asked;
            *wanted = asked;
            is_new
        });
    }
    Ok(())
}

/// Gives the terminal back. Ratatui does so at a panic.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = ratatui::try_restore();
    }
}

/// The signals that end it. Ctrl-C is a key here.
struct Stop([Signal; 3]);

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::interrupt())?,
        ]))
    }

    async fn signalled(&mut self) {
        let [terminate, hangup, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
