//! What clients do all the while: begun on the beat, whether or not what came before has ended.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::{interval, timeout},
};

use super::client::{Client, Content, Pace};
use crate::{Log, clock};

/// No operation takes longer, or it hangs.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Operations of each kind under way at once.
const MAX_IN_FLIGHT: usize = 400;
const SMALL_BYTES: u64 = 16 << 10;
/// An upload that failed is begun again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

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
    pub const ALL: [Self; 7] = [
        Self::Console,
        Self::Login,
        Self::SmallPut,
        Self::SmallGet,
        Self::Lock,
        Self::Upload,
        Self::Download,
    ];
    pub const SMALL: [Self; 5] = [
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

/// One operation that has ended. Of a big one, the time is what it took beyond its pace.
#[derive(Clone, Debug)]
pub struct Done {
    pub op: Op,
    pub started_ns: u64,
    pub ended_ns: u64,
    pub took: Duration,
    /// How often it failed before, for one that was begun again.
    pub retries: u32,
    pub error: Option<String>,
}

/// Clients of one node.
#[derive(Clone, Debug)]
pub struct Load(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    done: Log<Done>,
    /// What was acknowledged.
    ledger: Mutex<BTreeMap<String, Content>>,
    number: AtomicU64,
}

/// Operations under way: on the beat, and begun before.
#[derive(Debug, Default)]
pub struct Running {
    beats: Vec<JoinHandle<JoinSet<()>>>,
    stop: tokio::sync::watch::Sender<bool>,
    big: JoinSet<()>,
}

impl Load {
    pub fn new(client: Client) -> Self {
        Self(Arc::new(Inner {
            client,
            done: Log::default(),
            ledger: Mutex::default(),
            number: AtomicU64::new(2),
        }))
    }

    /// Uploads objects for what reads them.
    pub async fn prepare(&self, small: usize, big_bytes: Option<u64>) -> anyhow::Result<()> {
        for _ in 0..small {
            self.put_new("small", SMALL_BYTES, None).await?;
        }
        if let Some(size) = big_bytes {
            self.put_new("big", size, None).await?;
        }
        Ok(())
    }

    /// Begins each of these operations on its beat.
    pub fn start(&self, ops: &[Op]) -> Running {
        let mut running = Running::default();
        for &op in ops {
            let (load, mut stop) = (self.clone(), running.stop.subscribe());
            running.beats.push(tokio::spawn(async move {
                let (mut tasks, permits) =
                    (JoinSet::new(), Arc::new(Semaphore::new(MAX_IN_FLIGHT)));
                let mut ticks = interval(op.every());
                loop {
                    tokio::select! {
                        _ = stop.changed() => return tasks,
                        _ = ticks.tick() => {}
                    }
                    if let Ok(permit) = permits.clone().try_acquire_owned() {
                        let load = load.clone();
                        tasks.spawn(async move {
                            load.once(op).await;
                            drop(permit);
                        });
                    }
                    while tasks.try_join_next().is_some() {}
                }
            }));
        }
        running
    }

    /// Begins one big upload and one big download of that size at that pace. The upload is
    /// begun again when it fails, if that is wanted.
    pub fn start_big(&self, running: &mut Running, size: u64, pace: Pace, again: bool) {
        let (up, down) = (self.clone(), self.clone());
        running
            .big
            .spawn(async move { up.upload(size, pace, again).await });
        running
            .big
            .spawn(async move { down.download(size, pace).await });
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
            let read = timeout(DEADLINE, self.0.client.get(object, *content, None)).await;
            match read {
                Ok(Ok(())) => {}
                Ok(Err(error)) => wrong.push(format!("{object}: {error:#}")),
                Err(_) => wrong.push(format!("{object}: not within {DEADLINE:?}")),
            }
        }
        (ledger.len(), wrong)
    }

    async fn once(&self, op: Op) {
        let started_ns = clock::now_ns();
        let ended = timeout(DEADLINE, self.small(op)).await;
        self.note(op, started_ns, Duration::ZERO, 0, flat(ended));
    }

    async fn small(&self, op: Op) -> anyhow::Result<()> {
        let client = &self.0.client;
        match op {
            Op::Console => client.console().await.map(|_| ()),
            Op::Login => client.login("root").await,
            Op::SmallPut => self.put_new("small", SMALL_BYTES, None).await,
            Op::SmallGet => {
                let number = self.0.number.fetch_add(1, Ordering::Relaxed) as usize;
                let object = {
                    let ledger = self.ledger();
                    let small: Vec<_> = ledger.range("small".to_owned()..).collect();
                    let chosen = small.get(number % small.len().max(1));
                    chosen.map(|(name, content)| ((*name).clone(), **content))
                };
                match object {
                    Some((name, content)) => client.get(&name, content, None).await,
                    None => Ok(()),
                }
            }
            Op::Lock => {
                let number = self.0.number.fetch_add(1, Ordering::Relaxed);
                client.lock(&format!("free-{number}")).await
            }
            Op::Upload | Op::Download => Ok(()),
        }
    }

    async fn upload(&self, size: u64, pace: Pace, again: bool) {
        let started_ns = clock::now_ns();
        for retries in 0.. {
            let ended = timeout(DEADLINE, self.put_new("big", size, Some(pace))).await;
            let failed = !matches!(ended, Ok(Ok(())));
            let late = clock::between(started_ns, clock::now_ns());
            if !failed || !again || late > DEADLINE {
                self.note(
                    Op::Upload,
                    started_ns,
                    pace.time(size),
                    retries,
                    flat(ended),
                );
                return;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }

    async fn download(&self, size: u64, pace: Pace) {
        let big = |ledger: &BTreeMap<String, Content>| {
            let mut all = ledger.iter().filter(|(_, content)| content.size == size);
            all.next().map(|(name, content)| (name.clone(), *content))
        };
        let Some((name, content)) = big(&self.ledger()) else {
            return;
        };
        let started_ns = clock::now_ns();
        let ended = timeout(DEADLINE, self.0.client.get(&name, content, Some(pace))).await;
        self.note(Op::Download, started_ns, pace.time(size), 0, flat(ended));
    }

    async fn put_new(&self, kind: &str, size: u64, pace: Option<Pace>) -> anyhow::Result<()> {
        let seed = self.0.number.fetch_add(1, Ordering::Relaxed);
        let (object, content) = (format!("{kind}-{seed}"), Content { seed, size });
        self.0.client.put(&object, content, pace).await?;
        self.ledger().insert(object, content);
        Ok(())
    }

    fn note(
        &self,
        op: Op,
        started_ns: u64,
        ideal: Duration,
        retries: u32,
        ended: Result<(), String>,
    ) {
        let ended_ns = clock::now_ns();
        self.0.done.push(Done {
            op,
            started_ns,
            ended_ns,
            took: clock::between(started_ns, ended_ns).saturating_sub(ideal),
            retries,
            error: ended.err(),
        });
    }

    fn ledger(&self) -> MutexGuard<'_, BTreeMap<String, Content>> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flat(ended: Result<anyhow::Result<()>, tokio::time::error::Elapsed>) -> Result<(), String> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("it hangs: not within {DEADLINE:?}")),
    }
}

impl Running {
    /// Begins nothing more, and waits for what is under way.
    pub async fn stop(self) {
        let Self { beats, stop, big } = self;
        stop.send_replace(true);
        for beat in beats {
            if let Ok(tasks) = beat.await {
                tasks.join_all().await;
            }
        }
        big.join_all().await;
    }
}
