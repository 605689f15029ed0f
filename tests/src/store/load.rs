//! The load of the store's clients: operations that begin at fixed times, whether or not the earlier
//! ones have ended.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};

use super::{
    client::{Client, Content},
    measured::{Done, seen},
    proto::{Empty, Name},
};
use crate::{Host, Log, clock};

/// No operation takes longer, or it hangs. With the beat, it also bounds how many are under way.
const DEADLINE: Duration = Duration::from_secs(90);
/// An object of the small operations, and the user's. They have no pace to speak of.
pub const SMALL: Content = Content {
    seed: 0,
    size: 16 << 10,
    pace: 1 << 30,
};
const SMALL_OBJECTS: usize = 8;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Console,
    Login,
    SmallPut,
    SmallGet,
    Lock,
    Upload,
    Download,
}

impl Op {
    /// With their names; the last two are the transfers.
    pub const ALL: [(Self, &str); 7] = [
        (Self::Console, "console"),
        (Self::Login, "login"),
        (Self::SmallPut, "small PUT"),
        (Self::SmallGet, "small GET"),
        (Self::Lock, "lock"),
        (Self::Upload, "big upload"),
        (Self::Download, "big download"),
    ];

    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    pub fn is_transfer(self) -> bool {
        matches!(self, Self::Upload | Self::Download)
    }

    fn small() -> impl Iterator<Item = Self> {
        let all = Self::ALL.into_iter().map(|(op, _)| op);
        all.filter(|op| !op.is_transfer())
    }

    fn every(self) -> Duration {
        Duration::from_millis(match self {
            Self::Console | Self::Lock => 500,
            _ => 250,
        })
    }
}

/// Clients of one node; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Load {
    client: Client,
    big: Content,
    pub done: Log<Done>,
    /// What was acknowledged.
    ledger: Arc<Mutex<Vec<Content>>>,
    stop: watch::Sender<bool>,
}

impl Load {
    /// The transfers are of objects like this one.
    pub fn new(client: Client, big: Content) -> Self {
        Self {
            client,
            big,
            done: Log::default(),
            ledger: Arc::default(),
            stop: watch::Sender::default(),
        }
    }

    /// Uploads what the operations read.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        self.client.put(SMALL).await?;
        for _ in 0..SMALL_OBJECTS {
            self.put(SMALL).await?;
        }
        let (size, pace) = (self.big.size, SMALL.pace);
        self.put(Content {
            size,
            pace,
            seed: 0,
        })
        .await
    }

    /// Begins each small operation on its beat.
    pub fn start(&self, running: &mut JoinSet<()>) {
        Op::small().for_each(|op| _ = running.spawn(self.clone().beat(op)));
    }

    /// Waits until each small operation has succeeded once.
    pub async fn succeeding(&self) -> anyhow::Result<()> {
        for op in Op::small() {
            let succeeded = |done: &Done| (done.op == op && done.error.is_none()).then_some(());
            let succeeded = self.done.find(DEADLINE, succeeded).await;
            succeeded.with_context(|| format!("no {} succeeds", op.as_str()))?;
        }
        Ok(())
    }

    /// Begins one upload and one download.
    pub fn start_transfers(&self, running: &mut JoinSet<()>) {
        running.spawn(self.clone().once(Op::Upload));
        running.spawn(self.clone().once(Op::Download));
    }

    /// Begins nothing more, and waits for what is under way.
    pub async fn stop(&self, running: &mut JoinSet<()>) {
        self.stop.send_replace(true);
        while running.join_next().await.is_some() {}
    }

    /// How many objects were acknowledged, and what is wrong with those that are not as they were.
    pub async fn verify(&self) -> (usize, Vec<String>) {
        let ledger = self.ledger().clone();
        let mut wrong = Vec::new();
        for content in &ledger {
            let (name, pace) = (content.name(), SMALL.pace);
            let read = self.client.get(Content { pace, ..*content });
            wrong.extend(error(read).await.map(|error| format!("{name}: {error}")));
        }
        (ledger.len(), wrong)
    }

    async fn beat(self, op: Op) {
        let (mut stop, mut ticks) = (self.stop.subscribe(), interval(op.every()));
        let mut begun = JoinSet::new();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = ticks.tick() => { begun.spawn(self.clone().once(op)); }
                Some(_) = begun.join_next() => {}
            }
        }
        begun.join_all().await;
    }

    async fn once(self, op: Op) {
        let started_ns = clock::now_ns();
        let error = error(self.perform(op)).await;
        let (big, ended_ns) = (self.big, clock::now_ns());
        let paced = op.is_transfer().then(|| big.time(big.size));
        let took = clock::between(started_ns, ended_ns);
        self.done.push(Done {
            op,
            started_ns,
            ended_ns,
            took: took.saturating_sub(paced.unwrap_or_default()),
            error,
        });
    }

    async fn perform(&self, op: Op) -> anyhow::Result<()> {
        let named = |content: Content| Name {
            name: content.name(),
        };
        let mut node = self.client.node().await?;
        match op {
            Op::Console => _ = node.console(Empty {}).await?,
            Op::Login => _ = node.login(named(SMALL)).await?,
            Op::Lock => _ = node.take_lock(named(like(SMALL))).await?,
            Op::SmallPut => self.put(SMALL).await?,
            Op::SmallGet => self.get(SMALL).await?,
            Op::Upload => self.put(self.big).await?,
            Op::Download => self.get(self.big).await?,
        }
        Ok(())
    }

    async fn put(&self, kind: Content) -> anyhow::Result<()> {
        let content = like(kind);
        self.client.put(content).await?;
        self.ledger().push(content);
        Ok(())
    }

    /// Reads one of the acknowledged objects of this size.
    async fn get(&self, kind: Content) -> anyhow::Result<()> {
        let mut all = self.ledger().clone();
        all.retain(|content| content.size == kind.size);
        let content = fastrand::choice(all).context("nothing was acknowledged")?;
        let seed = content.seed;
        self.client.get(Content { seed, ..kind }).await
    }

    fn ledger(&self) -> MutexGuard<'_, Vec<Content>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The small operations of clients of one node, from their first successes on.
#[derive(Debug)]
pub struct SmallLoad {
    load: Load,
    running: JoinSet<()>,
}

impl SmallLoad {
    pub async fn start(node: &Host) -> anyhow::Result<Self> {
        let (load, mut running) = (Load::new(Client::new(node), SMALL), JoinSet::new());
        load.prepare().await?;
        load.start(&mut running);
        load.succeeding().await?;
        Ok(Self { load, running })
    }

    /// Ends it; fails if an operation failed that was under way at this time or later.
    pub async fn none_failed(mut self, since_ns: u64) -> anyhow::Result<()> {
        self.load.stop(&mut self.running).await;
        let ops = seen(self.load.done.all(), since_ns, clock::now_ns());
        for (op, seen) in &ops {
            println!("{}: {seen:?}", op.as_str());
            ensure!(seen.failed == 0, "{op:?}: {seen:?}");
        }
        ensure!(!ops.is_empty(), "there was no operation");
        Ok(())
    }
}

/// Another object, with a name of its own.
fn like(content: Content) -> Content {
    let seed = fastrand::u64(..);
    Content { seed, ..content }
}

/// Why the operation failed, if it did.
async fn error(operation: impl Future<Output = anyhow::Result<()>>) -> Option<String> {
    match timeout(DEADLINE, operation).await {
        Ok(ended) => ended.err().map(|error| format!("{error:#}")),
        Err(_) => Some(format!("it hangs: not within {DEADLINE:?}")),
    }
}
