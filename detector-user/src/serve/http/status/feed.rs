//! The events for all viewers of the page. They are rendered once, by a task that runs while there
//! is a viewer. A viewer that does not read in time is cut; nobody waits for it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use detector_api::v1;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::frame::{Frame, Reported};
use crate::{
    clock,
    serve::{Request, board::Board, grpc, http::connection::Ticket},
};

/// The most viewers.
const VIEWERS: usize = 16;

/// How many events wait for a viewer that does not read; with one more it is cut.
const WAITING: usize = 8;

/// The shortest time between two events, however much changes.
const SHORTEST: Duration = Duration::from_millis(200);

/// The longest time: what was measured is not announced, and a silent stream looks like a dead one.
const LONGEST: Duration = Duration::from_secs(1);

/// How long the driver may take to say what was reported.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

/// The most locks, and the most cascades, that are shown.
const REPORTED: usize = 20;

#[derive(Debug)]
struct Viewer {
    events: mpsc::Sender<Bytes>,
    ticket: Ticket,
}

impl Viewer {
    /// Whether it is still there.
    fn send(&self, event: &Bytes) -> bool {
        match self.events.try_send(event.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::debug!("a viewer of the status page does not read; it was cut");
                self.ticket.cut();
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

#[derive(Debug, Default)]
struct Viewers {
    /// They have been told everything so far.
    told: Vec<Viewer>,
    /// They have been told nothing yet.
    new: Vec<Viewer>,
    is_running: bool,
    is_closed: bool,
}

/// Cheap to clone; all clones share the viewers.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    board: Board,
    requests: mpsc::Sender<Request>,
    viewers: Arc<Mutex<Viewers>>,
    joined: Arc<Notify>,
}

impl Feed {
    pub(super) fn new(board: Board, requests: mpsc::Sender<Request>) -> Self {
        Self {
            board,
            requests,
            viewers: Arc::default(),
            joined: Arc::default(),
        }
    }

    /// The events for one more viewer; `None` if there are too many.
    pub(super) fn join(&self, ticket: &Ticket) -> Option<mpsc::Receiver<Bytes>> {
        let mut viewers = self.viewers();
        let Viewers { told, new, .. } = &mut *viewers;
        for some in [told, new] {
            some.retain(|viewer| !viewer.events.is_closed());
        }
        if viewers.is_closed || viewers.told.len() + viewers.new.len() >= VIEWERS {
            return None;
        }
        let (events, received) = mpsc::channel(WAITING);
        let ticket = ticket.clone();
        ticket.streams();
        viewers.new.push(Viewer { events, ticket });
        if !std::mem::replace(&mut viewers.is_running, true) {
            tokio::spawn(self.clone().run());
        }
        self.joined.notify_one();
        Some(received)
    }

    /// Ends all streams, and lets nobody join any more.
    pub(super) fn close(&self) {
        *self.viewers() = Viewers {
            is_closed: true,
            ..Viewers::default()
        };
    }

    /// Tells the viewers what changes, until there are none.
    async fn run(self) {
        let mut revisions = self.board.revisions();
        let mut frame = Frame::new(self.board.clone());
        loop {
            revisions.mark_unchanged();
            let reported = self.reported().await;
            let is_awaited = !self.viewers().new.is_empty();
            // With many peers this takes milliseconds, in which others are served.
            let rendered = spawn_blocking(move || {
                let change = frame.advance(reported);
                let whole = is_awaited.then(|| frame.whole());
                (frame, change, whole)
            });
            let Ok((back, change, whole)) = rendered.await else {
                self.close();
                return;
            };
            frame = back;
            if !self.tell(&change, whole.as_ref()) {
                return;
            }
            sleep(SHORTEST).await;
            tokio::select! {
                _ = revisions.changed() => {}
                () = self.joined.notified() => {}
                () = sleep(LONGEST - SHORTEST) => {}
            }
        }
    }

    /// Tells all viewers what has changed, and the new ones everything if it has been rendered.
    /// Returns whether there is still a viewer.
    fn tell(&self, change: &Bytes, whole: Option<&Bytes>) -> bool {
        let mut viewers = self.viewers();
        viewers.told.retain(|viewer| viewer.send(change));
        if let Some(whole) = whole {
            let new = std::mem::take(&mut viewers.new);
            let told = new.into_iter().filter(|viewer| viewer.send(whole));
            viewers.told.extend(told);
        }
        viewers.is_running = !viewers.told.is_empty() || !viewers.new.is_empty();
        viewers.is_running
    }

    /// What was reported; `None` if the driver does not answer in time.
    async fn reported(&self) -> Option<Reported> {
        let (locks_to, locks) = oneshot::channel();
        let (cascades_to, cascades) = oneshot::channel();
        let asked = async {
            let requests = [
                Request::ListLocks { reply: locks_to },
                Request::ListCascades { reply: cascades_to },
            ];
            for request in requests {
                self.requests.send(request).await.ok()?;
            }
            Some((locks.await.ok()?, cascades.await.ok()?))
        };
        let (locks, cascades) = timeout(ANSWERED_WITHIN, asked).await.ok()??;
        let mut locks = grpc::locks(&locks, clock::now()).locks;
        locks.retain(|lock| lock.health() != v1::LockHealth::Healthy);
        locks.truncate(REPORTED);
        // Ages are always new, and not shown.
        for lock in &mut locks {
            (lock.last_timeout_age, lock.last_success_age) = (None, None);
        }
        let cascades = cascades.iter().map(grpc::cascade);
        Some(Reported {
            locks,
            cascades: cascades.take(REPORTED).collect(),
        })
    }

    fn viewers(&self) -> MutexGuard<'_, Viewers> {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
