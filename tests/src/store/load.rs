//! What clients do all the while: begun on the beat, whether or not what came before has ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{interval, timeout},
};

use super::client::{Client, Content, Pace};
use crate::{Log, clock};

/// No operation takes longer, or it hangs. With the beat, it also bounds how many are under way.
const DEADLINE: Duration = Duration::from_secs(90);
const SMALL_BYTES: u64 = 16 << 10;
const SMALL_OBJECTS: usize = 8;
const USER: &str = "users/root";

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
    pub const ALL: [Self; 7] = {
        let [console, login, put, get, lock] = Self::SMALL;
        [console, login, put, get, lock, Self::Upload, Self::Download]
    };
    /// All but the transfers.
    const SMALL: [Self; 5] = [
        Self::Console,
        Self::Login,
        Self::SmallPut,
        Self::SmallGet,
        Self::Lock,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Login => "login",
            Self::SmallPut => "small PUT",
            Self::SmallGet => "small GET",
            Self::Lock => "lock",
            Self::Upload => "big upload",
            Self::Download => "big download",
        }
    }

    fn every(self) -> Duration {
        Duration::from_millis(match self {
            Self::Console | Self::Lock => 500,
            _ => 250,
        })
    }
}

/// One operation that has ended. Of a transfer, the time is what it took beyond its pace.
#[derive(Clone, Debug)]
pub struct Done {
    pub op: Op,
    pub started_ns: u64,
    pub ended_ns: u64,
    pub took: Duration,
    pub error: Option<String>,
}

/// Clients of one node.
#[derive(Clone, Debug)]
pub struct Load(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    big_bytes: u64,
    pace: Pace,
    done: Log<Done>,
    /// What was acknowledged.
    ledger: Mutex<BTreeMap<String, Content>>,
    number: AtomicU64,
    stop: watch::Sender<bool>,
    running: Mutex<JoinSet<()>>,
}

impl Load {
    /// The transfers have this size and pace.
    pub fn new(client: Client, big_bytes: u64, pace: Pace) -> Self {
        Self(Arc::new(Inner {
            client,
            big_bytes,
            pace,
            done: Log::default(),
            ledger: Mutex::default(),
            number: AtomicU64::default(),
            stop: watch::Sender::default(),
            running: Mutex::default(),
        }))
    }

    /// Uploads what the operations read.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        let user = Content { seed: 0, size: 100 };
        self.0.client.put(USER, user, None).await?;
        for _ in 0..SMALL_OBJECTS {
            self.put(SMALL_BYTES, None).await?;
        }
        self.put(self.0.big_bytes, None).await
    }

    /// Begins each small operation on its beat.
    pub fn start(&self) {
        for op in Op::SMALL {
            self.running().spawn(self.clone().beat(op));
        }
    }

    /// Waits until each small operation has succeeded once.
    pub async fn succeeding(&self) -> anyhow::Result<()> {
        for op in Op::SMALL {
            let succeeded = |done: &Done| (done.op == op && done.error.is_none()).then_some(());
            let succeeded = self.0.done.find(DEADLINE, succeeded).await;
            succeeded.with_context(|| format!("no {} succeeds", op.as_str()))?;
        }
        Ok(())
    }

    /// Begins one upload and one download.
    pub fn start_transfers(&self) {
        for op in [Op::Upload, Op::Download] {
            self.running().spawn(self.clone().once(op));
        }
    }

    /// Begins nothing more, and waits for what is under way.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let running = std::mem::take(&mut *self.running());
        running.join_all().await;
    }

    /// All that has ended.
    pub fn done(&self) -> Vec<Done> {
        self.0.done.all()
    }

    /// How many objects were acknowledged, and what is wrong with those that are not as they were.
    pub async fn verify(&self) -> (usize, Vec<String>) {
        let ledger = self.ledger().clone();
        let mut wrong = Vec::new();
        for (object, content) in &ledger {
            let error = error(self.0.client.get(object, *content, None)).await;
            wrong.extend(error.map(|error| format!("{object}: {error}")));
        }
        (ledger.len(), wrong)
    }

    async fn beat(self, op: Op) {
        let (mut stop, mut ticks) = (self.0.stop.subscribe(), interval(op.every()));
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
        let ended_ns = clock::now_ns();
        let paced = match op {
            Op::Upload | Op::Download => self.0.pace.time(self.0.big_bytes),
            _ => Duration::ZERO,
        };
        self.0.done.push(Done {
            op,
            started_ns,
            ended_ns,
            took: clock::between(started_ns, ended_ns).saturating_sub(paced),
            error,
        });
    }

    async fn perform(&self, op: Op) -> anyhow::Result<()> {
        let Inner {
            client,
            big_bytes,
            pace,
            ..
        } = &*self.0;
        match op {
            Op::Console => client.console().await.map(|_| ()),
            Op::Login => client.login(USER).await,
            Op::SmallPut => self.put(SMALL_BYTES, None).await,
            Op::SmallGet => self.get(SMALL_BYTES, None).await,
            Op::Lock => client.lock(format!("free-{}", self.number())).await,
            Op::Upload => self.put(*big_bytes, Some(*pace)).await,
            Op::Download => self.get(*big_bytes, Some(*pace)).await,
        }
    }

    async fn put(&self, size: u64, pace: Option<Pace>) -> anyhow::Result<()> {
        let seed = self.number();
        let (object, content) = (format!("object-{seed}"), Content { seed, size });
        self.0.client.put(&object, content, pace).await?;
        self.ledger().insert(object, content);
        Ok(())
    }

    /// Reads one of the acknowledged objects of this size, another one each time.
    async fn get(&self, size: u64, pace: Option<Pace>) -> anyhow::Result<()> {
        let ledger = self.ledger().clone();
        let all: Vec<_> = ledger.iter().filter(|(_, c)| c.size == size).collect();
        let chosen = self.number() as usize % all.len().max(1);
        let (object, content) = all.get(chosen).context("nothing was acknowledged")?;
        self.0.client.get(object, **content, pace).await
    }

    fn number(&self) -> u64 {
        self.0.number.fetch_add(1, Ordering::Relaxed)
    }

    fn ledger(&self) -> MutexGuard<'_, BTreeMap<String, Content>> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> MutexGuard<'_, JoinSet<()>> {
        let running = self.0.running.lock();
        running.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why the operation failed, if it did.
async fn error(operation: impl Future<Output = anyhow::Result<()>>) -> Option<String> {
    match timeout(DEADLINE, operation).await {
        Ok(ended) => ended.err().map(|error| format!("{error:#}")),
        Err(_) => Some(format!("it hangs: not within {DEADLINE:?}")),
    }
}
